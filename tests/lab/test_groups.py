"""More than two: every pair of a session opens a hole of its own."""

from __future__ import annotations

from fixture import LabCase, fresh_id
from natlab import Site
from programs import Participant


class ThreeHomes(LabCase):
    """Three peers, each in a home of its own."""

    def assert_all_meet(self, dialects: tuple[str, str, str], stagger: float = 0, loss: float = 0) -> list[Participant]:
        lab = self.homes(3, loss=loss)
        self.hp_server(lab)
        session = fresh_id()
        chats = self.assert_connect_and_talk(lab, [
            self.chat_plan(lab, host, host, session, 2, "--dialect", dialect)
            for host, dialect in zip("abc", dialects)], stagger)
        for chat in chats:
            others = sorted(lab.host(other).outside for other in "abc" if other != chat.name)
            self.assertEqual(sorted(peer.address for peer in chat.peers), others, chat.transcript)
        return chats

    def test_all_native(self) -> None:
        for chat in self.assert_all_meet(("native", "native", "native")):
            self.assertTrue(all(peer.rtt_ms is not None for peer in chat.peers))

    def test_native_only_among_those_that_speak_both(self) -> None:
        for chat in self.assert_all_meet(("native", "auto", "auto")):
            self.assertTrue(all(peer.rtt_ms is not None for peer in chat.peers))

    def test_each_pair_speaks_what_both_understand(self) -> None:
        for dialects in (("auto", "auto", "plain"), ("auto", "plain", "plain")):
            with self.subTest(dialects=dialects):
                by_name = {chat.name: chat for chat in self.assert_all_meet(dialects)}
                for name, dialect in zip("abc", dialects):
                    # Whether a time was measured tells which dialect a hole was opened in.
                    measured = sum(peer.rtt_ms is not None for peer in by_name[name].peers)
                    native_pairs = dialects.count("auto") - 1 if dialect == "auto" else 0
                    self.assertEqual(measured, native_pairs, by_name[name].transcript)

    def test_one_after_the_other(self) -> None:
        self.assert_all_meet(("auto", "auto", "auto"), stagger=0.4)

    def test_with_loss(self) -> None:
        for run in range(3):
            with self.subTest(run=run):
                self.assert_all_meet(("auto", "auto", "auto"), loss=20)

    def test_two_in_one_home_and_one_elsewhere(self) -> None:
        lab = self.build({"a": Site("home", hosts=2), "b": Site("home")})
        self.hp_server(lab)
        session = fresh_id()
        hosts = {"a1": lab.host("a", 0), "a2": lab.host("a", 1), "b": lab.host("b")}
        chats = self.assert_connect_and_talk(lab, [
            self.chat_plan(lab, name, host, session, 2) for name, host in hosts.items()])
        paths = {chat.name: sorted(peer.path for peer in chat.peers) for chat in chats}
        for name in ("a1", "a2"):
            self.assertEqual(paths[name].count("host"), 1, paths)
        self.assertNotIn("host", paths["b"])
