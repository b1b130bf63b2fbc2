"""The programs under test as a test sees them: lines in, lines out, and a deadline for everything.

A failed wait raises an AssertionError that holds all the program has said, because a test in a laboratory that is gone
by then cannot be looked at any more.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Tuple, Type, Union

#: The laboratory is a set of modules beside this directory.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "natlab"))

from natlab import Lab, Node  # noqa: E402  (it is found only now)

#: How long to wait for what must happen. Generous, as it costs time only in a test that fails.
PATIENCE = 15.0
#: How often an unanswered message is said again.
_REPEAT = 0.05
#: Both ends of every program's pipes, as the laboratory hands them to `subprocess.Popen`.
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                         "text": True, "bufsize": 1, "errors": "replace"}


class Program:
    """A running program whose output is collected as it comes, so that neither side ever waits for a full pipe."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process
        self._lines: list[str] = []
        self._errors: list[str] = []
        self._closed = 0
        self._changed = threading.Condition()
        assert process.stdout is not None and process.stderr is not None
        self._readers = [threading.Thread(target=self._collect, args=pair, daemon=True)
                         for pair in ((process.stdout, self._lines), (process.stderr, self._errors))]
        for reader in self._readers:
            reader.start()

    @property
    def output(self) -> list[str]:
        """The lines on stdout so far."""
        with self._changed:
            return list(self._lines)

    @property
    def errors(self) -> str:
        """What came on stderr so far."""
        with self._changed:
            return "\n".join(self._errors)

    @property
    def transcript(self) -> str:
        """All that the program has said, for the message of a failure."""
        status = self.process.poll()
        state = "running" if status is None else f"exit status {status}"
        errors = [f"stderr: {line}" for line in self.errors.splitlines()]
        return "\n  ".join([f"{self.name} ({state}):", *self.output, *errors])

    def say(self, line: str) -> None:
        """Give the program a line of input. One that has ended does not hear it, which shows elsewhere."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def has_heard(self, text: str) -> bool:
        """Whether a line of output contains `text`; how a message is dressed up differs from program to program."""
        return any(text in line for line in self.output)

    def wait_for(self, pattern: str, timeout: float = PATIENCE, *, on_stderr: bool = False) -> re.Match[str]:
        """The first line that matches `pattern` as a whole, as soon as it is there."""
        compiled = re.compile(pattern)
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                lines = self._errors if on_stderr else self._lines
                for line in lines[seen:]:
                    match = compiled.fullmatch(line)
                    if match:
                        return match
                seen = len(lines)
                left = deadline - time.monotonic()
                if left <= 0 or self._closed == len(self._readers):
                    break
                self._changed.wait(left)
        when = f"within {timeout:g} s" if left <= 0 else "up to its end"
        raise AssertionError(f"no line {pattern!r} {when}\n{self.transcript}")

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit status, once the program has ended and all it said is here."""
        deadline = time.monotonic() + timeout
        # The end of its output is the end of the program, and waiting for that takes no polling.
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        try:
            status = self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s\n{self.transcript}") from None
        self.close()
        return status

    def end_input(self) -> None:
        """Tell the program that there is no more."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def close(self) -> None:
        """Give the pipes back; only once the program has ended."""
        self.end_input()
        for reader, stream in zip(self._readers, (self.process.stdout, self.process.stderr)):
            # A reader that still waits belongs to a descendant which has inherited the pipe.
            if not reader.is_alive() and stream is not None:
                stream.close()

    def _collect(self, stream: IO[str], into: list[str]) -> None:
        for line in stream:
            with self._changed:
                into.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._closed += 1
            self._changed.notify_all()


@dataclass(frozen=True)
class Peer:
    """One peer as `chat` and `timed_connect` report it."""

    endpoint: str
    path: str
    #: None where the dialect has no means to measure.
    rtt_ms: float | None

    @property
    def address(self) -> str:
        """The endpoint without its port."""
        return self.endpoint.rpartition(":")[0].strip("[]")


def reported_peers(program: Program) -> list[Peer]:
    """The `peer` lines so far."""
    matches = (re.fullmatch(r"peer \d+ (\S+) (\S+) (\S+)", line) for line in program.output)
    return [Peer(m[1], m[2], None if m[3] == "-" else float(m[3])) for m in matches if m]


class Participant(Program):
    """A program that connects and then passes lines on to its peers."""

    #: What the program prints once it is connected; None if it prints nothing that could be relied upon.
    connected_line: str | None = r"connected (\d+) (\d+)"

    def wait_connected(self, timeout: float = PATIENCE) -> None:
        """Wait until the program says that its holes are open."""
        if self.connected_line is not None:
            self.wait_for(self.connected_line, timeout)

    @property
    def peers(self) -> list[Peer]:
        """The connected peers; complete as soon as the program is connected."""
        return reported_peers(self)

    @property
    def connect_ms(self) -> int:
        """How long connecting took, by the program's own clock."""
        return int(self.wait_for(r"connected \d+ (\d+)")[1])


class RealClient(Participant):
    """The existing Go client, whose output beside the messages themselves is its own affair.

    It logs what it hears, on stderr, and begins to listen and to speak two seconds after it has connected.
    """

    connected_line = None

    def has_heard(self, text: str) -> bool:
        return super().has_heard(text) or text in self.errors


def converse(participants: Sequence[Participant], timeout: float = PATIENCE) -> None:
    """Have everyone say something until each has heard all the others.

    Said again and again, since a datagram may be lost, and since the Go client drops what comes before all its holes
    are open. A wrong or one-way hole stays silent however often one speaks into it.
    """
    words = {speaker: f"I am {speaker.name}." for speaker in participants}
    missing = _unheard(participants, words)
    deadline = time.monotonic() + timeout
    while missing and time.monotonic() < deadline:
        for speaker in {speaker for _, speaker in missing}:
            speaker.say(words[speaker])
        again = time.monotonic() + _REPEAT
        while missing and time.monotonic() < again:
            time.sleep(0.002)
            missing = _unheard(participants, words)
    if missing:
        silent = ", ".join(f"{listener.name} has not heard {speaker.name}" for listener, speaker in missing)
        raise AssertionError("\n".join([f"after {timeout:g} s {silent}", *(p.transcript for p in participants)]))


def _unheard(participants: Sequence[Participant],
             words: dict[Participant, str]) -> list[tuple[Participant, Participant]]:
    return [(listener, speaker) for listener in participants for speaker in participants
            if speaker is not listener and not listener.has_heard(words[speaker])]


def dismiss(participants: Iterable[Program]) -> None:
    """End all input, wait for every program, and insist that each was content."""
    ended = list(participants)
    for participant in ended:
        participant.end_input()
    for participant in ended:
        if participant.wait() != 0:
            raise AssertionError(participant.transcript)


#: A participant to be started: kind, name, host and command line.
Plan = Tuple[Type[Participant], str, Union[Node, str], Sequence[str]]


def start_together(lab: Lab, plans: Sequence[Plan], stagger: float = 0) -> list[Participant]:
    """Start participants at the same instant, or `stagger` seconds apart."""
    processes = lab.start_together([(host, argv) for _, _, host, argv in plans], stagger, **PIPES)
    return [kind(name, process) for (kind, name, _, _), process in zip(plans, processes)]
