"""IPv6: no translation, but often a firewall that lets in only what was asked for."""

from __future__ import annotations

from fixture import PORT, LabCase
from natlab import Site


class Ipv6(LabCase):
    """Two chats and a server that all speak IPv6."""

    def assert_pair_talks_over_ipv6(self, first: Site, second: Site) -> None:
        lab = self.build({"a": first, "b": second}, ipv6=True)
        address = f"[{lab.server.address6}]:{PORT}"
        self.hp_server(lab, address=address)
        for dialect in ("auto", "plain"):
            with self.subTest(dialect=dialect):
                chats = self.assert_pair_talks(lab, "a", "b", "--dialect", dialect, server=address)
                for chat, other in zip(chats, "ba"):
                    [peer] = chat.peers
                    self.assertEqual(peer.address, lab.host(other).address6)

    def test_connect_and_talk(self) -> None:
        self.assert_pair_talks_over_ipv6(Site("home"), Site("home"))

    def test_connect_through_firewalls(self) -> None:
        self.assert_pair_talks_over_ipv6(Site("home", ipv6_firewall=True), Site("home", ipv6_firewall=True))

    def test_a_server_on_all_addresses_answers_from_the_one_that_was_asked(self) -> None:
        # A client takes no answer from an address it has not asked, and a NAT would not even let it in.
        lab = self.build({"a": Site("home"), "b": Site("home")}, ipv6=True)
        self.hp_server(lab, address=f"[::]:{PORT}")
        for address in (*lab.server.addresses, *(f"[{address6}]" for address6 in lab.server.addresses6)):
            with self.subTest(address=address):
                self.assert_pair_talks(lab, "a", "b", "--timeout", "3000", server=f"{address}:{PORT}")
