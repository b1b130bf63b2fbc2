"""A stranger's flood, run by the flood test in the laboratory's core: listens there, and shoots from two other places.

It knows all that an onlooker can know, the session ID excepted: who talks to the server from where, and every datagram
that has passed. It has no part in any session. What it sends, from addresses of its own and under the server's and the
peers', is garbage, forgeries, and what it has heard: whole, cut, and altered.

It prints `flooding` when it begins and `sent <total> at-server <n> at-clients <n> spoofed <n> overheard <n>` at its
end: after `--total` datagrams or when time is up.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "natlab"))

from wire import Datagram, Endpoint, Gun  # noqa: E402  (what it needs is found only now)

_ETH_P_IP = 0x0800
_SO_ATTACH_FILTER = 26
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
#: Where a datagram's source port is in its IP packet.
_SOURCE_PORT = 20
#: How the native dialect's datagrams begin: magic and version; a type follows.
_NATIVE = b"\x0eholep\x01"
_NATIVE_TYPES = bytes((*range(0, 12), 0x10, 0x20, 0x21, 0x30, 0xFF))
#: How a probe from peer to peer begins.
_PROBE = _NATIVE + b"\x20"
_LONGEST = 1200
#: Datagrams in one go, as fast as they will leave; in between everyone else has the processors to themselves.
_BURST = 100
#: Heard datagrams and endpoints that are remembered: those of the current run and of some before it.
_REMEMBERED = 256
_RECENT_ENDPOINTS = 4
#: Source endpoints of each stranger. Every one that sends a plain ID is a registration for as long as it lasts, so that
#: their number is what a server's memory depends on.
_OWN_ENDPOINTS = 32


def _sniffer(interface: str, only_source_port: int | None = None) -> socket.socket:
    """What comes in on an interface of the core. The flood itself is left out, or it would drown the rest."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sniffer.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    if only_source_port is not None:
        # Classic BPF: load that half-word; equal: keep all; else: drop.
        program = ((0x28, 0, 0, _SOURCE_PORT), (0x15, 0, 1, only_source_port), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0))
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
        sniffer.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER,
                           struct.pack("HL", len(program), ctypes.addressof(code)))
    sniffer.bind((interface, _ETH_P_IP))
    sniffer.setblocking(False)
    return sniffer


class Onlooker:
    """What has been heard so far."""

    def __init__(self, server: Endpoint, server_interface: str, interfaces: Sequence[str]) -> None:
        self._server = server
        self._sniffers = [_sniffer(server_interface, server[1]), *map(_sniffer, interfaces)]
        self.clients: deque[Endpoint] = deque(maxlen=_RECENT_ENDPOINTS)
        self.heard: deque[bytes] = deque(maxlen=_REMEMBERED)
        self.count = 0

    def listen(self) -> None:
        """Take in what has passed since the last time."""
        ready, _, _ = select.select(self._sniffers, [], [], 0)
        for sniffer in ready:
            for _ in range(_BURST):
                try:
                    self._note(sniffer.recv(2048))
                except BlockingIOError:
                    break

    def _note(self, packet: bytes) -> None:
        datagram = Datagram.parse(packet)
        if datagram is None:
            return
        self.heard.append(datagram.payload)
        self.count += 1
        if datagram.destination == self._server and datagram.source not in self.clients:
            self.clients.append(datagram.source)


