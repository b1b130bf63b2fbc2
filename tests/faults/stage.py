"""What these tests share: a network namespace for each, the server under test and what it counts, and programs built on the spot.

HP_BIN names the directory that holds hp-server; what else is needed is built with `cc` when the tests begin.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(_ROOT / "tests" / "lab"))

from programs import PIPES, Program  # noqa: E402  (it is found only now)

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Totals(NamedTuple):
    """What the server says in the end."""

    received: int
    sent: int
    endpoints: int


class Server:
    """hp-server in the present namespace."""

    def __init__(self, case: StageCase, *options: str, before: Sequence[str] = (),
                 environment: Mapping[str, str] | None = None) -> None:
        binary = case.server_binary
        self._http = 0
        help_text = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
        if re.search(r"(?m)^\s+--http\b", help_text):
            # Nobody else lives in this namespace.
            self._http = 9464
            options = (*options, "--http", f"127.0.0.1:{self._http}")
        process = subprocess.Popen([*before, binary, "--workers", "2", *options, "[::]:5000"], **PIPES,
                                   env={**os.environ, **(environment or {})})
        self.program = Program("hp-server", process)
        case.addCleanup(self._kill)
        self.program.wait_for(r".*listening on .*", on_stderr=True)
        self.port = 5000

    def _kill(self) -> None:
        self.program.process.kill()
        self.program.wait()

    @property
    def pid(self) -> int:
        """The process."""
        return self.program.process.pid

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.program.process.poll() is None

    def metrics(self) -> dict[str, float]:
        """What it says of itself; nothing if it cannot."""
        if not self._http:
            return {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}

    def counted(self, *words: str) -> float | None:
        """The sum of all metrics with these words in their names; None if there are none."""
        found = [value for name, value in self.metrics().items() if all(word in name for word in words)]
        return sum(found) if found else None

    def resident_mib(self) -> int:
        """What it has in memory."""
        match = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1]) >> 10

    def processor_seconds(self) -> float:
        """The processor time that all its threads have had."""
        return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat")) / 1e9

    def kernel(self) -> tuple[int, int]:
        """Bytes that wait in the receive buffers of the server's port, and datagrams that did not fit into them."""
        waiting = dropped = 0
        for table in ("udp", "udp6"):
            for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if int(words[1].rpartition(":")[2], 16) == self.port:
                    waiting += int(words[4].rpartition(":")[2], 16)
                    dropped += int(words[12])
        return waiting, dropped

    def settle(self, timeout: float = 10.0) -> int:
        """Wait until it has taken all that waits; returns how many datagrams the kernel has dropped."""
        deadline = time.monotonic() + timeout
        while self.kernel()[0] and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.kernel()[1]

    def stop(self) -> Totals:
        """End it as one should, and read its last words."""
        self.program.process.send_signal(signal.SIGINT)
        status = self.program.wait()
        match = re.search(r"served (\d+) datagrams, sent (\d+); (\d+) endpoints", self.program.errors)
        if status != 0 or match is None:
            raise AssertionError(self.program.transcript)
        return Totals(*(int(word) for word in match.groups()))


class StageCase(unittest.TestCase):
    """A test case each of whose tests has a network of its own, with nothing but a loopback, that is gone with the test."""

    server_binary: str
    _scratch: tempfile.TemporaryDirectory[str]

    @classmethod
    def setUpClass(cls) -> None:
        if os.geteuid() != 0:
            if os.environ.get("HP_ALLOW_MISSING_TOOLS") == "1":
                raise unittest.SkipTest("network namespaces need root")
            raise AssertionError("network namespaces need root (HP_ALLOW_MISSING_TOOLS=1 skips what cannot run)")
        binary = Path(os.environ.get("HP_BIN", _ROOT / "build" / "bin"), "hp-server").absolute()
        if not binary.is_file():
            raise AssertionError(f"HP_BIN must name a directory that holds hp-server; there is no {binary}")
        cls.server_binary = str(binary)
        cls._scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls._scratch.cleanup)

    def setUp(self) -> None:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.addCleanup(os.close, home)
        # A namespace of no name ends with the last process in it, whatever becomes of this test.
        if _libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        self.addCleanup(_libc.setns, home, _CLONE_NEWNET)
        self.command("ip", "link", "set", "lo", "up")

    def command(self, *argv: str) -> None:
        """Run a program that must succeed."""
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        done = subprocess.run(argv, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)}: {done.stderr}")

    def built(self, source: str, *options: str) -> str:
        """What `cc` makes of a file in this tree; it is made once for all tests of a class."""
        target = Path(self._scratch.name, Path(source).stem)
        if not target.exists():
            self.command(os.environ.get("CC", "cc"), "-O2", str(_ROOT / source), "-o", str(target), *options)
        return str(target)

    def small_kernel(self, **settings: str) -> dict[str, str]:
        """The environment of a program whose kernel has little room; see small_kernel.c."""
        return {"LD_PRELOAD": self.built("tests/faults/small_kernel.c", "-shared", "-fPIC", "-ldl"), **settings}

    def generator(self, server: Server, dialect: str) -> Generator:
        """The benchmarks' generator, for what Python is too slow for."""
        argv = [self.built("benches/server_load.c", "-std=c99"), str(server.port), dialect, "wait"]
        generator = Generator(Program("server_load", subprocess.Popen(argv, **PIPES)))
        self.addCleanup(generator.end)
        return generator


class Generator:
    """server_load, one line and one answer at a time."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def ask(self, line: str, timeout: float = 600.0) -> list[int]:
        """Ask for something; returns the numbers in the answer."""
        number = len(self._program.output)
        self._program.say(line)
        deadline = time.monotonic() + timeout
        while len(self._program.output) <= number:
            if time.monotonic() > deadline or self._program.process.poll() is not None:
                raise AssertionError(f"no answer to {line!r}\n{self._program.transcript}")
            time.sleep(0.01)
        return [int(word) for word in self._program.output[number].split()[1:]]

    def end(self) -> None:
        """End it."""
        self._program.process.kill()
        self._program.wait()


def is_answered_over_tcp(port: int, message: bytes, timeout: float = 2.0) -> bool:
    """Whether a message in a frame on a fresh connection is answered by another one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
            connection.sendall(len(message).to_bytes(2, "big") + message)
            connection.settimeout(timeout)
            return len(connection.recv(2)) > 0
    except OSError:
        return False
