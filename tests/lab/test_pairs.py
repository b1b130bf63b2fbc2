"""Two peers, each behind its own kind of NAT."""

from __future__ import annotations

from fixture import PORT, LabCase, fresh_id, program
from natlab import Site
from programs import Participant, converse, dismiss

#: Ways in which two homes can reach each other: by what the server saw, or by what a probe showed first.
_THROUGH_NATS = ("reflexive", "peer-reflexive")


class TwoHomes(LabCase):
    """The pair that matters most: endpoint-independent mapping, port-restricted filtering, a router that drops."""

    def test_connect_and_talk_every_time(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for run in range(20):
            with self.subTest(run=run):
                for chat, other in zip(self.assert_pair_talks(lab), ("b", "a")):
                    [peer] = chat.peers
                    self.assertIn(peer.path, _THROUGH_NATS)
                    self.assertEqual(peer.address, lab.host(other).outside)
                    self.assertIsNotNone(peer.rtt_ms)

    def test_connect_every_time_although_a_fifth_of_all_datagrams_is_lost(self) -> None:
        lab = self.homes(loss=20)
        self.hp_server(lab)
        for run in range(25):
            with self.subTest(run=run):
                self.assert_pair_talks(lab)

    def test_connect_however_much_later_one_side_starts(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for stagger in (0.005, 0.05, 0.3, 1.2):
            for dialect in ("auto", "plain"):
                with self.subTest(stagger=stagger, dialect=dialect):
                    self.assert_pair_talks(lab, "a", "b", "--dialect", dialect, stagger=stagger)

    def test_connect_in_every_dialect_both_sides_understand(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for first, second in (("native", "native"), ("native", "auto"), ("auto", "plain"), ("plain", "plain")):
            with self.subTest(first=first, second=second):
                session = fresh_id()
                chats = self.assert_connect_and_talk(lab, [
                    self.chat_plan(lab, host, host, session, 1, "--dialect", dialect)
                    for host, dialect in (("a", first), ("b", second))])
                for chat in chats:
                    [peer] = chat.peers
                    # Only the native dialect can measure the round-trip time.
                    self.assertEqual(peer.rtt_ms is None, "plain" in (first, second))

    def test_two_pairs_with_different_ids_do_not_meet(self) -> None:
        lab = self.build({"a": Site(hosts=2), "b": Site(hosts=2)})
        self.hp_server(lab)
        sessions = fresh_id(), fresh_id()
        chats = self.start_together(lab, [self.chat_plan(lab, f"{site}{index}", lab.host(site, index), sessions[index])
                                     for site in "ab" for index in (0, 1)])
        for chat in chats:
            chat.wait_connected()
            self.assertEqual(len(chat.peers), 1)
        by_name = {chat.name: chat for chat in chats}
        for index, other in ((0, 1), (1, 0)):
            converse([by_name[f"a{index}"], by_name[f"b{index}"]])
            self.assertFalse(by_name[f"a{index}"].has_heard(f"I am b{other}."))
        dismiss(chats)

    def test_the_headers_example_says_hello(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        argv = [program("connect"), f"{lab.server.address}:{PORT}", fresh_id()]
        examples = [self.run_program(lab, host, host, argv) for host in "ab"]
        for example in examples:
            self.assertEqual(example.wait(), 0, example.transcript)
            self.assertEqual(example.output, ["hello"])


class OneHome(LabCase):
    """Two hosts behind the same router, which does not hairpin."""

    def test_connect_inside_over_host_addresses(self) -> None:
        lab = self.build({"a": Site("home", hosts=2, hairpin=False)})
        self.hp_server(lab)
        for run in range(5):
            with self.subTest(run=run):
                chats = self.assert_pair_talks(lab, lab.host("a", 0), lab.host("a", 1))
                for chat, other in zip(chats, (1, 0)):
                    [peer] = chat.peers
                    # A probe may come before the server has told whose address that is; it is the inside one either way.
                    self.assertIn(peer.path, ("host", "peer-reflexive"))
                    self.assertEqual(peer.address, lab.host("a", other).address)

    def test_the_plain_dialect_needs_a_router_that_hairpins(self) -> None:
        lab = self.build({"a": Site("home", hosts=2, hairpin=True)})
        self.hp_server(lab)
        chats = self.assert_pair_talks(lab, lab.host("a", 0), lab.host("a", 1), "--dialect", "plain")
        for chat in chats:
            [peer] = chat.peers
            self.assertEqual(peer.address, lab.host("a").outside)


class OtherKinds(LabCase):
    """Pairs of kinds that plain probing opens, RFC 4787's words in the natlab's README."""

    def assert_kinds_connect(self, first: Site, second: Site, runs: int = 2) -> None:
        lab = self.build({"a": first, "b": second})
        self.hp_server(lab)
        for run in range(runs):
            # Whoever starts first sends its probe to a filter that is still shut.
            for hosts in (("a", "b"), ("b", "a")):
                with self.subTest(run=run, first=hosts[0]):
                    self.assert_pair_talks(lab, *hosts, stagger=0.02 * run)

    def test_open_with_home(self) -> None:
        self.assert_kinds_connect(Site("open"), Site("home"))

    def test_full_cone_with_symmetric_random(self) -> None:
        self.assert_kinds_connect(Site("full-cone"), Site("symmetric-random"))

    def test_address_restricted_with_home(self) -> None:
        self.assert_kinds_connect(Site("address-restricted"), Site("home"))

    def test_address_restricted_with_symmetric_random(self) -> None:
        self.assert_kinds_connect(Site("address-restricted"), Site("symmetric-random"))

    def test_home_remap_with_home(self) -> None:
        self.assert_kinds_connect(Site("home-remap"), Site("home"))

    def test_home_with_home_behind_a_carriers_nat(self) -> None:
        self.assert_kinds_connect(Site("home"), Site("home", carrier="home"))

    def test_the_peer_behind_a_symmetric_nat_is_learned_from_its_probe(self) -> None:
        lab = self.build({"a": Site("open"), "b": Site("symmetric-random")})
        self.hp_server(lab)
        first, second = self.assert_pair_talks(lab)
        [seen_by_open], [seen_by_symmetric] = first.peers, second.peers
        self.assertEqual(seen_by_open.path, "peer-reflexive")
        self.assertEqual(seen_by_open.address, lab.host("b").outside)
        self.assertEqual(seen_by_symmetric.address, lab.host("a").address)


class Failure(LabCase):
    """What cannot work says so, soon enough and in words."""

    def impossible_pair(self) -> list[Participant]:
        """Two that find but cannot reach each other; the first gives up first."""
        lab = self.build({"a": Site("symmetric-random"), "b": Site("symmetric-random")})
        self.hp_server(lab)
        session = fresh_id()
        chats = self.start_together(lab, [self.chat_plan(lab, host, host, session, 1, "--timeout", timeout)
                                          for host, timeout in (("a", "1500"), ("b", "2500"))])
        for chat in chats:
            self.assertEqual(chat.wait(), 1, chat.transcript)
        return chats

    def assert_timed_out_while_punching(self, chat: Participant) -> None:
        self.assertRegex(chat.errors, r"timed out while punching: 0 of 1 peers connected, 1 found; \S+: .*"
                                      r"\(HP_STATUS_TIMED_OUT_PUNCHING\)")

    def test_two_symmetric_nats_time_out_while_punching_and_say_why(self) -> None:
        first, second = self.impossible_pair()
        self.assert_timed_out_while_punching(first)
        self.assertIn("both NATs give each peer another port", first.errors)
        self.assertIn("timed out", second.errors)

    def test_a_peer_that_gave_up_first_still_counts_as_found_but_not_reached(self) -> None:
        _, second = self.impossible_pair()
        self.assert_timed_out_while_punching(second)

    def test_nobody_else_there_times_out_while_waiting(self) -> None:
        lab = self.homes(1)
        self.hp_server(lab)
        chat = self.chat(lab, "a", "a", fresh_id(), 1, "--timeout", "700")
        self.assertEqual(chat.wait(), 1, chat.transcript)
        self.assertIn("HP_STATUS_TIMED_OUT_WAITING", chat.errors)

    def test_a_silent_server_and_a_closed_port_are_told_apart(self) -> None:
        lab = self.build({"a": Site("home"), "blocked": Site("udp-blocked")})
        for host, timeout, status in (("blocked", "700", "HP_STATUS_SERVER_SILENT"),
                                      ("blocked", "60000", "HP_STATUS_UDP_BLOCKED"),
                                      ("a", "700", "HP_STATUS_SERVER_PORT_CLOSED")):
            with self.subTest(host, timeout=timeout):
                chat = self.chat(lab, host, host, fresh_id(), 1, "--timeout", timeout)
                self.assertEqual(chat.wait(), 1, chat.transcript)
                self.assertIn(status, chat.errors)
