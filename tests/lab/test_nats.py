"""The harder pairs of NATs, what each NAT is diagnosed as, and forwarding where there is no way."""

from __future__ import annotations

import json
import time

from fixture import PORT, LabCase, fresh_id, program
from natlab import Lab, Site
from programs import Participant, converse, dismiss

#: Which path each side may report; `predicted` is the side that found the other one's port.
DIRECT = {"host", "reflexive", "peer-reflexive", "predicted"}


class Diagnosed(LabCase):
    """A server with everything that it takes to tell NATs apart."""

    def full_server(self, lab: Lab, *options: str) -> None:
        """With a second address, as it needs to tell what depends on the address only."""
        self.hp_server(lab, "--other-address", lab.server.addresses[1], *options)


class Pairs(Diagnosed):
    """Pairs that plain probing cannot open. Each is tried where routers drop and where they accept input."""

    def connected(self, kinds: tuple[str, str], policy: str, *options: str) -> list[Participant]:
        lab = self.build({name: Site(kind, input_policy=policy) for name, kind in zip("ab", kinds)})
        self.full_server(lab, *options)
        return self.assert_pair_talks(lab)

    def assert_direct(self, *kinds: str) -> None:
        for policy in ("drop", "accept"):
            with self.subTest(kinds=kinds, policy=policy):
                paths = {peer.path for chat in self.connected((kinds[0], kinds[1]), policy) for peer in chat.peers}
                self.assertLessEqual(paths, DIRECT)

    def test_home_with_symmetric_sequential(self) -> None:
        self.assert_direct("home", "symmetric-sequential")
        self.assert_direct("symmetric-sequential", "home")

    def test_two_symmetric_sequential(self) -> None:
        self.assert_direct("symmetric-sequential", "symmetric-sequential")

    def test_home_with_symmetric_random(self) -> None:
        self.assert_direct("home", "symmetric-random")

    def test_home_with_address_dependent(self) -> None:
        self.assert_direct("adm", "home")

    def test_symmetric_random_with_those_that_let_others_in(self) -> None:
        for easy in ("open", "full-cone", "address-restricted"):
            self.assert_direct("symmetric-random", easy)

    def test_homes_whose_routers_accept_input(self) -> None:
        for policies in (("accept", "accept"), ("accept", "drop"), ("drop", "accept")):
            lab = self.build({name: Site("home", input_policy=policy) for name, policy in zip("ab", policies)})
            self.full_server(lab)
            for _ in range(5):
                with self.subTest(policies):
                    self.assert_pair_talks(lab)

    def test_a_spoiled_mapping_is_got_around(self) -> None:
        """Something from a's port has reached b's router too early: from there b's packets to a take another port."""
        # Everything but looking for the other port, and what is to be shown.
        port, techniques_without, fresh_socket = 7000, 1 | 2 | 16, 32
        for policy in ("drop", "accept"):
            for techniques, wanted in ((techniques_without | fresh_socket, "HP_STATUS_OK"),
                                       (techniques_without, "HP_STATUS_TIMED_OUT_PUNCHING")):
                with self.subTest(policy, techniques=techniques):
                    lab = self.build({"a": Site("home", input_policy=policy), "b": Site("home", input_policy="accept")})
                    self.full_server(lab)
                    with lab.open_socket("a") as early:
                        early.bind(("0.0.0.0", port))
                        early.sendto(b"too early", (lab.host("b").outside, port))
                    session = fresh_id()
                    options = ["--local", f"0.0.0.0:{port}", "--techniques", str(techniques), "--timeout", "4000"]
                    argv = [program("timed_connect"), *options, f"{lab.server.address}:{PORT}", session, "1"]
                    both = [self.run_program(lab, host, host, argv) for host in "ab"]
                    for connecting in both:
                        connecting.wait_for("ready")
                        connecting.say("")
                    for connecting in both:
                        connecting.wait_for(rf"return \d+ {wanted}$")
                    if wanted == "HP_STATUS_OK":
                        # Only the socket that is used is left.
                        self.assertEqual(1, len(lab.run("a", ["ss", "-Hanu"]).stdout.strip().splitlines()))
                        dismiss(both)
                    else:
                        self.assertEqual([1, 1], [connecting.wait() for connecting in both])

    def test_a_second_network_that_both_are_in_is_used(self) -> None:
        lab = self.build({name: Site("symmetric-random") for name in "ab"})
        self.full_server(lab)
        first, second = lab.host("a"), lab.host("b")
        lab.run(first, ["ip", "link", "add", "second", "type", "veth", "peer", "second", "netns", second.netns])
        for host, address in ((first, "10.77.0.1/24"), (second, "10.77.0.2/24")):
            lab.run(host, ["ip", "address", "add", address, "dev", "second"])
            lab.run(host, ["ip", "link", "set", "second", "up"])
        paths = [(peer.path, peer.address) for chat in self.assert_pair_talks(lab) for peer in chat.peers]
        self.assertEqual([("host", "10.77.0.2"), ("host", "10.77.0.1")], paths)

    def test_hard_pairs_are_relayed_where_the_server_forwards(self) -> None:
        for kinds in (("symmetric-random", "symmetric-random"), ("adm", "symmetric-sequential")):
            with self.subTest(kinds):
                first, second = self.connected(kinds, "drop", "--relay")
                self.assertEqual({"relayed"}, {peer.path for chat in (first, second) for peer in chat.peers})
                self.assertLess(first.connect_ms, 3000)

    def test_no_socket_but_the_winning_one_is_left(self) -> None:
        lab = self.build({"a": Site("home"), "b": Site("symmetric-random")})
        self.full_server(lab)
        session = fresh_id()
        chats = self.start_together(lab, [self.chat_plan(lab, host, host, session) for host in "ab"])
        for chat in chats:
            chat.wait_connected()
        converse(chats)
        for host in "ab":
            sockets = lab.run(host, ["ss", "-Hanu"]).stdout.strip().splitlines()
            self.assertEqual(1, len(sockets), sockets)
        dismiss(chats)


