"""Calls that meet over TCP, and connections from plain addresses over TCP, through real NATs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fixture import PORT, LabCase, fresh_id, program, tool
from hopconn import Hopconn
from natlab import Lab, Site
from programs import PIPES, Program, dismiss, reported_peers
from test_addresses import Exchanged

#: Milliseconds that a call which cannot succeed is given: enough for many attempts, and for a relay.
IN_VAIN = 4000
#: How often a pair that must connect does.
TIMES = 3


class TcpCalls(LabCase):
    """`hp_connect` with another transport than UDP."""

    def call(self, lab: Lab, transports: Sequence[str], *options: str) -> list[Program]:
        """Two calls at the same time, as far as their own say."""
        session = fresh_id()
        calls = []
        for site, transport in zip("ab", transports):
            argv = [program("timed_connect"), "--transport", transport, *options,
                    f"{lab.server.address}:{PORT}", session, "1"]
            calls.append(self.run_program(lab, site, lab.host(site), argv))
        for calling in calls:
            calling.wait_for("ready")
        for calling in calls:
            calling.say("")
        return calls

    def paths(self, lab: Lab, transports: Sequence[str] = ("tcp", "tcp"), *options: str) -> set[str]:
        """How a pair that must connect does."""
        calls = self.call(lab, transports, *options)
        for calling in calls:
            calling.wait_for(r"return \d+ HP_STATUS_OK$")
        found = {peer.path for calling in calls for peer in reported_peers(calling)}
        dismiss(calls)
        return found

    def assert_direct(self, sites: Mapping[str, Site], **kwargs: float) -> None:
        lab = self.build(sites, **kwargs)
        self.hp_server(lab, "--tcp")
        for _ in range(TIMES):
            self.assertNotIn("relayed", self.paths(lab))

    def assert_in_vain(self, lab: Lab, cause: str) -> None:
        calls = self.call(lab, ("tcp", "tcp"), "--timeout", str(IN_VAIN))
        for calling in calls:
            calling.wait_for(r"return \d+ HP_STATUS_TIMED_OUT_PUNCHING$")
            self.assertEqual(1, calling.wait())
        self.assertTrue(any(cause in calling.errors for calling in calls), [calling.transcript for calling in calls])

    def test_pairs_that_tcp_gets_through(self) -> None:
        for kinds in (("open", "open"), ("open", "home"), ("home", "home"), ("home-remap", "home"),
                      ("full-cone", "home"), ("open", "symmetric-random"), ("adm", "open")):
            with self.subTest(kinds):
                self.assert_direct({name: Site(kind) for name, kind in zip("ab", kinds)})

    def test_carriers_and_delay_and_loss_change_nothing(self) -> None:
        carriers = {name: Site("home", carrier="home") for name in "ab"}
        self.assert_direct(carriers)
        self.assert_direct({name: Site("home") for name in "ab"}, delay=25)
        self.assert_direct({name: Site("home") for name in "ab"}, delay=25, tcp_loss=5)

    def test_two_in_one_network_meet_by_their_own_addresses(self) -> None:
        lab = self.build({"a": Site("home", hosts=2)})
        self.hp_server(lab, "--tcp")
        session = fresh_id()
        argv = [program("timed_connect"), "--transport", "tcp", f"{lab.server.address}:{PORT}", session, "1"]
        calls = [self.run_program(lab, f"a{index}", lab.host("a", index), argv) for index in (0, 1)]
        for calling in calls:
            calling.wait_for("ready")
            calling.say("")
        for calling in calls:
            calling.wait_for(r"return \d+ HP_STATUS_OK$")
        self.assertTrue(all(peer.address.startswith("192.168.") for call in calls for peer in reported_peers(call)))
        dismiss(calls)

    def test_routers_that_accept_input_are_passed_where_attempts_cross_on_the_way(self) -> None:
        for policies in (("accept", "drop"), ("drop", "accept")):
            with self.subTest(policies):
                self.assert_direct({name: Site("home", input_policy=policy) for name, policy in zip("ab", policies)})
        accepting = {name: Site("home", input_policy="accept") for name in "ab"}
        self.assert_direct(accepting, delay=25)

    def test_random_ports_are_explained_and_got_around_by_the_relay(self) -> None:
        lab = self.build({"a": Site("symmetric-random"), "b": Site("home")})
        self.hp_server(lab, "--tcp")
        self.assert_in_vain(lab, "a NAT gives each connection another port")
        lab = self.build({"a": Site("symmetric-random"), "b": Site("home")})
        self.hp_server(lab, "--tcp", "--relay")
        self.assertEqual({"relayed"}, self.paths(lab))

    def test_blocked_udp_is_got_around(self) -> None:
        lab = self.build({"a": Site("home", blocks_udp=True), "b": Site("home")})
        self.hp_server(lab, "--tcp")
        self.assertNotIn("relayed", self.paths(lab, ("either", "either")))
        # And nobody else uses TCP for that.
        lab = self.homes()
        self.hp_server(lab, "--tcp")
        calls = self.call(lab, ("either", "either"))
        for calling in calls:
            calling.wait_for(r"return \d+ HP_STATUS_OK$")
        self.assertEqual("", lab.run("a", ["ss", "-Hant", "state", "established"]).stdout)
        dismiss(calls)

    def test_network_with_one_port_only_is_got_out_of_by_the_relay(self) -> None:
        lab = self.build({"a": Site("home", only_tcp_to=PORT), "b": Site("home")})
        self.hp_server(lab, "--tcp", "--relay")
        self.assertEqual({"relayed"}, self.paths(lab, ("either", "either")))


class TcpAddresses(LabCase):
    """`hp_conn` over TCP."""

    def pair(self, lab: Lab, *options: str) -> list[Exchanged]:
        argv = [program("addresses"), "--tcp", "--server", f"{lab.server.address}:{PORT}", *options]
        pair = self.start_together(lab, [(Exchanged, site, lab.host(site), argv) for site in "ab"])
        return [side for side in pair if isinstance(side, Exchanged)]

    def test_homes_meet_by_exchanged_addresses(self) -> None:
        for options in (["--id", fresh_id()], ["--unauthenticated"]):
            with self.subTest(options):
                lab = self.homes()
                self.hp_server(lab, "--tcp")
                pair = self.pair(lab, *options)
                told = [f"{side.address('local')},{side.address('public')}" for side in pair]
                for side, line in zip(pair, reversed(told)):
                    side.say(line)
                for side in pair:
                    side.wait_connected()
                pair[0].say("over TCP")
                pair[1].wait_for(r".*over TCP.*")
                pair[0].end_input()
                self.assertEqual([0, 0], [side.wait() for side in pair])

    def meet_hopconn(self, lab: Lab, flavour: str, where: Sequence[str], *, told: tuple[str, str]) -> None:
        """A connection between ours and hopconn, which are told these addresses of each other, if any."""
        ours_at, its_at = (lab.host(site, index) for site, index in ((name[0], int(name[1])) for name in where))
        outside = its_at.outside or its_at.address
        argv = Hopconn.command(tool(f"{flavour}-hopconn"), public=outside, local=its_at.address, retries=5)
        other = Hopconn("hopconn", lab.popen(its_at, argv, **PIPES))
        self._programs[lab].append(other)
        ours = self.start_together(lab, [(Exchanged, "ours", ours_at, [
            program("addresses"), "--tcp", "--unauthenticated", "--server", f"{lab.server.address}:{PORT}"])])[0]
        assert isinstance(ours, Exchanged)
        of_hopconn, of_ours = told
        ours.say(getattr(other, of_hopconn) if of_hopconn else "")
        if of_ours:
            other.attempt(ours.address(of_ours))
        ours.wait_connected()
        other.wait_established()
        other.send(b"from hopconn\n")
        ours.wait_for(r".*from hopconn.*")
        ours.say("to hopconn")
        other.wait_for("data " + b"to hopconn".hex() + ".*")
        ours.end_input()
        self.assertEqual(0, ours.wait(), ours.transcript)

    def meet_hopconn_everywhere(self, flavour: str) -> None:
        """Behind NATs by simultaneous open, and in one network either way round."""
        lab = self.homes()
        self.hp_server(lab, "--tcp")
        self.meet_hopconn(lab, flavour, ("a0", "b0"), told=("public", "public"))
        lab = self.build({"a": Site("home", hosts=2)})
        self.hp_server(lab, "--tcp")
        self.meet_hopconn(lab, flavour, ("a0", "a1"), told=("local", ""))
        self.meet_hopconn(lab, flavour, ("a0", "a1"), told=("", "local"))

    def test_hopconns_stand_in_is_met(self) -> None:
        self.meet_hopconn_everywhere("standin")

    def test_hopconn_itself_is_met(self) -> None:
        self.meet_hopconn_everywhere("real")
