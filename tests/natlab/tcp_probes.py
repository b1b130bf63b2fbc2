"""The self-test's prober for TCP: ends that listen on the port they dial from, as TCP hole punching needs it.

As with UDP, one thread drives both ends, so that "at the same time" means within a fraction of a millisecond.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from natlab import Lab, Node
from probes import PATIENCE, Endpoint

#: An end's attempts begin at multiples of this many seconds after its start: those of two that started together, or
#: this far apart, go on together.
RETRY_INTERVAL = 0.1


def stream_socket(lab: Lab, host: Node | str, port: int = 0, address: str = "0.0.0.0") -> socket.socket:
    """A bound TCP socket on `host` that shares its port with listeners and other connections."""
    stream = lab.open_socket(host, socket.SOCK_STREAM)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    stream.bind((address, port))
    stream.settimeout(PATIENCE)
    return stream


def listening(lab: Lab, host: Node | str, port: int = 0, address: str = "0.0.0.0") -> socket.socket:
    """A listener on `host`."""
    listener = stream_socket(lab, host, port, address)
    listener.listen()
    return listener


def server_listeners(lab: Lab) -> list[socket.socket]:
    """Two listeners on the server's first address, then two on its second."""
    return [listening(lab, lab.server, 4000 + port, address) for address in lab.server.addresses for port in range(2)]


class End:
    """A listener on `host`, connections to servers from its port, and attempts to reach a peer from there."""

    def __init__(self, lab: Lab, host: Node | str, port: int = 0) -> None:
        self._lab = lab
        self._host = host
        self.listener = listening(lab, host, port)
        self.port: int = self.listener.getsockname()[1]
        self._open: list[socket.socket] = [self.listener]

    def close(self) -> None:
        """Close everything, whatever it is used for."""
        for stream in self._open:
            stream.close()

    def mappings(self, servers: Sequence[socket.socket]) -> list[Endpoint]:
        """The outside endpoints as each of `servers` sees them, through connections that stay open all the while."""
        seen = []
        for server in servers:
            stream = self._stream()
            stream.connect(server.getsockname())
            accepted, outside = server.accept()
            self._open.append(accepted)
            seen.append(outside)
        return seen

    def dial(self, remote: Endpoint) -> socket.socket | None:
        """Begin an attempt, without waiting for what becomes of it; None if it was refused at once."""
        stream = self._stream()
        stream.setblocking(False)
        if stream.connect_ex(remote) in (0, errno.EINPROGRESS):
            return stream
        stream.close()
        return None

    def accept(self) -> tuple[socket.socket, Endpoint]:
        """The next connection that came to the listener."""
        accepted, remote = self.listener.accept()
        self._open.append(accepted)
        return accepted, remote

    def _stream(self) -> socket.socket:
        stream = stream_socket(self._lab, self._host, self.port)
        self._open.append(stream)
        return stream


@dataclass(frozen=True)
class Meeting:
    """What became of two ends that tried to reach each other."""

    #: Where each end heard the other: on a connection that it "dialled" or "accepted", or nowhere: "".
    heard_on: tuple[str, str]
    #: How many attempts of each end were refused, by whatever is in the way, or broke off before the end.
    refused: tuple[int, int]

    @property
    def opened(self) -> bool:
        """Whether data came through both ways."""
        return all(self.heard_on)


def meet(ends: tuple[End, End], remotes: tuple[Endpoint | None, Endpoint | None], *, skew: float = 0,
         patience: float = PATIENCE) -> Meeting:
    """Let both ends dial the other's endpoint, the second one `skew` seconds later, until they hear each other.

    An attempt that is refused is made again. An end without an endpoint to dial only listens.
    """
    begin = time.monotonic()
    first, second = (_Side(end, remote, begin + wait) for end, remote, wait in zip(ends, remotes, (0, skew)))
    while not (first.heard_on and second.heard_on) and time.monotonic() < begin + patience:
        for side in (first, second):
            side.dial_when_due()
        _wait_for_either(first, second)
        for side in (first, second):
            side.take_in()
    return Meeting((first.heard_on, second.heard_on), (first.refused, second.refused))


class _Side:
    """One end at work."""

    def __init__(self, end: End, remote: Endpoint | None, begin: float) -> None:
        self.end = end
        self._remote = remote
        self._begin = begin
        #: When to dial unless there is an attempt or a connection.
        self._due = begin
        self.attempt: socket.socket | None = None
        #: The connections that are open, and whether they were dialled or accepted.
        self.connections: dict[socket.socket, str] = {}
        self.heard_on = ""
        self.refused = 0

    def dial_when_due(self) -> None:
        """Begin the next attempt if it is time."""
        if self._remote and not self.attempt and not self.connections and time.monotonic() >= self._due:
            self.attempt = self.end.dial(self._remote)
            if not self.attempt:
                self._note_refusal()

    def take_in(self) -> None:
        """See what has become of the attempt and the connections."""
        if _is_ready(self.end.listener):
            self._greet(self.end.accept()[0], "accepted")
        if self.attempt and _is_ready(self.attempt, writing=True):
            attempt, self.attempt = self.attempt, None
            if attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not self._greet(attempt, "dialled"):
                attempt.close()
                self._note_refusal()
        for stream, origin in list(self.connections.items()):
            # Something to read, the end, or no more than an ICMP message that came too soon to count.
            with contextlib.suppress(BlockingIOError):
                try:
                    heard = stream.recv(16)
                except ConnectionError:
                    heard = b""
                if heard:
                    self.heard_on = origin
                else:
                    del self.connections[stream]
                    stream.close()
                    self._note_refusal()

    def _greet(self, stream: socket.socket, origin: str) -> bool:
        stream.setblocking(False)
        try:
            stream.send(b"!")
        except ConnectionError:
            return False
        self.connections[stream] = origin
        return True

    def _note_refusal(self) -> None:
        self.refused += 1
        passed = (time.monotonic() - self._begin) // RETRY_INTERVAL
        self._due = self._begin + RETRY_INTERVAL * (1 + passed)


def _is_ready(stream: socket.socket, writing: bool = False) -> bool:
    watched = [[], [stream]] if writing else [[stream], []]
    return any(select.select(*watched, [], 0))


def _wait_for_either(*sides: _Side) -> None:
    """Wait until something happens to one of them, but not so long that the next attempt would be late."""
    readable = [stream for side in sides for stream in (side.end.listener, *side.connections)]
    select.select(readable, [side.attempt for side in sides if side.attempt], [], 0.002)
