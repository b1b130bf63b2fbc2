"""The C# binding on real NATs, by way of its example chat, which runs on Mono."""

from __future__ import annotations

import re

from fixture import COMMON_DIALECTS, PORT, LabCase, fresh_id, program, skip, tool
from natlab import Lab, Node, Site
from programs import Participant, Plan


def chat_in(language: str, needs: str) -> str:
    """A chat that is there only where its language is."""
    try:
        return program(f"{language}-chat")
    except AssertionError as missing:
        skip(f"{missing}; it needs {needs}")
        raise


class CSharpChatCase(LabCase):
    """With the C# chat, which takes the command line of the one in C."""

    cs_chat: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.cs_chat = chat_in("cs", "Mono")

    def plan(self, program_path: str, lab: Lab, name: str, host: Node | str, session: str, peers: int = 1, *options: str,
             server: str | None = None) -> Plan:
        """A chat of another language to be started, as `start_together` takes it."""
        server = server or f"{lab.server.address}:{PORT}"
        return Participant, name, host, [program_path, *options, server, session, str(peers)]

    def cs_plan(self, lab: Lab, name: str, host: Node | str, session: str, peers: int = 1, *options: str,
                server: str | None = None) -> Plan:
        """A C# chat to be started."""
        return self.plan(self.cs_chat, lab, name, host, session, peers, *options, server=server)

    def go_chat_plan(self, lab: Lab, name: str, host: Node | str, session: str, peers: int = 1, *options: str,
                     server: str | None = None) -> Plan:
        """A Go chat to be started."""
        go_chat = chat_in("go", "Go 1.19 or newer")
        return self.plan(go_chat, lab, name, host, session, peers, *options, server=server)


class Chat(CSharpChatCase):
    """C# with C#, C and Go through our server, home x home."""

    def assert_meet(self, lab: Lab, first: tuple[str, str], second: tuple[str, str], stagger: float = 0) -> None:
        """Each side is a language and a dialect."""
        plan = {"c#": self.cs_plan, "c": self.chat_plan, "go": self.go_chat_plan}
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

    def assert_meet_in_every_dialect(self, other: str) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for ours, theirs in (("native", "native"), ("native", "auto"), ("auto", "native"), ("auto", "auto"),
                             ("auto", "plain"), ("plain", "auto"), ("plain", "plain")):
            with self.subTest(cs=ours, other=theirs):
                self.assert_meet(lab, ("c#", ours), (other, theirs))

    def test_csharp_with_csharp_in_every_dialect_both_sides_understand(self) -> None:
        self.assert_meet_in_every_dialect("c#")

    def test_csharp_with_c_in_every_dialect_both_sides_understand(self) -> None:
        self.assert_meet_in_every_dialect("c")

    def test_csharp_with_go_in_every_dialect_both_sides_understand(self) -> None:
        chat_in("go", "Go 1.19 or newer")
        self.assert_meet_in_every_dialect("go")

    def test_however_much_later_one_side_starts(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for stagger in (0.3, 1.2):
            for first, second in (("c#", "c#"), ("c#", "c"), ("c", "c#")):
                with self.subTest(stagger=stagger, first=first, second=second):
                    self.assert_meet(lab, (first, "auto"), (second, "auto"), stagger)

    def test_although_a_fifth_of_all_datagrams_is_lost(self) -> None:
        lab = self.homes(loss=20)
        self.hp_server(lab)
        for run in range(3):
            for language in ("c#", "c"):
                with self.subTest(run=run, other=language):
                    self.assert_meet(lab, ("c#", "auto"), (language, "auto"))

    def test_two_behind_one_router(self) -> None:
        lab = self.build({"a": Site("home", hosts=2, hairpin=False)})
        self.hp_server(lab)
        session = fresh_id()
        chats = self.assert_connect_and_talk(lab, [
            self.cs_plan(lab, f"host {index}", lab.host("a", index), session) for index in (0, 1)])
        for chat, other in zip(chats, (1, 0)):
            self.assertEqual([peer.address for peer in chat.peers], [lab.host("a", other).address])

    def test_over_ipv6_through_firewalls(self) -> None:
        lab = self.build({name: Site("home", ipv6_firewall=True) for name in "ab"}, ipv6=True)
        server = f"[{lab.server.address6}]:{PORT}"
        self.hp_server(lab, address=server)
        for plan in (self.cs_plan, self.chat_plan):
            session = fresh_id()
            chats = self.assert_connect_and_talk(lab, [
                self.cs_plan(lab, "a", "a", session, server=server), plan(lab, "b", "b", session, server=server)])
            for chat, other in zip(chats, "ba"):
                self.assertEqual([peer.address for peer in chat.peers], [lab.host(other).address6])

    def test_csharp_c_and_go_in_one_session(self) -> None:
        chat_in("go", "Go 1.19 or newer")
        lab = self.homes(3)
        self.hp_server(lab)
        session = fresh_id()
        self.assert_connect_and_talk(lab, [
            plan(lab, host, host, session, 2)
            for plan, host in ((self.cs_plan, "a"), (self.chat_plan, "b"), (self.go_chat_plan, "c"))])

    def test_what_the_library_says_on_its_own_is_not_shown(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for dialect in ("native", "plain"):
            with self.subTest(dialect=dialect):
                session = fresh_id()
                for chat in self.assert_connect_and_talk(lab, [
                        self.cs_plan(lab, host, host, session, 1, "--dialect", dialect) for host in "ab"]):
                    heard = {line for line in chat.output if not re.match("peer |connected ", line)}
                    self.assertEqual(heard, {f"0: I am {'b' if chat.name == 'a' else 'a'}."})


class ChatWithTheExistingTools(CSharpChatCase):
    """With the stand-ins for the existing Go programs: see tests/interop."""

    def assert_one_of_each_meet(self, lab: Lab) -> None:
        for dialect in COMMON_DIALECTS:
            with self.subTest(dialect=dialect):
                session = fresh_id()
                self.assert_connect_and_talk(lab, [
                    self.cs_plan(lab, "c#", "a", session, 1, "--dialect", dialect),
                    self.go_plan(lab, "standin", "theirs", "b", session)])

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


class ChatFailure(CSharpChatCase):
    """What cannot work says so."""

    def assert_fails(self, lab: Lab, code: str, *options: str) -> None:
        [chat] = self.start_together(lab, [self.cs_plan(lab, "a", "a", fresh_id(), 1, *options)])
        self.assertEqual(chat.wait(), 1, chat.transcript)
        self.assertEqual(chat.output, [], chat.transcript)
        self.assertRegex(chat.errors, rf"\Achat: [^\n]* \({code}\)\Z")

    def test_nobody_comes(self) -> None:
        lab = self.homes(1)
        self.hp_server(lab)
        self.assert_fails(lab, "TimedOutWaiting", "--timeout", "500")

    def test_nothing_listens_on_the_servers_port(self) -> None:
        self.assert_fails(self.homes(1), "ServerPortClosed", "--timeout", "500")

    def test_the_server_speaks_another_dialect(self) -> None:
        lab = self.homes(1)
        self.go_server(lab, "standin")
        self.assert_fails(lab, "DialectMismatch", "--dialect", "native", "--timeout", "10000")
