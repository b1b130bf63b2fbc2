"""Two clients of any make trying to reach each other in a laboratory, again and again, and then two of another make."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matrix_report import DIRECT, FAILED, RELAYED, Run
from natlab import Lab, LabError, Router, Site, inside

#: Where the server listens.
PORT = 5000
#: By how much a client's own limit is shorter than the run's, so that it can say why it failed.
_LAST_WORDS = 0.25
#: How often an unanswered message is said again.
_REPEAT = 0.05
_SERVER_PATIENCE = 10.0
#: Exit statuses of a shell that finds no program to start, and of a program that does not understand its arguments.
_NOT_STARTED = (2, 126, 127)


@dataclass(frozen=True)
class Scenario:
    """Two hosts and the networks between them."""

    name: str
    sites: Mapping[str, Site]
    hosts: tuple[str, str] = ("a", "b")
    carriers: Mapping[str, Router] = field(default_factory=dict)
    #: Whether there is IPv6, by which the clients then speak to the server.
    ipv6: bool = False
    #: Whether the two are meant to reach each other.
    expected: bool = True


@dataclass(frozen=True)
class Commands:
    """How to start the programs, and how to read them."""

    client: str
    server: str
    #: Where `{NAME}` finds the program NAME; the first place that has it counts.
    programs: Sequence[Path]
    server_options: Sequence[str] = ()
    #: What a client prints, at the start of a line, once it is connected.
    connected: str = r"connected \d+|return \d+ HP_STATUS_OK"
    #: Seconds for one run.
    timeout: float = 5
    #: Seconds by which the second client starts later.
    stagger: float = 0
    #: Whether each side has to hear what the other says, too.
    talk: bool = False

    def client_argv(self, address: str, session: str, side: str) -> list[str]:
        """The command line of one client."""
        limit = max(0.1, self.timeout - _LAST_WORDS)
        return self._words(self.client, {
            "server": f"{address}:{PORT}", "address": address, "port": str(PORT), "session": session, "side": side,
            "timeout_ms": f"{limit * 1000:.0f}", "timeout_s": f"{limit:g}"})

    def server_argv(self, addresses: Sequence[str]) -> list[str]:
        """The command line of the server."""
        return self._words(self.server, {"address": addresses[0], "address2": addresses[1],
                                        "ip2": addresses[1].strip("[]"), "port": str(PORT)})

    def _words(self, template: str, values: Mapping[str, str]) -> list[str]:
        known = _Values(self.programs, values)
        words: list[str] = []
        for word in shlex.split(template):
            words += self.server_options if word == "{options}" else [word.format_map(known)]
        return words


class _Values(dict[str, str]):
    """What stands for the names in braces."""

    def __init__(self, programs: Sequence[Path], values: Mapping[str, str]) -> None:
        super().__init__(values)
        self._programs = programs

    def __missing__(self, name: str) -> str:
        paths = [directory / name for directory in self._programs]
        for path in paths:
            if path.is_file():
                return str(path.absolute())
        raise ValueError(f"{{{name}}}: there is no program {' or '.join(map(str, paths))}; names: {', '.join(self)}")


class Side:
    """One client as the run sees it."""

    def __init__(self, name: str, connected: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.errors: list[str] = []
        #: Milliseconds since the start at which it said that it was connected, and at which it ended.
        self.connected_ms: float | None = None
        self.ended_ms: float | None = None
        self._connected = re.compile(connected)
        self._rest = {True: b"", False: b""}

    def take(self, data: bytes, is_error: bool, ms: float) -> None:
        """Take in what the client has written, in pieces of any size."""
        *lines, self._rest[is_error] = (self._rest[is_error] + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            (self.errors if is_error else self.lines).append(text)
            # A client may log to stderr whatever it likes, and that it is connected may be among it.
            if self.connected_ms is None and self._connected.match(text):
                self.connected_ms = ms

    @property
    def settled(self) -> bool:
        """Whether it is decided what becomes of this client."""
        return self.connected_ms is not None or self.ended_ms is not None

    @property
    def own_ms(self) -> float | None:
        """The time to connect by the client's own clock where it tells it, else by ours."""
        text = "\n".join(self.lines)
        told = re.search(r"^connected \d+ ([\d.]+)", text, re.MULTILINE)
        if told:
            return float(told[1])
        called = re.search(r"^call (\d+)\nreturn (\d+)", text, re.MULTILINE)
        return (int(called[2]) - int(called[1])) / 1e6 if called else self.connected_ms

    @property
    def paths(self) -> list[str]:
        """The kinds of path to its peers: the third word of its `peer` lines; "?" where it does not tell."""
        matches = (re.match(r"peer \d+ \S+(?: ([a-z][\w-]*))?", line) for line in self.lines)
        return [match[1] or "?" for match in matches if match]

    def has_heard(self, words: str) -> bool:
        """Whether a line it has printed holds `words`."""
        return any(words in line for line in (*self.lines, *self.errors))

    @property
    def reason(self) -> str:
        """Why it is not connected, in its own words if it has any."""
        if self.ended_ms is None:
            return "still trying"
        return next((line for line in reversed(self.errors) if line.strip()), "ended without a word")


def judge(sides: Sequence[Side], stagger_ms: float = 0, unheard: str = "") -> Run:
    """What a run has come to."""
    paths = tuple(path for side in sides for path in side.paths)
    if unheard:
        return Run(FAILED, None, paths, unheard)
    failed = [side for side in sides if side.connected_ms is None]
    if failed:
        gave_up = [side.ended_ms for side in failed if side.ended_ms is not None]
        said = {side.reason: [other.name for other in failed if other.reason == side.reason] for side in failed}
        reason = "; ".join(f"{' and '.join(names)}: {words}" for words, names in said.items())
        return Run(FAILED, min(gave_up, default=None), paths, reason)
    # Before the second had started there was nothing to be done.
    first, second = (side.own_ms or 0.0 for side in sides)
    return Run(RELAYED if "relayed" in paths else DIRECT, max(first - stagger_ms, second), paths)


