"""What server.py and soak.py share: hp-server and its references as programs, their clients, and what a process uses."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "lab"))

from programs import PIPES, Program  # noqa: E402  (it is found only now)

#: How long a line of the generator's may take beyond what it was asked for: a million clients take a while.
_PATIENCE = 300.0


def start(argv: Sequence[str], processor: int | None) -> subprocess.Popen[str]:
    """The program on one processor, or on all; it counts its processors when it starts, so it must have it by then."""
    available = sorted(os.sched_getaffinity(0))
    chosen = available if processor is None else [available[processor % len(available)]]
    return subprocess.Popen(argv, **PIPES, preexec_fn=lambda: os.sched_setaffinity(0, chosen))


def processor_ns(pid: int) -> int:
    """The processor time that all threads of a process have had."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def resident_bytes(pid: int) -> int:
    """What a process has in memory now."""
    match = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) << 10


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median of the values, and how far they lie apart."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def free_port() -> int:
    """A port that nobody has, for programs that do not tell which one the system gave them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, socket.socket() as listener:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        listener.bind(("127.0.0.1", port))
        return port


class Served:
    """A server, ours or another one, and how to reach it."""

    def __init__(self, name: str, program: Program, port: int, http: int | None = None) -> None:
        self.name = name
        self.program = program
        self.pid = program.process.pid
        self.port = port
        self.http = http

    def metrics(self) -> dict[str, float]:
        """What the server says of itself, by name and labels; nothing if it says nothing."""
        if self.http is None:
            return {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


class Workshop:
    """Starts programs, and ends all of them when it is left."""

    def __init__(self, directory: Path, tools: Path | None) -> None:
        self.directory = directory
        self.tools = tools
        self._programs: list[Program] = []
        self._help = ""

    def __enter__(self) -> Workshop:
        argv = [str(self.directory / "hp-server"), "--help"]
        self._help = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        return self

    def __exit__(self, *_: object) -> None:
        self.end(*self._programs)

    def end(self, *programs: Program) -> None:
        """End some programs before the others."""
        for program in programs:
            program.process.kill()
        for program in programs:
            program.wait()
        self._programs = [program for program in self._programs if program not in programs]

    def _run(self, name: str, argv: Sequence[str], processor: int | None) -> Program:
        self._programs.append(Program(name, start(argv, processor)))
        return self._programs[-1]

    def offers(self, option: str) -> bool:
        """Whether this hp-server knows the option."""
        return re.search(rf"(?m)^\s+{option}\b", self._help) is not None

    def hp_server(self, address: str, processor: int | None, workers: int, clients: int) -> Served:
        """Our server with room for so many clients, in either dialect: plain ones get half of what there is."""
        options = ["--workers", str(workers), "--max-endpoints", str(max(1 << 20, 5 * clients // 2))]
        http = free_port() if self.offers("--http") else None
        if http is not None:
            options += ["--http", f"127.0.0.1:{http}"]
        if self.offers("--max-memory"):
            options += ["--max-memory", "4096"]
        program = self._run("hp-server", [str(self.directory / "hp-server"), *options, address], processor)
        match = program.wait_for(r".*listening on \S+:(\d+) .*", on_stderr=True)
        return Served("hp-server", program, int(match[1]), http)

    def reflector(self, address: str, processor: int | None, threads: int, size: int, least: int) -> Served:
        """The bare reference, which listens as hp-server does at that address."""
        host = "any" if address.startswith(("[::]", ":")) else address.rpartition(":")[0]
        argv = [str(self.directory / "reflector"), host, str(threads), str(size), str(least)]
        program = self._run("bare reflector", argv, processor)
        return Served("bare reflector", program, int(program.wait_for(r"port (\d+)")[1]))

    def go_server(self, address: str) -> Served | None:
        """The existing Go server, or what stands in for it, at that address; None if neither can be had."""
        host = "" if address.startswith(("[::]", ":")) else address.rpartition(":")[0]
        for name in ("real-server", "standin-server"):
            path = None if self.tools is None else self.tools / name
            if path is not None and path.is_file():
                port = free_port()
                program = self._run(name, [str(path), f"{host}:{port}"], None)
                _await_plain_answer(port)
                return Served(f"Go {name.replace('-', ' ')}", program, port)
        return None

    def clients(self, server: Served, dialect: str, processor: int | None, *, bare: bool = False) -> Clients:
        """A generator for that server. One that shares processors with the server has to sleep now and then."""
        words = ["wait"] * (processor is None) + ["bare"] * bare
        argv = [str(self.directory / "server_load"), str(server.port), dialect, *words]
        return Clients(server, dialect, self._run("server_load", argv, processor))


class Clients:
    """The generator, one line and one answer at a time."""

    def __init__(self, server: Served, dialect: str, program: Program) -> None:
        self.server = server
        self.dialect = dialect
        self.program = program

    def say(self, line: str) -> int:
        """Ask for something; returns the number of the line that will answer."""
        number = len(self.program.output)
        self.program.say(line)
        return number

    def answer(self, number: int, seconds: float = 0) -> list[int] | None:
        """The numbers in that line, or None if it is not there after so long."""
        deadline = time.monotonic() + seconds
        while len(self.program.output) <= number:
            if self.program.process.poll() is not None:
                raise AssertionError(f"the generator has ended\n{self.program.transcript}")
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)
        return [int(word) for word in self.program.output[number].split()[1:]]

    def ask(self, line: str) -> list[int]:
        """Ask, and wait for what comes of it."""
        answer = self.answer(self.say(line), _PATIENCE)
        if answer is None:
            raise AssertionError(f"no answer to {line!r}\n{self.program.transcript}\n{self.server.program.transcript}")
        return answer


def _await_plain_answer(port: int, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.05)
        while time.monotonic() < deadline:
            try:
                probe.sendto(b"is anyone there", ("127.0.0.1", port))
                probe.recv(2048)
                return
            except OSError:  # also what a timeout is
                continue
    raise AssertionError(f"no server answers within {timeout:g} s")
