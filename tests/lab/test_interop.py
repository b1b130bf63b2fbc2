"""With the programs of the existing Go implementation, or with what stands in for them: see tests/interop."""

from __future__ import annotations

from fixture import COMMON_DIALECTS, LabCase, fresh_id, tool
from natlab import Lab


class Interop:
    """Every client with every client through every server, home x home. Messages must flow both ways each time."""

    flavour: str

    def setUp(self) -> None:
        for role in ("client", "server"):
            tool(f"{self.flavour}-{role}")
        super().setUp()  # type: ignore[misc]

    def start_server(self, lab: Lab, server: str) -> None:
        """Ours or theirs."""
        if server == "ours":
            self.hp_server(lab)
        else:
            self.go_server(lab, self.flavour)

    def test_two_of_theirs_meet_through_our_server(self) -> None:
        lab = self.homes()
        self.start_server(lab, "ours")
        for stagger in (0, 0.25):
            with self.subTest(stagger=stagger):
                session = fresh_id()
                self.assert_connect_and_talk(
                    lab, [self.go_plan(lab, self.flavour, host, host, session) for host in "ab"], stagger)

    def test_two_of_ours_meet_through_their_server(self) -> None:
        lab = self.homes()
        self.start_server(lab, "theirs")
        for first in COMMON_DIALECTS:
            for second in COMMON_DIALECTS:
                with self.subTest(first=first, second=second):
                    session = fresh_id()
                    self.assert_connect_and_talk(lab, [
                        self.chat_plan(lab, host, host, session, 1, "--dialect", dialect)
                        for host, dialect in (("a", first), ("b", second))])

    def assert_one_of_each_meet(self, server: str) -> None:
        lab = self.homes()
        self.start_server(lab, server)
        for dialect in COMMON_DIALECTS:
            for stagger, order in ((0.0, 1), (0.25, 1), (0.25, -1)):
                with self.subTest(dialect=dialect, stagger=stagger, order=order):
                    session = fresh_id()
                    plans = [self.chat_plan(lab, "ours", "a", session, 1, "--dialect", dialect),
                             self.go_plan(lab, self.flavour, "theirs", "b", session)]
                    self.assert_connect_and_talk(lab, plans[::order], stagger)

    def test_one_of_each_meet_through_our_server(self) -> None:
        self.assert_one_of_each_meet("ours")

    def test_one_of_each_meet_through_their_server(self) -> None:
        self.assert_one_of_each_meet("theirs")

    def assert_three_meet(self, server: str) -> None:
        lab = self.homes(3)
        self.start_server(lab, server)
        for stagger in (0, 0.15):
            with self.subTest(stagger=stagger):
                session = fresh_id()
                self.assert_connect_and_talk(lab, [
                    self.chat_plan(lab, "ours", "a", session, 2, "--dialect", "auto"),
                    self.chat_plan(lab, "ours-plain", "b", session, 2, "--dialect", "plain"),
                    self.go_plan(lab, self.flavour, "theirs", "c", session, 2)], stagger)

    def test_three_meet_through_our_server(self) -> None:
        self.assert_three_meet("ours")

    def test_three_meet_through_their_server(self) -> None:
        self.assert_three_meet("theirs")


class StandIn(Interop, LabCase):
    """Always there; strict where the dialect is."""

    flavour = "standin"


class Real(Interop, LabCase):
    """The real programs, where they can be had."""

    flavour = "real"


class NativeOnly(LabCase):
    """Who insists on the native dialect is told when it is not to be had."""

    def test_native_client_says_that_the_server_speaks_another_dialect(self) -> None:
        lab = self.homes(1)
        self.go_server(lab, "standin")
        chat = self.chat(lab, "a", "a", fresh_id(), 1, "--dialect", "native", "--timeout", "10000")
        self.assertEqual(chat.wait(), 1, chat.transcript)
        self.assertIn("HP_STATUS_DIALECT_MISMATCH", chat.errors)

    def test_native_server_lets_two_of_ours_meet_and_ignores_plain_clients(self) -> None:
        lab = self.homes()
        self.hp_server(lab, "--dialect", "native")
        self.assert_pair_talks(lab)
        chat = self.chat(lab, "a", "a", fresh_id(), 1, "--dialect", "plain", "--timeout", "700")
        self.assertEqual(chat.wait(), 1, chat.transcript)
        self.assertIn("HP_STATUS_SERVER_SILENT", chat.errors)
