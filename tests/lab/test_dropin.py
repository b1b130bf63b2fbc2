"""Programs written for the existing Go library, built against our compat packages with only the import path changed.

They chat with those that still use the other library, and with each other, in every combination and through every server.
"""

from __future__ import annotations

from fixture import LabCase, fresh_id, tool
from natlab import Lab
from programs import Plan


class Switched:
    """`ours` are the programs that have switched, `theirs` those that have not."""

    ours: str
    theirs: str

    def setUp(self) -> None:
        for flavour in (self.ours, self.theirs):
            for role in ("client", "server"):
                tool(f"{flavour}-{role}")
        super().setUp()  # type: ignore[misc]

    def start_server(self, lab: Lab, server: str) -> None:
        """hp-server, or a Go program of that flavour."""
        if server == "hp-server":
            self.hp_server(lab)
        else:
            self.go_server(lab, server)

    def plans(self, lab: Lab, kinds: list[str]) -> list[Plan]:
        """One client of each kind, each in a home of its own, under a fresh ID."""
        session, others = fresh_id(), len(kinds) - 1
        return [self.chat_plan(lab, f"c-{host}", host, session, others) if kind == "c"
                else self.go_plan(lab, kind, f"{kind}-{host}", host, session, others)
                for host, kind in zip("abc", kinds)]

    def assert_all_meet(self, server: str) -> None:
        """Every pair and a mixed three, started at once and one after the other."""
        lab = self.homes(3)
        self.start_server(lab, server)
        for kinds in ([self.ours, self.ours], [self.ours, self.theirs], [self.theirs, self.ours],
                      [self.theirs, self.theirs], [self.ours, "c"], [self.ours, self.theirs, "c"]):
            for stagger in (0, 0.15):
                with self.subTest(kinds=kinds, stagger=stagger):
                    self.assert_connect_and_talk(lab, self.plans(lab, kinds), stagger)

    def test_all_meet_through_hp_server(self) -> None:
        self.assert_all_meet("hp-server")

    def test_all_meet_through_the_server_that_has_switched(self) -> None:
        self.assert_all_meet(self.ours)

    def test_all_meet_through_the_server_that_has_not(self) -> None:
        self.assert_all_meet(self.theirs)


class DropIn(Switched, LabCase):
    """Always there: programs of our own that use all that the library exports."""

    ours, theirs = "dropin", "standin"


class RealSwitched(Switched, LabCase):
    """The library's own programs, where they can be had."""

    ours, theirs = "switched", "real"
