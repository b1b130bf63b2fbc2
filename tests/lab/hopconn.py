"""What drives a program that makes one connection by hopconn: see tests/interop/hopconn."""

from __future__ import annotations

import errno
import socket
import subprocess
import time

from programs import PATIENCE, PIPES, Program

#: What it says when nobody was reached and nobody called.
NOBODY = "no conn established"
#: What it says when the peer has ended the connection, or has reset it.
PEER_ENDED = "EOF"
#: What it says of its own end, if it was just reading or writing, ends with this.
OWN_END = "use of closed network connection"
#: Now and then the module meets itself while it closes, and panics with this. The peer sees an ordinary end.
MODULE_STUMBLES = "panic: close of closed channel"
#: The most that comes in one piece.
PIECE = 32
#: The most that can be sent at once.
MOST = 64 << 10


class Hopconn(Program):
    """One connection by hopconn, from before it is there until it has ended."""

    @staticmethod
    def command(path: str, *, public: str = "127.0.0.1", local: str = "127.0.0.1", timeout_ms: int = 3000,
                retries: int = 3, addresses: int = 3) -> list[str]:
        """The command line; `public` and `local` are the IP addresses that are to be shown."""
        return [path, "-public", public, "-local", local, "-timeout", f"{timeout_ms}ms", "-retries", str(retries),
                "-addresses", str(addresses)]

    @classmethod
    def start(cls, name: str, argv: list[str]) -> Hopconn:
        """Run it on this host, for tests that need no laboratory.

        The library may take a port on which an earlier connection lingers (TIME-WAIT), and then fails to dial from it.
        Here such a program is replaced, so that no test fails for what others have left behind.
        """
        for _ in range(20):
            program = cls(name, subprocess.Popen(argv, **PIPES))
            try:
                if program._can_dial():
                    return program
            except BaseException:
                program.kill()
                raise
            program.kill()
        raise AssertionError(f"no port to dial from\n{program.transcript}")

    def _can_dial(self) -> bool:
        port = int(self.public.rpartition(":")[2])
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return False
        return True

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self.process.kill()
        self.wait()

    @property
    def local(self) -> str:
        """Where it can be called."""
        return self.wait_for(r"local (\S+)")[1]

    @property
    def public(self) -> str:
        """Where it dials from."""
        return self.wait_for(r"public (\S+)")[1]

    def attempt(self, *addresses: str) -> None:
        """Have it dial these, one after the other; it can be told once."""
        self.say(f"attempt {','.join(addresses)}")

    def wait_established(self, timeout: float = PATIENCE) -> None:
        """Wait until it has a connection and has given up all others."""
        self.wait_for("established", timeout)

    @property
    def established(self) -> bool:
        """Whether it has, or had, a connection."""
        return "established" in self.output

    def send(self, data: bytes) -> None:
        """Have it send data, at most `MOST`. What the peer does not have before `end`, it may never have."""
        self.say(f"write {data.hex()}")

    @property
    def pieces(self) -> list[bytes]:
        """What has come, as it came."""
        return [bytes.fromhex(text) for verb, _, text in (line.partition(" ") for line in self.output)
                if verb == "data"]

    def wait_received(self, data: bytes, timeout: float = PATIENCE) -> None:
        """Wait until all that has come since the beginning is exactly this."""
        deadline = time.monotonic() + timeout
        while (received := b"".join(self.pieces)) != data:
            if time.monotonic() > deadline or not data.startswith(received) or self.process.poll() is not None:
                raise AssertionError(f"received {received!r} instead of {data!r}\n{self.transcript}")
            # Looking takes longer the more there is, so not at every line.
            time.sleep(0.01)

    def end(self) -> None:
        """Have it close its connection, or give up looking for one."""
        self.say("close")

    @property
    def reported_errors(self) -> list[str]:
        """What the library has reported so far."""
        return [text for verb, _, text in (line.partition(" ") for line in self.output) if verb == "error"]