def run_scenario(scenario: Scenario, contenders: Sequence[tuple[Commands, int]], impairment: Mapping[str, float],
                 label: str, stopped: Callable[[], bool]) -> Iterator[tuple[int, Run]]:
    """Yield each contender's number and runs, so many of each, all in one laboratory.

    One after the other, each with its own server, which is gone before the next begins: nobody meets another's
    traffic, and the first finds what it would find alone. `label` makes the session IDs this scenario's own.
    """
    with Lab(scenario.sites, carriers=scenario.carriers, ipv6=scenario.ipv6, **impairment) as lab:
        for position, (commands, runs) in enumerate(contenders):
            with _server(lab, commands) as address:
                for number in range(runs):
                    if stopped():
                        return
                    yield position, _run(lab, scenario.hosts, commands, address, f"{label}-{position}-{number}")


@contextlib.contextmanager
def _server(lab: Lab, commands: Commands) -> Iterator[str]:
    """The server, and the address to reach it by."""
    addresses = [f"[{address}]" for address in lab.server.addresses6] or lab.server.addresses
    with tempfile.TemporaryFile() as log:
        server = lab.popen(lab.server, commands.server_argv(addresses), stdin=subprocess.DEVNULL, stdout=log,
                           stderr=log)
        try:
            _await_server(lab, server, log)
            yield addresses[0]
        finally:
            lab.stop(server)


def _await_server(lab: Lab, server: subprocess.Popen[Any], log: Any) -> None:
    """Wait until somebody listens on the port, which asks nothing of the server's dialect or output."""
    deadline = time.monotonic() + _SERVER_PATIENCE
    listening = re.compile(rf":{PORT:04X} [0-9A-F]+:0000 07 ")
    while time.monotonic() < deadline and server.poll() is None:
        with inside(lab.server.netns):
            tables = [Path(f"/proc/thread-self/net/{name}").read_text() for name in ("udp", "udp6")]
        if any(map(listening.search, tables)):
            return
        time.sleep(0.01)
    log.seek(0)
    raise LabError(f"the server does not listen on UDP port {PORT}: {log.read().decode(errors='replace').strip()}")


def _run(lab: Lab, hosts: Sequence[str], commands: Commands, address: str, session: str) -> Run:
    sides = [Side(name, commands.connected) for name in "ab"]
    plans = [(host, commands.client_argv(address, session, side.name)) for host, side in zip(hosts, sides)]
    programs = lab.start_together(plans, commands.stagger, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, bufsize=0)
    began = time.monotonic() - commands.stagger
    try:
        with selectors.DefaultSelector() as selector:
            for side, program in zip(sides, programs):
                for stream in (program.stdout, program.stderr):
                    assert stream is not None
                    selector.register(stream, selectors.EVENT_READ, (side, stream is program.stderr))
            unheard = _watch(selector, sides, programs, commands, began)
        for side, program in zip(sides, programs):
            if side.ended_ms is not None and program.wait() in _NOT_STARTED:
                raise LabError(f"{shlex.join(commands.client_argv(address, session, side.name))}: exit status "
                               f"{program.returncode}\n" + "\n".join(side.errors))
        return judge(sides, commands.stagger * 1000, unheard)
    finally:
        lab.stop(*programs)
        for program in programs:
            for stream in (program.stdin, program.stdout, program.stderr):
                if stream is not None:
                    stream.close()


def _watch(selector: selectors.BaseSelector, sides: Sequence[Side], programs: Sequence[subprocess.Popen[Any]],
           commands: Commands, began: float) -> str:
    """Follow both clients until it is decided what becomes of them; the result is who has not heard whom, if any."""
    deadline = began + commands.stagger + commands.timeout
    gate_shut = True
    while selector.get_map() and not all(side.settled for side in sides) and time.monotonic() < deadline:
        _read(selector, deadline, began)
        # A client that says it is ready waits for a line of input, so that no process is still starting.
        if gate_shut and all("ready" in side.lines for side in sides):
            gate_shut = False
            for program in programs:
                _say(program, "")
    if not commands.talk or any(side.connected_ms is None for side in sides):
        return ""
    words = [f"I am {side.name} of run {began}." for side in sides]
    said = 0.0
    while True:
        deaf = [(listener, speaker) for listener, speaker in ((0, 1), (1, 0))
                if not sides[listener].has_heard(words[speaker])]
        now = time.monotonic()
        if not deaf or now >= deadline or not selector.get_map():
            return ", ".join(f"{sides[listener].name} has not heard {sides[speaker].name}"
                             for listener, speaker in deaf)
        if now >= said + _REPEAT:
            said = now
            for _, speaker in deaf:
                _say(programs[speaker], words[speaker])
        _read(selector, min(deadline, said + _REPEAT), began)


def _say(program: subprocess.Popen[Any], line: str) -> None:
    assert program.stdin is not None
    try:
        program.stdin.write(f"{line}\n".encode())
    except BrokenPipeError:
        pass


def _read(selector: selectors.BaseSelector, deadline: float, began: float) -> None:
    for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
        side, is_error = key.data
        ms = (time.monotonic() - began) * 1000
        data = os.read(key.fd, 65536)
        if data:
            side.take(data, is_error, ms)
            continue
        selector.unregister(key.fileobj)
        if not any(other.data[0] is side for other in selector.get_map().values()):
            side.ended_ms = ms
