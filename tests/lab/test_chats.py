"""The bindings on real NATs, by way of their chats, which all take the command line of the one in C."""

from __future__ import annotations

import re
import signal
import time

from fixture import COMMON_DIALECTS, PORT, LabCase, fresh_id, optional_program, tool
from natlab import Lab, Node, Site
from programs import Participant, Plan

#: What each language's chat needs to be there.
_NEEDS = {"go": "Go 1.19 or newer", "cs": "Mono"}
#: Every pair of dialects that understand each other.
_DIALECT_PAIRS = (("native", "native"), ("native", "auto"), ("auto", "native"), ("auto", "auto"), ("auto", "plain"),
                  ("plain", "auto"), ("plain", "plain"))


class Chats:
    """The chat of one binding with itself, with the one in C, with other bindings' and with the existing tools."""

    #: The binding, and those others that it is tried with.
    own: str
    others: tuple[str, ...] = ()
    #: How it says why it failed: nobody came, no server, another dialect.
    reasons: tuple[str, str, str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()  # type: ignore[misc]
        optional_program(f"{cls.own}-chat", _NEEDS[cls.own])

    def plan(self, language: str, lab: Lab, name: str, host: Node | str, session: str, peers: int = 1, *options: str,
             server: str | None = None) -> Plan:
        """A chat to be started, as `start_together` takes it."""
        if language == "c":
            return self.chat_plan(lab, name, host, session, peers, *options, server=server)
        path = optional_program(f"{language}-chat", _NEEDS[language])
        server = server or f"{lab.server.address}:{PORT}"
        return Participant, name, host, [path, *options, server, session, str(peers)]

    def alone(self, lab: Lab, *options: str) -> Participant:
        """A chat that nobody else will meet."""
        [chat] = self.start_together(lab, [self.plan(self.own, lab, "a", "a", fresh_id(), 1, *options)])
        return chat

    def assert_meet(self, lab: Lab, first: tuple[str, str], second: tuple[str, str], stagger: float = 0) -> None:
        """Each side is a language and a dialect."""
        session = fresh_id()
        chats = self.assert_connect_and_talk(lab, [
            self.plan(language, lab, f"{language}-{host}", host, session, 1, "--dialect", dialect)
            for host, (language, dialect) in (("a", first), ("b", second))], stagger)
        for chat, other in zip(chats, "ba"):
            self.assertEqual(chat.errors, "", chat.transcript)
            [peer] = chat.peers
            self.assertEqual(peer.address, lab.host(other).outside, chat.transcript)
            self.assertIn(peer.path, ("reflexive", "peer-reflexive"), chat.transcript)
            # Only the native dialect can measure the round-trip time.
            self.assertEqual(peer.rtt_ms is None, "plain" in (first[1], second[1]), chat.transcript)

    def test_in_every_dialect_both_sides_understand(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for other in (self.own, "c", *self.others):
            for ours, theirs in _DIALECT_PAIRS:
                with self.subTest(other=other, ours=ours, theirs=theirs):
                    self.assert_meet(lab, (self.own, ours), (other, theirs))

    def test_however_much_later_one_side_starts(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for stagger in (0.01, 0.3, 1.2):
            for first, second in ((self.own, self.own), (self.own, "c"), ("c", self.own)):
                with self.subTest(stagger=stagger, first=first, second=second):
                    self.assert_meet(lab, (first, "auto"), (second, "auto"), stagger)

    def test_although_a_fifth_of_all_datagrams_is_lost(self) -> None:
        lab = self.homes(loss=20)
        self.hp_server(lab)
        for run in range(4):
            for language in (self.own, "c"):
                with self.subTest(run=run, other=language):
                    self.assert_meet(lab, (self.own, "auto"), (language, "auto"))

    def test_two_behind_one_router(self) -> None:
        lab = self.build({"a": Site("home", hosts=2, hairpin=False)})
        self.hp_server(lab)
        session = fresh_id()
        chats = self.assert_connect_and_talk(lab, [
            self.plan(self.own, lab, f"host {index}", lab.host("a", index), session) for index in (0, 1)])
        for chat, other in zip(chats, (1, 0)):
            self.assertEqual([peer.address for peer in chat.peers], [lab.host("a", other).address])

    def test_over_ipv6_through_firewalls(self) -> None:
        lab = self.build({name: Site("home", ipv6_firewall=True) for name in "ab"}, ipv6=True)
        server = f"[{lab.server.address6}]:{PORT}"
        self.hp_server(lab, address=server)
        for other in (self.own, "c"):
            session = fresh_id()
            chats = self.assert_connect_and_talk(lab, [
                self.plan(self.own, lab, "a", "a", session, server=server),
                self.plan(other, lab, "b", "b", session, server=server)])
            for chat, host in zip(chats, "ba"):
                self.assertEqual([peer.address for peer in chat.peers], [lab.host(host).address6])

    def test_three_languages_in_one_session(self) -> None:
        lab = self.homes(3)
        self.hp_server(lab)
        session = fresh_id()
        third = self.others[0] if self.others else self.own
        self.assert_connect_and_talk(lab, [
            self.plan(language, lab, host, host, session, 2) for language, host in zip((self.own, "c", third), "abc")])

    def test_what_the_library_says_on_its_own_is_not_shown(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for dialect in ("native", "plain"):
            with self.subTest(dialect=dialect):
                session = fresh_id()
                for chat in self.assert_connect_and_talk(lab, [
                        self.plan(self.own, lab, host, host, session, 1, "--dialect", dialect) for host in "ab"]):
                    heard = {line for line in chat.output if not re.match("peer |connected ", line)}
                    self.assertEqual(heard, {f"0: I am {'b' if chat.name == 'a' else 'a'}."})

    def assert_meet_the_existing_tools(self, lab: Lab) -> None:
        for dialect in COMMON_DIALECTS:
            for stagger, order in ((0.0, 1), (0.25, 1), (0.25, -1)):
                with self.subTest(dialect=dialect, stagger=stagger, order=order):
                    session = fresh_id()
                    plans = [self.plan(self.own, lab, "ours", "a", session, 1, "--dialect", dialect),
                             self.go_plan(lab, "standin", "theirs", "b", session)]
                    self.assert_connect_and_talk(lab, plans[::order], stagger)
            with self.subTest(dialect=dialect, three=True):
                session = fresh_id()
                self.assert_connect_and_talk(lab, [
                    self.plan("c", lab, "c", "a", session, 2, "--dialect", "auto"),
                    self.plan(self.own, lab, "ours", "b", session, 2, "--dialect", dialect),
                    self.go_plan(lab, "standin", "theirs", "c", session, 2)])

    def test_with_the_existing_tools_through_our_server(self) -> None:
        tool("standin-client")
        lab = self.homes(3)
        self.hp_server(lab)
        self.assert_meet_the_existing_tools(lab)

    def test_with_the_existing_tools_through_their_server(self) -> None:
        tool("standin-client")
        lab = self.homes(3)
        self.go_server(lab, "standin")
        self.assert_meet_the_existing_tools(lab)

    def assert_fails(self, chat: Participant, words: str) -> None:
        self.assertEqual(chat.wait(), 1, chat.transcript)
        self.assertEqual(chat.output, [], chat.transcript)
        self.assertRegex(chat.errors, rf"\Achat: .*{words}[^\n]*\Z")

    def test_what_cannot_work_says_so(self) -> None:
        lab = self.homes(1)
        self.assert_fails(self.alone(lab, "--timeout", "500"), self.reasons[1])
        server = self.hp_server(lab)
        self.assert_fails(self.alone(lab, "--timeout", "500"), self.reasons[0])
        lab.stop(server.process)
        self.go_server(lab, "standin")
        self.assert_fails(self.alone(lab, "--dialect", "native", "--timeout", "10000"), self.reasons[2])


class Go(Chats, LabCase):
    """The Go binding."""

    own = "go"
    reasons = ("timed out while waiting", "port", "dialect")

    def test_an_interrupt_ends_the_waiting_at_once(self) -> None:
        lab = self.homes(1)
        self.hp_server(lab)
        chat = self.alone(lab, "--timeout", "-1")
        time.sleep(0.5)
        begun = time.monotonic()
        chat.process.send_signal(signal.SIGINT)
        self.assert_fails(chat, "canceled")
        self.assertLess(time.monotonic() - begun, 1)


class CSharp(Chats, LabCase):
    """The C# binding, on Mono."""

    own = "cs"
    others = ("go",)
    reasons = (r"\(TimedOutWaiting\)", r"\(ServerPortClosed\)", r"\(DialectMismatch\)")
