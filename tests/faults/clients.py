"""Clients that do what docs/protocol.md asks of them, no more and no less, and remember whatever should not have happened."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Callable, Iterator

_MAGIC = b"\x0eholep\x01"
REGISTER, CHALLENGE, REGISTERED, UPDATE, PRESENCE, PRESENCE_ACK, _LEAVE, _LEFT, REFUSED = range(1, 10)
_JOINED, _GONE = 1, 2
#: How often what is not answered is said again. Real clients are more eager at first.
_REPEAT = 0.1
#: Half a client's share of the heartbeats that the server allows, so that a test sees several of them.
_HEARTBEAT = 1.0
_POLL = 0.1
#: Something must be heard from the server by then, as the protocol has it for a client that would register again.
_SILENCE = 25.0


class Client(ABC):
    """One client, at an address of its own."""

    def __init__(self, address: str, server: int) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.setblocking(False)
        self._server = ("127.0.0.1", server)
        self.sent = 0
        self.answers = 0
        self.registered = False
        #: What a client whose server keeps its word never sees.
        self.complaints: list[str] = []
        self._due = 0.0

    def _send(self, datagram: bytes) -> None:
        try:
            self.socket.sendto(datagram, self._server)
            self.sent += 1
        except OSError as error:
            self.complaints.append(f"cannot send: {error}")

    def turn(self, now: float) -> None:
        """Do what is due."""
        if now >= self._due:
            self._due = now + self._say()

    @abstractmethod
    def _say(self) -> float:
        """Send what there is to say; returns when to speak next."""

    @abstractmethod
    def hear(self, datagram: bytes) -> None:
        """Take a datagram from the server."""


class PlainClient(Client):
    """A client of the plain dialect, one of two in its session."""

    def __init__(self, address: str, server: int, session: bytes) -> None:
        super().__init__(address, server)
        self._session = session

    def _say(self) -> float:
        self._send(self._session)
        return _POLL

    def hear(self, datagram: bytes) -> None:
        if datagram:
            self.answers += 1
            others = datagram.decode().split(",")
            if len(others) != 1:
                self.complaints.append(f"there are {len(others)} others in the session: {others}")
            self.registered = True
        # An empty list says that nobody else is there; it looks like a keep-alive, but those come every 10 s.


class NativeClient(Client):
    """A client of the native dialect, one of two in its session."""

    def __init__(self, address: str, server: int, session: bytes) -> None:
        super().__init__(address, server)
        self._session = session
        self._token = os.urandom(8)
        self._peer = os.urandom(16)
        self._cookie = bytes(16)
        self._handle = b""
        self._sequence = 0
        self._instance = self._revision = 0
        self._acknowledged = True
        self._heard = 0.0
        self.peers: set[bytes] = set()

    def register(self) -> bytes:
        """The message."""
        self._sequence = max(1, self._sequence)
        return b"".join((_MAGIC, bytes([REGISTER]), self._token, struct.pack("!I", self._sequence), self._session, self._peer,
                         self._cookie, struct.pack("!II", self._instance, self._revision)))

    def _presence(self, wants_reply: bool) -> bytes:
        return b"".join((_MAGIC, bytes([PRESENCE]), self._token, self._handle,
                         struct.pack("!IIIB", self._sequence, self._instance, self._revision, wants_reply)))

    def _say(self) -> float:
        if not self.registered:
            self._send(self.register())
            return _REPEAT
        if time.monotonic() - self._heard > _SILENCE:
            self.complaints.append("the server is silent")
        if self._acknowledged:
            self._sequence += 1
            self._acknowledged = False
        self._send(self._presence(True))
        return _REPEAT

    def hear(self, datagram: bytes) -> None:
        if len(datagram) < 16 or datagram[:7] != _MAGIC or datagram[8:16] != self._token:
            return
        kind, sequence = datagram[7], datagram[16:20]
        self._heard = time.monotonic()
        if kind == CHALLENGE:
            self._cookie = datagram[20:36]
            self._due = 0.0
        elif kind == REGISTERED:
            self._handle = datagram[27:35]
            self._take_block(datagram[39:])
            self.registered = True
            self._acknowledged = True
            self._send(self._presence(False))
            self._due = time.monotonic() + _HEARTBEAT
        elif kind == UPDATE:
            self._take_block(datagram[16:])
            self._send(self._presence(False))
        elif kind == PRESENCE_ACK and sequence == struct.pack("!I", self._sequence) and not self._acknowledged:
            self.answers += 1
            self._acknowledged = True
            self._due = time.monotonic() + _HEARTBEAT
        elif kind == REFUSED:
            self.complaints.append(f"refused for reason {datagram[20]}")
            self.registered = False
            self._instance = self._revision = 0

    def _take_block(self, block: bytes) -> None:
        instance, start, end, _, count = struct.unpack_from("!IIIIB", block)
        if instance != self._instance and start == 0:
            if self._instance:
                self.complaints.append("the session has begun anew")
            self._instance, self._revision = instance, 0
        if not start <= self._revision < end:
            return
        self._revision = end
        for action, body in _entries(block, count):
            if action == _JOINED:
                self.peers.add(body[:16])
            elif action == _GONE:
                self.complaints.append(f"the other one has left for reason {body[16]}")
                self.peers.discard(body[:16])


def _entries(block: bytes, count: int) -> Iterator[tuple[int, bytes]]:
    at = 17
    for _ in range(count):
        action, length = struct.unpack_from("!BH", block, at)
        yield action, block[at + 3:at + 3 + length]
        at += 3 + length


class Crowd:
    """Clients in pairs, one thread for all of them, while in the context. That stays in the namespace in which it is made."""

    def __init__(self, server: int, native: int, plain: int, network: int = 10) -> None:
        self.clients: list[Client] = []
        kinds = [(NativeClient, 32)] * native + [(PlainClient, 16)] * plain
        for number, (kind, length) in enumerate(kinds):
            if number % 2 == 0:
                # Neither begins like a message.
                session = b"s" + os.urandom(length - 1)
            self.clients.append(kind(f"127.{network}.{number // 250}.{number % 250 + 1}", server, session))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.silence()
        for client in self.clients:
            client.socket.close()

    def silence(self) -> None:
        """Have nobody say anything any more."""
        self._ended.set()
        self._thread.join()

    def _live(self) -> None:
        with selectors.DefaultSelector() as selector:
            for client in self.clients:
                selector.register(client.socket, selectors.EVENT_READ, client)
            while not self._ended.is_set():
                for key, _ in selector.select(0.02):
                    self._drain(key.data)
                now = time.monotonic()
                for client in self.clients:
                    client.turn(now)

    @staticmethod
    def _drain(client: Client) -> None:
        try:
            while True:
                client.hear(client.socket.recv(2048))
        except OSError:  # there is no more, or an ICMP error
            pass

    @property
    def sent(self) -> int:
        """How many datagrams all have sent."""
        return sum(client.sent for client in self.clients)

    @property
    def complaints(self) -> list[str]:
        """What should not have happened to whom, first of all."""
        return [f"{type(client).__name__} {client.address}: {client.complaints[0]} ({len(client.complaints)} complaints)"
                for client in self.clients if client.complaints]

    def wait_registered(self, timeout: float = 8.0) -> None:
        """Wait until all are, and know each other."""
        self._wait(lambda client: client.registered and (not isinstance(client, NativeClient) or bool(client.peers)),
                   "not registered", timeout)

    def wait_answered(self, timeout: float = 8.0) -> None:
        """Wait until each has had one more answer, to what it says from now on or has said lately."""
        before = {client: client.answers for client in self.clients}
        self._wait(lambda client: client.answers > before[client], "not answered", timeout)

    def _wait(self, content: Callable[[Client], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while missing := [client.address for client in self.clients if not content(client)]:
            if time.monotonic() > deadline:
                raise AssertionError("\n".join([f"{what} after {timeout:g} s: {', '.join(missing)}", *self.complaints]))
            time.sleep(0.02)
