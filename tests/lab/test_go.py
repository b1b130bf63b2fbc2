"""The Go binding on real NATs, by way of its example programs: the chat and the file copy over QUIC."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import tempfile
import time
import unittest
from pathlib import Path

from fixture import COMMON_DIALECTS, PORT, LabCase, fresh_id, program, skip, tool
from natlab import Lab, Node, Site
from programs import Participant, Plan, Program


def go_program(name: str, needs: str) -> str:
    """One of the Go examples; HP_EXCUSED names those that the Go which is there is too old for."""
    try:
        return program(name)
    except AssertionError as missing:
        reason = f"{missing}; it needs {needs}"
        if name in os.environ.get("HP_EXCUSED", "").split():
            raise unittest.SkipTest(reason) from None
        skip(reason)
        raise


class GoChatCase(LabCase):
    """With the Go chat, which takes the command line of the one in C."""

    go_chat: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.go_chat = go_program("go-chat", "Go 1.19 or newer")

    def go_chat_plan(self, lab: Lab, name: str, host: Node | str, session: str, peers: int = 1, *options: str,
                     server: str | None = None) -> Plan:
        """A Go chat to be started, as `start_together` takes it."""
        server = server or f"{lab.server.address}:{PORT}"
        return Participant, name, host, [self.go_chat, *options, server, session, str(peers)]

    def go_chat_alone(self, lab: Lab, *options: str) -> Participant:
        """A Go chat that nobody else will meet."""
        [chat] = self.start_together(lab, [self.go_chat_plan(lab, "a", "a", fresh_id(), 1, *options)])
        return chat


class Chat(GoChatCase):
    """Go with Go and Go with C through our server, home x home."""

    def assert_meet(self, lab: Lab, first: tuple[str, str], second: tuple[str, str], stagger: float = 0) -> None:
        """Each side is a language and a dialect."""
        plan = {"go": self.go_chat_plan, "c": self.chat_plan}
        session = fresh_id()
        chats = self.assert_connect_and_talk(lab, [
            plan[language](lab, f"{language}-{host}", host, session, 1, "--dialect", dialect)
            for host, (language, dialect) in (("a", first), ("b", second))], stagger)
        for chat, other in zip(chats, "ba"):
            self.assertEqual(chat.errors, "", chat.transcript)
            [peer] = chat.peers
            self.assertEqual(peer.address, lab.host(other).outside, chat.transcript)
            self.assertIn(peer.path, ("reflexive", "peer-reflexive"), chat.transcript)
            # Only the native dialect can measure the round-trip time.
            self.assertEqual(peer.rtt_ms is None, "plain" in (first[1], second[1]), chat.transcript)

    def test_go_with_go_in_every_dialect_both_sides_understand(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for first, second in (("native", "native"), ("native", "auto"), ("auto", "auto"), ("auto", "plain"),
                              ("plain", "plain")):
            with self.subTest(first=first, second=second):
                self.assert_meet(lab, ("go", first), ("go", second))

    def test_go_with_c_in_every_dialect_both_sides_understand(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for ours, theirs in (("native", "native"), ("native", "auto"), ("auto", "native"), ("auto", "auto"),
                             ("auto", "plain"), ("plain", "auto"), ("plain", "plain")):
            with self.subTest(go=ours, c=theirs):
                self.assert_meet(lab, ("go", ours), ("c", theirs))

    def test_however_much_later_one_side_starts(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for stagger, pairs in ((0.01, ("go go", "go c", "c go")), (0.3, ("go go", "go c", "c go")), (1.2, ("go go",))):
            for pair in pairs:
                with self.subTest(stagger=stagger, pair=pair):
                    first, second = pair.split()
                    self.assert_meet(lab, (first, "auto"), (second, "auto"), stagger)

    def test_although_a_fifth_of_all_datagrams_is_lost(self) -> None:
        lab = self.homes(loss=20)
        self.hp_server(lab)
        for run in range(5):
            for language in ("go", "c"):
                with self.subTest(run=run, other=language):
                    self.assert_meet(lab, ("go", "auto"), (language, "auto"))

    def test_two_behind_one_router(self) -> None:
        lab = self.build({"a": Site("home", hosts=2, hairpin=False)})
        self.hp_server(lab)
        session = fresh_id()
        chats = self.assert_connect_and_talk(lab, [
            self.go_chat_plan(lab, f"host {index}", lab.host("a", index), session) for index in (0, 1)])
        for chat, other in zip(chats, (1, 0)):
            self.assertEqual([peer.address for peer in chat.peers], [lab.host("a", other).address])

    def test_over_ipv6_through_firewalls(self) -> None:
        lab = self.build({name: Site("home", ipv6_firewall=True) for name in "ab"}, ipv6=True)
        server = f"[{lab.server.address6}]:{PORT}"
        self.hp_server(lab, address=server)
        for plan in (self.go_chat_plan, self.chat_plan):
            session = fresh_id()
            chats = self.assert_connect_and_talk(lab, [
                self.go_chat_plan(lab, "a", "a", session, server=server), plan(lab, "b", "b", session, server=server)])
            for chat, other in zip(chats, "ba"):
                self.assertEqual([peer.address for peer in chat.peers], [lab.host(other).address6])

    def test_what_the_library_says_on_its_own_is_not_shown(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for dialect in ("native", "plain"):
            with self.subTest(dialect=dialect):
                session = fresh_id()
                for chat in self.assert_connect_and_talk(lab, [
                        self.go_chat_plan(lab, host, host, session, 1, "--dialect", dialect) for host in "ab"]):
                    heard = {line for line in chat.output if not re.match("peer |connected ", line)}
                    self.assertEqual(heard, {f"0: I am {'b' if chat.name == 'a' else 'a'}."})


class ChatWithTheExistingTools(GoChatCase):
    """With the stand-ins for the existing Go programs: see tests/interop."""

    def assert_one_of_each_meet(self, lab: Lab) -> None:
        for dialect in COMMON_DIALECTS:
            for stagger, order in ((0.0, 1), (0.25, 1), (0.25, -1)):
                with self.subTest(dialect=dialect, stagger=stagger, order=order):
                    session = fresh_id()
                    plans = [self.go_chat_plan(lab, "go", "a", session, 1, "--dialect", dialect),
                             self.go_plan(lab, "standin", "theirs", "b", session)]
                    self.assert_connect_and_talk(lab, plans[::order], stagger)

    def assert_three_meet(self, lab: Lab) -> None:
        for stagger, dialect in zip((0, 0.15), COMMON_DIALECTS):
            with self.subTest(stagger=stagger, dialect=dialect):
                session = fresh_id()
                self.assert_connect_and_talk(lab, [
                    self.chat_plan(lab, "c", "a", session, 2, "--dialect", "auto"),
                    self.go_chat_plan(lab, "go", "b", session, 2, "--dialect", dialect),
                    self.go_plan(lab, "standin", "theirs", "c", session, 2)], stagger)

    def test_one_of_each_through_our_server(self) -> None:
        tool("standin-client")
        lab = self.homes()
        self.hp_server(lab)
        self.assert_one_of_each_meet(lab)

    def test_one_of_each_through_their_server(self) -> None:
        tool("standin-client")
        lab = self.homes()
        self.go_server(lab, "standin")
        self.assert_one_of_each_meet(lab)

    def test_go_c_and_a_stand_in_through_our_server(self) -> None:
        tool("standin-client")
        lab = self.homes(3)
        self.hp_server(lab)
        self.assert_three_meet(lab)

    def test_go_c_and_a_stand_in_through_their_server(self) -> None:
        tool("standin-client")
        lab = self.homes(3)
        self.go_server(lab, "standin")
        self.assert_three_meet(lab)


class ChatFailure(GoChatCase):
    """What cannot work says so."""

    def assert_fails(self, chat: Participant, words: str) -> None:
        self.assertEqual(chat.wait(), 1, chat.transcript)
        self.assertEqual(chat.output, [], chat.transcript)
        self.assertRegex(chat.errors, rf"\Achat: .*{words}[^\n]*\Z")

    def test_nobody_comes(self) -> None:
        lab = self.homes(1)
        self.hp_server(lab)
        self.assert_fails(self.go_chat_alone(lab, "--timeout", "500"), "timed out while waiting")

    def test_nothing_listens_on_the_servers_port(self) -> None:
        lab = self.homes(1)
        self.assert_fails(self.go_chat_alone(lab, "--timeout", "500"), "port")

    def test_the_server_speaks_another_dialect(self) -> None:
        lab = self.homes(1)
        self.go_server(lab, "standin")
        self.assert_fails(self.go_chat_alone(lab, "--dialect", "native", "--timeout", "10000"), "dialect")

    def test_an_interrupt_ends_the_waiting_at_once(self) -> None:
        lab = self.homes(1)
        self.hp_server(lab)
        chat = self.go_chat_alone(lab, "--timeout", "-1")
        time.sleep(0.5)
        begun = time.monotonic()
        chat.process.send_signal(signal.SIGINT)
        self.assert_fails(chat, "canceled")
        self.assertLess(time.monotonic() - begun, 1)


class FileCopy(LabCase):
    """A file over QUIC through the hole, home x home."""

    SIZE = 8_000_003
    quic: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.quic = go_program("go-quic", "a Go as new as its go.mod says")

    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source = Path(directory.name, "source")
        self.target = Path(directory.name, "target", "file")
        self.target.parent.mkdir()

    def start(self, lab: Lab, host: str, role: str, session: str, path: Path, server: str | None = None) -> Program:
        """`send` or `receive`."""
        argv = [self.quic, role, server or f"{lab.server.address}:{PORT}", session, str(path)]
        return self.run_program(lab, f"{role} on {host}", host, argv)

    def start_both(self, lab: Lab, size: int, server: str | None = None) -> list[Program]:
        """Someone who sends so many random bytes, and someone who receives them."""
        self.source.write_bytes(os.urandom(size))
        session = fresh_id()
        return [self.start(lab, "a", "send", session, self.source, server),
                self.start(lab, "b", "receive", session, self.target, server)]

    def assert_copied(self, programs: list[Program]) -> None:
        for copy, done in zip(programs, ("sent", "received")):
            self.assertEqual(copy.wait(), 0, copy.transcript)
            digest = hashlib.sha256(self.source.read_bytes()).hexdigest()
            [line] = copy.output
            self.assertRegex(line, rf"\A{done} {self.source.stat().st_size} bytes in \d+ ms, sha256 {digest}\Z")
        self.assertEqual(hashlib.sha256(self.target.read_bytes()).digest(),
                         hashlib.sha256(self.source.read_bytes()).digest())
        self.assert_nothing_else_left([self.target.name])

    def assert_nothing_else_left(self, names: list[str]) -> None:
        self.assertEqual(os.listdir(self.target.parent), names)

    def test_a_large_file_twice(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for run in range(2):  # The second one overwrites.
            with self.subTest(run=run):
                self.assert_copied(self.start_both(lab, self.SIZE))

    def test_an_empty_file(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        self.assert_copied(self.start_both(lab, 0))

    def test_with_loss(self) -> None:
        lab = self.homes(loss=2)
        self.hp_server(lab)
        self.assert_copied(self.start_both(lab, self.SIZE))

    def test_over_ipv6(self) -> None:
        lab = self.build({name: Site("home", ipv6_firewall=True) for name in "ab"}, ipv6=True)
        server = f"[{lab.server.address6}]:{PORT}"
        self.hp_server(lab, address=server)
        self.assert_copied(self.start_both(lab, self.SIZE, server))

    def test_a_third_one_with_another_id_gets_nothing(self) -> None:
        lab = self.homes(3)
        self.hp_server(lab)
        stolen = self.target.with_name("stolen")
        third = self.start(lab, "c", "receive", fresh_id(), stolen)
        copies = self.start_both(lab, self.SIZE)
        for copy in copies:
            self.assertEqual(copy.wait(), 0, copy.transcript)
        third.process.send_signal(signal.SIGINT)
        self.assertEqual(third.wait(), 1, third.transcript)
        self.assertEqual(third.output, [])
        self.assertRegex(third.errors, r"\Aquic: .*canceled\Z")
        self.assert_copied(copies)

    def test_one_that_is_interrupted_tells_the_other_and_leaves_no_file(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        # Sparse, so that it takes no room; more than can be copied before the interrupt.
        with self.source.open("wb") as source:
            source.truncate(1 << 40)
        session = fresh_id()
        sender = self.start(lab, "a", "send", session, self.source)
        receiver = self.start(lab, "b", "receive", session, self.target)
        deadline = time.monotonic() + 10
        while not any(part.stat().st_size for part in self.target.parent.iterdir()):
            self.assertLess(time.monotonic(), deadline, receiver.transcript)
            time.sleep(0.01)
        sender.process.send_signal(signal.SIGINT)
        for copy, words in ((sender, "interrupt"), (receiver, "the other side has given up: ")):
            self.assertEqual(copy.wait(), 1, copy.transcript)
            self.assertIn(words, copy.errors)
        self.assert_nothing_else_left([])

    def test_a_server_that_would_have_to_be_shown_the_id_is_not_used(self) -> None:
        lab = self.homes()
        self.go_server(lab, "standin")
        for copy in self.start_both(lab, 1):
            self.assertEqual(copy.wait(), 1, copy.transcript)
            self.assertIn("dialect", copy.errors)
        self.assert_nothing_else_left([])