class Forger:
    """What is sent: each call makes one datagram of one of the kinds, in turn."""

    def __init__(self, chance: random.Random, onlooker: Onlooker) -> None:
        self._chance = chance
        self._onlooker = onlooker
        self._garbage = [chance.randbytes(length) for length in (0, 1, 2, 3, 7, 8, 9, 100, _LONGEST) for _ in range(50)]
        self._kinds: list[Callable[[], bytes]] = [
            self._random, self._well_begun, self._replayed, self._cut, self._altered, self._plain]
        self._turn = 0

    def next(self, spoofed: bool) -> bytes:
        """The next datagram, to be sent under a false name or under the sender's own."""
        self._turn += 1
        made = self._kinds[self._turn % len(self._kinds)]
        datagram = made()
        # Who has read a client's token and bears the server's name can tell that client anything: nothing but the
        # peers' own probes is signed. Strangers of that kind are beyond what is promised.
        if spoofed and made == self._altered and datagram[:len(_PROBE)] != _PROBE:
            return self._random()
        return datagram

    def _random(self) -> bytes:
        return self._chance.choice(self._garbage)

    def _well_begun(self) -> bytes:
        kind = self._chance.choice(_NATIVE_TYPES)
        return _NATIVE + bytes((kind,)) + self._chance.choice(self._garbage)[:_LONGEST - len(_NATIVE) - 1]

    def _replayed(self) -> bytes:
        heard = self._onlooker.heard
        return self._chance.choice(heard) if heard else self._random()

    def _cut(self) -> bytes:
        whole = self._replayed()
        return whole[:self._chance.randrange(len(whole) + 1)]

    def _altered(self) -> bytes:
        altered = bytearray(self._replayed())
        if altered:
            altered[self._chance.randrange(len(altered))] ^= 1 << self._chance.randrange(8)
        return bytes(altered)

    def _plain(self) -> bytes:
        """The plain dialect's words; lists name endpoints where nobody is."""
        dead = f"198.51.100.254:{self._chance.randrange(1, 65536)}"
        return self._chance.choice((b"SYN", b"ACK", b"", dead.encode(), f"{dead},{dead},nonsense".encode()))


class Gunner:
    """Two strangers, each with some endpoints of its own: the server's neighbour, and one in a third site."""

    def __init__(self, chance: random.Random, server: Endpoint, neighbour: tuple[str, str], third: tuple[str, str],
                 onlooker: Onlooker) -> None:
        self._chance = chance
        self._server = server
        self._onlooker = onlooker
        self._forger = Forger(chance, onlooker)
        self._places = [(Gun(namespace), [(address, chance.randrange(1024, 65536)) for _ in range(_OWN_ENDPOINTS)])
                        for namespace, address in (neighbour, third)]
        self.sent = self.at_server = self.spoofed = 0

    def shoot(self) -> None:
        """Send one datagram, from one place and the other in turn."""
        chance, clients = self._chance, self._onlooker.clients
        position = self.sent % 2
        gun, own = self._places[position]
        victim = chance.choice(clients) if clients and chance.random() < 0.5 else self._server
        # The third site uses every false name there is; the neighbour its own, as its network would see to.
        spoof = position == 1 and bool(clients) and chance.random() < 0.7
        source = chance.choice((self._server, *clients)) if spoof else chance.choice(own)
        try:
            gun.shoot(Datagram(source, victim, self._forger.next(spoof)))
        except OSError:
            return  # a full queue; the next burst finds it empty
        self.sent += 1
        self.at_server += victim == self._server
        self.spoofed += spoof


def main() -> None:
    """Run the command line."""
    def pair(text: str) -> tuple[str, str]:
        namespace, _, address = text.partition("=")
        return namespace, address

    parser = argparse.ArgumentParser()
    parser.add_argument("--total", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True, metavar="PER_SECOND")
    parser.add_argument("--seconds", type=float, required=True, metavar="AT_MOST")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--server", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--server-interface", required=True, help="of the core, towards the server")
    parser.add_argument("--client-interface", action="append", default=[], help="of the core, towards a victim")
    parser.add_argument("--neighbour", type=pair, required=True, metavar="NETNS=ADDRESS")
    parser.add_argument("--third-site", type=pair, required=True, metavar="NETNS=ADDRESS")
    options = parser.parse_args()
    address, _, port = options.server.rpartition(":")
    server = address, int(port)
    onlooker = Onlooker(server, options.server_interface, options.client_interface)
    gunner = Gunner(random.Random(options.seed), server, options.neighbour, options.third_site, onlooker)

    print("flooding", flush=True)
    begin = time.monotonic()
    while gunner.sent < options.total and time.monotonic() < begin + options.seconds:
        onlooker.listen()
        for _ in range(_BURST):
            gunner.shoot()
        time.sleep(max(0.0, begin + gunner.sent / options.rate - time.monotonic()))
    print(f"sent {gunner.sent} at-server {gunner.at_server} at-clients {gunner.sent - gunner.at_server} "
          f"spoofed {gunner.spoofed} overheard {onlooker.count}", flush=True)


if __name__ == "__main__":
    main()
