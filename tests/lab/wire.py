"""The wire as an onlooker on the way sees it, and as one uses it who sends what he likes in anybody's name."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import NamedTuple, Tuple

from nat_rules import DELAY_DEVICE
from natlab import Node, inside

Endpoint = Tuple[str, int]

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_OUTGOING = 4
_SO_RCVBUFFORCE = 33
_IP_HEADER = 20
_HEADERS = _IP_HEADER + 8


class Datagram(NamedTuple):
    """A UDP datagram on its way."""

    source: Endpoint
    destination: Endpoint
    payload: bytes

    @classmethod
    def parse(cls, packet: bytes) -> Datagram | None:
        """What an IP packet holds, if that is UDP over IPv4."""
        if len(packet) < _HEADERS or packet[0] != 0x45 or packet[9] != socket.IPPROTO_UDP:
            return None
        source, destination = struct.unpack_from("!HH", packet, _IP_HEADER)
        return cls((socket.inet_ntoa(packet[12:16]), source), (socket.inet_ntoa(packet[16:20]), destination),
                   packet[_HEADERS:])

    @property
    def packet(self) -> bytes:
        """The IP packet; the kernel fills in lengths and the header's checksum, and UDP needs none over IPv4."""
        return b"".join((struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0,
                                     socket.inet_aton(self.source[0]), socket.inet_aton(self.destination[0])),
                         struct.pack("!HHHH", self.source[1], self.destination[1], 8 + len(self.payload), 0),
                         self.payload))


class Gun:
    """Sends datagrams from a namespace, whatever they say about their source."""

    def __init__(self, netns: str) -> None:
        with inside(netns):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def shoot(self, datagram: Datagram) -> None:
        """Send one; OSError if the queue is full."""
        self._socket.sendto(datagram.packet, (datagram.destination[0], 0))

    def close(self) -> None:
        """Let go of the namespace."""
        self._socket.close()


class Wiretap:
    """Everything that a node sends, receives or passes on, while in the context."""

    def __init__(self, node: Node) -> None:
        self.name = node.name
        with inside(node.netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._socket.settimeout(0.1)
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read)
        #: All packets from their IP headers on.
        self.packets: list[bytes] = []
        #: Of those the UDP datagrams as they came from the wire, each once.
        self.datagrams: list[Datagram] = []
        #: How many passed too fast to be kept.
        self.missed = 0

    def __enter__(self) -> Wiretap:
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._ended.set()
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        while True:
            try:
                packet, (interface, _, direction, *_) = self._socket.recvfrom(65536)
            except socket.timeout:
                if self._ended.is_set():
                    break
                continue
            self.packets.append(packet)
            if direction != _PACKET_OUTGOING and interface != DELAY_DEVICE:
                datagram = Datagram.parse(packet)
                if datagram:
                    self.datagrams.append(datagram)
        _, self.missed = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))

    def holding(self, *needles: bytes) -> list[bytes]:
        """Those of the needles that some packet holds."""
        return [needle for needle in needles if any(needle in packet for packet in self.packets)]
