"""What the laboratory's tests share: where the programs are, when tests may be skipped, servers, pairs of clients."""

from __future__ import annotations

import itertools
import os
import time
import unittest
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from programs import PIPES, Participant, Plan, Program, RealClient, converse, dismiss, start_together
from natlab import Lab, Node, Site, unavailable

#: Where every server listens; the laboratory's server host is used by nobody else.
PORT = 5000
#: Dialects of which everyone understands everyone.
COMMON_DIALECTS = ("auto", "plain")

_ids = itertools.count(1)


def may_skip() -> bool:
    """Whether tests that cannot run here may be skipped. Otherwise they fail: a skip that nobody wants hides a gap."""
    return os.environ.get("HP_ALLOW_MISSING_TOOLS") == "1"


def skip(reason: str) -> None:
    """End the running test: skipped where that is allowed, else failed."""
    if may_skip():
        raise unittest.SkipTest(reason)
    raise AssertionError(f"{reason} (HP_ALLOW_MISSING_TOOLS=1 skips what cannot run)")


def _file_in(variable: str, name: str) -> Path | None:
    directory = os.environ.get(variable)
    path = Path(directory, name).absolute() if directory else None
    return path if path and path.is_file() else None


def program(name: str) -> str:
    """One of the programs that this project builds."""
    path = _file_in("HP_BIN", name)
    if path is None:
        raise AssertionError(f"HP_BIN must name a directory that holds {name}")
    return str(path)


def optional_program(name: str, needs: str) -> str:
    """A program of ours that not every machine can build; HP_EXCUSED names those that this one is too old for."""
    try:
        return program(name)
    except AssertionError as missing:
        reason = f"{missing}; it needs {needs}"
        if name in os.environ.get("HP_EXCUSED", "").split():
            raise unittest.SkipTest(reason) from None
        skip(reason)
        raise


def tool(name: str) -> str:
    """A program of the other implementation. Only the real ones may be missing without being asked for."""
    path = _file_in("HP_TOOLS", name)
    if path is None:
        reason = _missing_tool_reason(name)
        if name.startswith(("real-", "switched-")):
            raise unittest.SkipTest(reason)
        skip(reason)
    return str(path)


def _missing_tool_reason(name: str) -> str:
    """What tests/interop/build.sh said, if its output was kept as `origins` with the tools or beside them."""
    for report in filter(None, (_file_in("HP_TOOLS", "origins"), _file_in("HP_TOOLS", "../origins"))):
        for line in report.read_text().splitlines():
            if line.startswith(f"{name}: not available"):
                return line
    return f"{name}: not in the directory that HP_TOOLS names ({os.environ.get('HP_TOOLS', 'not set')})"


def fresh_id() -> str:
    """A session ID that no other run uses."""
    return f"session {os.getpid()}-{next(_ids)}"


class LabCase(unittest.TestCase):
    """A test case whose laboratories, and all the programs in them, end with the test."""

    @classmethod
    def setUpClass(cls) -> None:
        reason = unavailable()
        if reason:
            skip(reason)
        program("hp-server")

    def setUp(self) -> None:
        self._programs: dict[Lab, list[Program]] = {}

    def build(self, sites: Mapping[str, Site], **kwargs: Any) -> Lab:
        """A laboratory that ends with the test."""
        lab = Lab(sites, **kwargs).__enter__()
        self._programs[lab] = []
        self.addCleanup(self._close, lab)
        return lab

    def _close(self, lab: Lab) -> None:
        lab.close()
        for program in self._programs.pop(lab):
            program.wait()

    def homes(self, count: int = 2, **kwargs: Any) -> Lab:
        """A laboratory of so many ordinary homes: a, b, c."""
        return self.build({name: Site("home") for name in "abc"[:count]}, **kwargs)

    def run_program(self, lab: Lab, name: str, host: Node | str, argv: Sequence[str]) -> Program:
        """Start any program, to be waited for by the test."""
        started = Program(name, lab.popen(host, argv, **PIPES))
        self._programs[lab].append(started)
        return started

    def start_together(self, lab: Lab, plans: Sequence[Plan], stagger: float = 0) -> list[Participant]:
        """Start participants at the same instant, or `stagger` seconds apart."""
        participants = start_together(lab, plans, stagger)
        self._programs[lab] += participants
        return participants

    def hp_server(self, lab: Lab, *options: str, address: str | None = None) -> Program:
        """Our server, ready to answer."""
        # Clients that are cut off are no reason to wait at a test's end.
        argv = [program("hp-server"), "--drain", "0s", *options, address or f"{lab.server.address}:{PORT}"]
        server = self.run_program(lab, "hp-server", lab.server, argv)
        server.wait_for(r".*listening on .*", on_stderr=True)
        return server

    def go_server(self, lab: Lab, flavour: str) -> Program:
        """A Go server of that flavour, such as `standin` or `real`, ready to answer."""
        argv = [tool(f"{flavour}-server"), f"{lab.server.address}:{PORT}"]
        server = self.run_program(lab, f"{flavour}-server", lab.server, argv)
        await_plain_answer(lab)
        return server

    def chat(self, lab: Lab, name: str, host: Node | str, session: str, peers: int = 1, *options: str) -> Participant:
        """A chat that has been started, alone."""
        [chat] = self.start_together(lab, [self.chat_plan(lab, name, host, session, peers, *options)])
        return chat

    def chat_plan(self, lab: Lab, name: str, host: Node | str, session: str, peers: int = 1, *options: str,
                  server: str | None = None) -> Plan:
        """A chat to be started, as `start_together` takes it."""
        server = server or f"{lab.server.address}:{PORT}"
        return Participant, name, host, [program("chat"), *options, server, session, str(peers)]

    def go_plan(self, lab: Lab, flavour: str, name: str, host: Node | str, session: str,
                peers: int = 1) -> Plan:
        """A Go client to be started, as `start_together` takes it."""
        kind = RealClient if flavour in ("real", "switched") else Participant
        return kind, name, host, [tool(f"{flavour}-client"), f"{lab.server.address}:{PORT}", session, str(peers)]

    def assert_connect_and_talk(self, lab: Lab, plans: Sequence[Plan], stagger: float = 0) -> list[Participant]:
        """Start all, see them connect to each other, exchange messages every way and end content."""
        participants = self.start_together(lab, plans, stagger)
        for participant in participants:
            participant.wait_connected()
        converse(participants)
        dismiss(participants)
        return participants

    def assert_pair_talks(self, lab: Lab, first: Node | str = "a", second: Node | str = "b", *options: str,
                          server: str | None = None, stagger: float = 0) -> list[Participant]:
        """Two chats under a fresh session ID."""
        session = fresh_id()
        plans = [self.chat_plan(lab, name, host, session, 1, *options, server=server)
                 for name, host in (("first", first), ("second", second))]
        return self.assert_connect_and_talk(lab, plans, stagger)


def await_plain_answer(lab: Lab, timeout: float = 10) -> None:
    """Wait until the server answers in the plain dialect, which is the one sign of life that every server gives."""
    deadline = time.monotonic() + timeout
    with lab.open_socket("server") as probe:
        probe.settimeout(0.05)
        while time.monotonic() < deadline:
            try:
                probe.sendto(b"is anyone there", (lab.server.address, PORT))
                probe.recv(2048)
                return
            except OSError:  # also what a timeout is
                continue
    raise AssertionError(f"no server answers within {timeout:g} s")
