"""The demonstration: two programs behind two NATs find each other and talk, told as it happens.

    HP_BIN=DIR python3 tests/lab/demo.py

HP_BIN holds hp-server and chat. Two homes, the internet between them and a server are built on this machine, in network
namespaces, with the NAT of the real kernel. Where that is not possible the same programs meet without any NAT. The exit
status is 1 if something did not work as it is told.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from programs import PIPES, Participant, Program, converse, dismiss, start_together
from natlab import Lab, LabError, Site, unavailable

_PORT = 5000
_NAMES = ("Alice", "Bob")
_PATHS = {
    "host": "the address of its own network interface",
    "reflexive": "the address that the server saw it come from",
    "peer-reflexive": "an address that only its probe has shown",
}


def say(text: str = "") -> None:
    """A line of the story, at once."""
    print(text, flush=True)


def program(name: str) -> str:
    """One of the programs that are shown."""
    path = Path(os.environ.get("HP_BIN", ""), name)
    if not os.environ.get("HP_BIN") or not path.is_file():
        raise AssertionError(f"HP_BIN must name a directory that holds {name}; `make build` makes build/bin")
    return str(path.absolute())


def knock(lab: Lab) -> bool:
    """Whether a datagram that nobody behind it has asked for gets through Bob's NAT."""
    with lab.open_socket("a") as alice, lab.open_socket("b") as bob:
        bob.bind(("0.0.0.0", 40000))
        bob.settimeout(0.5)
        alice.sendto(b"knock", (lab.host("b").outside, 40000))
        try:
            bob.recv(100)
        except socket.timeout:
            return False
        return True


def tell_connected(chats: list[Participant], places: list[str]) -> None:
    """Who reached whom: over which path, where, how far and how fast."""
    for chat in chats:
        chat.wait_connected()
    for chat, other in zip(chats, reversed(chats)):
        [peer] = chat.peers
        distance = "" if peer.rtt_ms is None else f", {peer.rtt_ms:.2f} ms there and back"
        say(f"  {chat.name} reached {other.name} at {peer.endpoint} in {chat.connect_ms} ms{distance}")
        say(f"    path: {peer.path}, {_PATHS.get(peer.path, 'another way')}")
    for chat, other, place in zip(chats, reversed(chats), reversed(places)):
        [peer] = chat.peers
        if peer.address != place:
            raise AssertionError(f"{chat.name} says that {other.name} is at {peer.address}, but that is {place}")


def tell_conversation(chats: list[Participant]) -> None:
    """Messages one way and the other, as they come out at the other end."""
    converse(chats)
    for chat, other in zip(chats, reversed(chats)):
        line = next(line for line in chat.output if f"I am {other.name}." in line)
        say(f"  {chat.name}'s screen:  {line}")


def behind_nats(lab: Lab) -> None:
    """The story as it is meant."""
    alice, bob, server = lab.host("a"), lab.host("b"), lab.server
    address = f"{server.address}:{_PORT}"
    say("Two people at home, each behind a NAT, and a server that both know.")
    say()
    say(f"  Alice   {alice.address:14} behind a router whose address is {alice.outside}")
    say(f"  Bob     {bob.address:14} behind a router whose address is {bob.outside}")
    say(f"  server  {server.address}")
    say()
    say("Both routers are of the usual kind: outside, a program keeps one port for whomever it talks to")
    say("(endpoint-independent mapping), and is answered only by those it has sent something to")
    say("(address and port-dependent filtering). So nobody can call anybody:")
    say()
    if knock(lab):
        raise AssertionError("what nobody asked for came through Bob's router, which is not the NAT that was promised")
    say(f"  Alice sends a datagram to {bob.outside}. Bob's router drops it.")
    say()

    say("The server runs `hp-server`. Alice and Bob each run `chat` with the same secret ID:")
    say()
    hp_server = Program("hp-server", lab.popen(server, [program("hp-server"), address], **PIPES))
    hp_server.wait_for(r".*listening on .*", on_stderr=True)
    argv = [program("chat"), address, secrets.token_hex(16), "1"]
    say(f"  {' '.join(['chat', *argv[1:]])}")
    say()
    chats = start_together(lab, [(Participant, name, host, argv) for name, host in zip(_NAMES, (alice, bob))])
    tell_connected(chats, [alice.outside, bob.outside])
    say()
    lab.stop(hp_server.process)
    hp_server.wait()
    say("From here on they need no server, so it is switched off. They talk through the hole in both NATs:")
    say()
    tell_conversation(chats)
    dismiss(chats)


def without_nats(reason: str) -> None:
    """The same programs on one machine's loopback."""
    say(f"The two NATs of this demonstration are left out: {reason}.")
    say("(They are made of Linux network namespaces; `sudo make demo` shows them.) What follows is the same programs")
    say("on this machine's loopback interface, where there is nothing to get through.")
    say()
    with ExitStack() as running:
        def start(kind: type[Program], name: str, argv: list[str]) -> Program:
            process = running.enter_context(subprocess.Popen(argv, **PIPES))
            running.callback(process.kill)
            return kind(name, process)

        hp_server = start(Program, "hp-server", [program("hp-server"), "127.0.0.1:0"])
        address = hp_server.wait_for(r".*listening on (\S+).*", on_stderr=True)[1]
        say(f"The server runs `hp-server` at {address}. Alice and Bob each run `chat` with the same secret ID:")
        say()
        argv = [program("chat"), address, secrets.token_hex(16), "1"]
        say(f"  {' '.join(['chat', *argv[1:]])}")
        say()
        chats = [start(Participant, name, argv) for name in _NAMES]
        pair = [chat for chat in chats if isinstance(chat, Participant)]
        tell_connected(pair, ["127.0.0.1"] * 2)
        say()
        say("They talk:")
        say()
        tell_conversation(pair)
        dismiss(pair)


def main() -> int:
    """Tell the story; the exit status says whether it came true."""
    begin = time.monotonic()
    reason = unavailable()
    try:
        if reason:
            without_nats(reason)
        else:
            with Lab({"a": Site("home"), "b": Site("home")}) as lab:
                behind_nats(lab)
    except (AssertionError, LabError) as failure:
        say()
        print(f"demo: this did not work: {failure}", file=sys.stderr)
        return 1
    say()
    say(f"That took {time.monotonic() - begin:.1f} s, and nothing of it is left on this machine.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