class Check(Diagnosed):
    """`hp check` names every NAT kind by what it does."""

    def check(self, site: Site, *options: str) -> dict[str, object]:
        lab = self.build({"a": site})
        self.full_server(lab)
        done = lab.run("a", [program("hp"), "check", "--json", *options, f"{lab.server.address}:{PORT}"], timeout=60)
        self.assertEqual(0, done.returncode, done.stderr)
        report: dict[str, object] = json.loads(done.stdout)
        return report

    def test_every_kind_is_named(self) -> None:
        apdf = "address- and port-dependent"
        for kind, mapping, filtering, allocation in (
                ("open", "none", "endpoint-independent", None),
                ("full-cone", "endpoint-independent", "endpoint-independent", None),
                ("address-restricted", "endpoint-independent", "address-dependent", None),
                ("home", "endpoint-independent", apdf, None),
                ("adm", "address-dependent", apdf, None),
                ("symmetric-sequential", apdf, apdf, "sequential"),
                ("symmetric-random", apdf, apdf, "random")):
            with self.subTest(kind):
                report = self.check(Site(kind))
                self.assertEqual((mapping, filtering), (report["mapping"], report["filtering"]))
                found = report["allocation"]
                self.assertEqual(allocation, found["kind"] if isinstance(found, dict) else None)
                self.assertEqual(0 if kind == "open" else 1, report["inner_routers"])

    def test_hairpin_and_carriers_are_seen(self) -> None:
        self.assertIs(True, self.check(Site("home", hairpin=True))["hairpin"])
        self.assertIs(False, self.check(Site("home"))["hairpin"])
        self.assertEqual(2, self.check(Site("home", carrier="home"))["inner_routers"])

    def test_a_short_lifetime_is_seen(self) -> None:
        report = self.check(Site("home", mapping_timeout=15), "--lifetime", "30")
        self.assertEqual({"at_least_s": 10, "at_most_s": 20}, report["lifetime"])

    def test_it_is_readable_and_says_what_is_wrong(self) -> None:
        lab = self.build({"a": Site("home"), "b": Site("udp-blocked")})
        self.full_server(lab)
        server = f"{lab.server.address}:{PORT}"
        done = lab.run("a", [program("hp"), "check", server], timeout=30)
        for words in ("An ordinary home router.", "mapping ", "What to expect", "direct, by predicting ports"):
            self.assertIn(words, done.stdout)
        began = time.monotonic()
        done = lab.run("b", [program("hp"), "check", "--timeout", "20000", server], timeout=30)
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertIn("UDP seems to be blocked", done.stderr)
        self.assertLess(time.monotonic() - began, 5)
