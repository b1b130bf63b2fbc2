"""Proof that the laboratory's routers do what their names say, and that nothing of it stays behind.

    python3 tests/natlab/selftest.py [-v] [TestClass[.test_name]]
"""

from __future__ import annotations

import socket
import time
import unittest
from typing import Callable

from nat_rules import PORT_KEEPING_KINDS
from natlab import NAT_KINDS, Lab, Router, Site
from probes import PATIENCE, SETTLED, LabTestCase, bound, mappings, received, server_sockets, site_name

# unittest finds test classes, and the check whether anything can run at all, by their names in this module.
from selftest_conditions import Delay, DelayQueue, Ipv4Conditions  # noqa: F401
from selftest_matrix import (MatrixNumbers, MatrixPicture, MatrixReading, MatrixRun, MatrixSelection)  # noqa: F401
from selftest_programs import CommandLine, Programs, setUpModule  # noqa: F401
from selftest_tcp import TcpHoles, TcpLoss, TcpMappingAndFiltering, TcpOnly  # noqa: F401

_INSIDE_PORT = 20000
_ENDPOINT_INDEPENDENT = ("open", "full-cone", "address-restricted", "home", "home-remap")
_KINDS_WITH_UDP = [kind for kind in NAT_KINDS if kind != "udp-blocked"]


class MappingAndFiltering(LabTestCase):
    """RFC 4787 sections 4 and 5, with every kind as a site of one laboratory."""

    lab: Lab
    servers: list[socket.socket]

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Lab({site_name(kind): Site(kind) for kind in NAT_KINDS}).__enter__()
        cls.addClassCleanup(cls.lab.close)
        cls.servers = server_sockets(cls.lab)

    def client(self, kind: str, port: int = 0) -> socket.socket:
        client = bound(self.lab, site_name(kind), port)
        self.addCleanup(client.close)
        return client

    def test_outside_address_is_the_routers(self) -> None:
        for kind in _KINDS_WITH_UDP:
            with self.subTest(kind):
                [(address, _)] = mappings(self.client(kind), self.servers[:1])
                self.assertEqual(address, self.lab.host(site_name(kind)).outside)
                self.assertTrue(address.startswith("198.51.100."))

    def test_endpoint_independent_mapping_is_the_same_for_every_destination(self) -> None:
        for kind in _ENDPOINT_INDEPENDENT:
            with self.subTest(kind):
                self.assertEqual(len(set(mappings(self.client(kind), self.servers))), 1)

    def test_port_is_kept_by_all_endpoint_independent_kinds_but_home_remap(self) -> None:
        for kind in _ENDPOINT_INDEPENDENT:
            with self.subTest(kind):
                [(_, port)] = mappings(self.client(kind, _INSIDE_PORT), self.servers[:1])
                self.assertEqual(port == _INSIDE_PORT, kind != "home-remap")

    def test_home_remap_gives_every_inside_port_its_own_outside_port(self) -> None:
        # The hash is a fixed function of address and port, so this cannot fail by chance.
        ports = [mappings(self.client("home-remap", _INSIDE_PORT + i), self.servers[:1])[0][1] for i in range(8)]
        self.assertEqual(len(set(ports)), len(ports))

    def test_address_dependent_mapping_depends_on_the_address_alone(self) -> None:
        seen = mappings(self.client("adm", _INSIDE_PORT), self.servers)
        first, second = set(seen[:4]), set(seen[4:])
        self.assertEqual((len(first), len(second)), (1, 1))
        self.assertNotEqual(first, second)

    def test_symmetric_sequential_takes_the_next_port_for_every_destination(self) -> None:
        ports = [port for _, port in mappings(self.client("symmetric-sequential"), self.servers)]
        self.assertEqual([later - earlier for earlier, later in zip(ports, ports[1:])], [1] * 7)

    def test_symmetric_random_takes_an_unrelated_port_for_every_destination(self) -> None:
        ports = [port for _, port in mappings(self.client("symmetric-random"), self.servers)]
        steps = {later - earlier for earlier, later in zip(ports, ports[1:])}
        # Of 8 ports out of 64,512 two may coincide, in one run of 2,300; more hardly ever.
        self.assertGreaterEqual(len(set(ports)), 7)
        self.assertGreaterEqual(len(steps), 6)
        self.assertGreater(max(ports) - min(ports), 1000)

    def test_mapping_stays_while_it_is_in_use(self) -> None:
        for kind in _KINDS_WITH_UDP:
            with self.subTest(kind):
                self.assertEqual(len(set(mappings(self.client(kind), [self.servers[0]] * 5))), 1)

    def test_filtering_lets_in_exactly_what_the_kind_says(self) -> None:
        contacted, same_address, other_address = self.servers[0], self.servers[1], self.servers[4]
        for kind in _KINDS_WITH_UDP:
            admitted = [contacted.getsockname()]
            if kind in ("open", "full-cone", "address-restricted"):
                admitted.append(same_address.getsockname())
            if kind in ("open", "full-cone"):
                admitted.append(other_address.getsockname())
            with self.subTest(kind):
                client = self.client(kind)
                [outside] = mappings(client, [contacted])
                for server in (other_address, same_address, contacted):
                    server.sendto(b"knock", outside)
                self.assert_received(client, admitted)

    def test_address_dependent_filtering_admits_an_address_once_it_was_sent_to(self) -> None:
        client = self.client("address-restricted")
        [outside] = mappings(client, self.servers[:1])
        mappings(client, self.servers[4:5])
        self.servers[5].sendto(b"knock", outside)
        self.assert_received(client, [self.servers[5].getsockname()])

    def test_nothing_gets_in_before_something_went_out(self) -> None:
        for kind in _KINDS_WITH_UDP:
            with self.subTest(kind):
                client = self.client(kind, _INSIDE_PORT + 99)
                self.servers[0].sendto(b"knock", (self.lab.host(site_name(kind)).outside, _INSIDE_PORT + 99))
                self.assert_received(client, [self.servers[0].getsockname()] if kind == "open" else [])

    def test_a_flow_that_came_in_can_be_answered(self) -> None:
        for kind in ("full-cone", "address-restricted"):
            with self.subTest(kind):
                client = self.client(kind)
                [outside] = mappings(client, self.servers[:1])
                self.servers[1].sendto(b"knock", outside)
                client.sendto(b"yes", client.recvfrom(64)[1])
                self.assertEqual(self.servers[1].recvfrom(64), (b"yes", outside))


class RouterOptions(LabTestCase):
    """What can be chosen per router on top of its kind."""

    def test_an_early_probe_spoils_the_hole_only_where_input_accepts(self) -> None:
        sites = {policy: Site(input_policy=policy) for policy in ("drop", "reject", "accept")}
        for delay in (0, 10):
            lab = self.build({"a": Site(), **sites}, delay=delay)
            [server] = server_sockets(lab)[:1]
            for policy in sites:
                # Time to live 2 takes a packet past the own router and no farther than the core.
                for time_to_live, opens in ((64, policy != "accept"), (2, True)):
                    with self.subTest(policy, time_to_live=time_to_live, delay=delay):
                        self.assert_early_probe(lab, server, policy, time_to_live, opens)

    def assert_early_probe(self, lab: Lab, server: socket.socket, late_site: str, time_to_live: int,
                           opens: bool) -> None:
        """Whether the hole opens after a probe has come towards `late_site` before that has sent one itself."""
        early, late = bound(lab, "a"), bound(lab, late_site)
        [early_outside], [late_outside] = mappings(early, [server]), mappings(late, [server])
        early.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, time_to_live)
        early.sendto(b"early", late_outside)
        self.assert_received(late, [])
        late.sendto(b"late", early_outside)
        self.assert_received(early, [late_outside] if opens else [])

    def test_only_drop_is_silent_towards_strangers(self) -> None:
        policies = ("drop", "reject", "accept")
        lab = self.build({policy: Site(input_policy=policy) for policy in policies})
        for policy in policies:
            with self.subTest(policy):
                stranger = bound(lab, "server")
                stranger.connect((lab.host(policy).outside, 9))
                stranger.settimeout(SETTLED if policy == "drop" else PATIENCE)
                stranger.send(b"knock")
                with self.assertRaises(socket.timeout if policy == "drop" else ConnectionRefusedError):
                    stranger.recv(64)

    def test_hairpin_shows_the_outside_endpoint_and_obeys_the_filtering(self) -> None:
        sites = {f"{site_name(kind)}_{'on' if hairpin else 'off'}": Site(kind, hosts=2, hairpin=hairpin)
                 for kind in PORT_KEEPING_KINDS for hairpin in (True, False)}
        lab = self.build(sites)
        [server] = server_sockets(lab)[:1]
        for name, site in sites.items():
            with self.subTest(name):
                first, second = bound(lab, lab.host(name, 0)), bound(lab, lab.host(name, 1))
                [first_outside], [second_outside] = mappings(first, [server]), mappings(second, [server])
                first.sendto(b"knock", second_outside)
                self.assert_received(second, [first_outside] if name == "full_cone_on" else [])
                second.sendto(b"knock", first_outside)
                self.assert_received(first, [second_outside] if site.hairpin else [])
                first.sendto(b"knock", second_outside)
                self.assert_received(second, [first_outside] if site.hairpin else [])

    def test_carrier_translates_a_second_time_and_costs_a_hop(self) -> None:
        for delay in (0, 10):
            lab = self.build({"plain": Site(), "behind": Site(carrier="symmetric-random"),
                              "phone": Site("open", carrier=Router("home"))}, delay=delay)
            servers = server_sockets(lab)
            for name, hops in (("plain", 3), ("behind", 4), ("phone", 3)):
                with self.subTest(name, delay=delay):
                    self.assert_hops(lab, servers, name, hops)
            self.assertTrue(lab.router("behind").address.startswith("100.64."))
            self.assertEqual(lab.host("behind").outside, lab.carrier("behind").address)

    def assert_hops(self, lab: Lab, servers: list[socket.socket], name: str, hops: int) -> None:
        """The smallest time to live that takes a packet from the site to the server."""
        client = bound(lab, name)
        seen = mappings(client, servers)
        self.assertEqual({address for address, _ in seen}, {lab.host(name).outside})
        self.assertEqual(len(set(seen)) > 1, name == "behind")
        for time_to_live in (hops - 1, hops):
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, time_to_live)
            client.sendto(b"hop", servers[0].getsockname())
            self.assert_received(servers[0], [seen[0]] if time_to_live == hops else [])

    def test_sites_can_share_a_carrier_that_hairpins(self) -> None:
        lab = self.build({"a": Site(carrier="isp"), "b": Site(carrier="isp")},
                       carriers={"isp": Router("full-cone", hairpin=True)})
        [server] = server_sockets(lab)[:1]
        first, second = bound(lab, "a"), bound(lab, "b")
        [first_outside], [second_outside] = mappings(first, [server]), mappings(second, [server])
        self.assertEqual(first_outside[0], second_outside[0])
        first.sendto(b"knock", second_outside)
        second.sendto(b"knock", first_outside)
        self.assert_received(first, [second_outside])

    def test_hosts_of_a_site_reach_each_other_and_sites_may_have_equal_subnets(self) -> None:
        same = "192.168.1.0/24"
        lab = self.build({"a": Site(hosts=3, subnet=same), "b": Site(hosts=2, subnet=same)})
        [server] = server_sockets(lab)[:1]
        for site in ("a", "b"):
            first, second = (bound(lab, lab.host(site, index), _INSIDE_PORT) for index in (0, 1))
            first.sendto(b"neighbour", (lab.host(site, 1).address, _INSIDE_PORT))
            self.assert_received(second, [(lab.host(site, 0).address, _INSIDE_PORT)])
            [(address, _)] = mappings(first, [server])
            self.assertEqual(address, lab.host(site).outside)

    def test_mapping_timeout_ends_idle_mappings_and_their_permissions(self) -> None:
        kinds = ("full-cone", "address-restricted", "home")
        lab = self.build({site_name(kind): Site(kind, mapping_timeout=1) for kind in kinds})
        [server] = server_sockets(lab)[:1]
        clients = [bound(lab, site_name(kind)) for kind in kinds]
        outsides = [mappings(client, [server])[0] for client in clients]
        for wait, alive in ((0.5, True), (2.5, False)):
            time.sleep(wait)
            for outside in outsides:
                server.sendto(b"knock", outside)
            for client in clients:
                self.assert_received(client, [server.getsockname()] if alive else [])

    def test_port_step_sets_distance_and_direction(self) -> None:
        lab = self.build({"up": Site("symmetric-sequential", port_step=4),
                        "down": Site("symmetric-sequential", port_step=-1)})
        servers = server_sockets(lab)
        for name, step in (("up", 4), ("down", -1)):
            client = bound(lab, name)
            mappings(client, servers[:1])  # counting down wraps around after the first port
            ports = [port for _, port in mappings(client, servers[1:])]
            self.assertEqual({later - earlier for earlier, later in zip(ports, ports[1:])}, {step})

    def test_impossible_descriptions_are_refused(self) -> None:
        impossible: list[Callable[[], object]] = [
            lambda: Site("cone"), lambda: Site(input_policy="deny"), lambda: Site("adm", hairpin=True),
            lambda: Site(hosts=0), lambda: Site(subnet="10.0.0.0/8"), lambda: Lab({"server": Site()}),
            lambda: Lab({"a": Site(carrier="open")}), lambda: Lab({"a": Site(carrier="isp")}),
            lambda: Lab({}, loss=101), lambda: Lab({"a": Site()}, carriers={"a": Router()}),
            lambda: Lab({}, delay=-1), lambda: Lab({}, delay=5, jitter=6), lambda: Lab({}, reorder=5),
            lambda: Lab({}, delay=5, reorder=101), lambda: Site(ipv4="maybe"), lambda: Site(ipv4="none", hairpin=True),
            lambda: Lab({"a": Site(ipv4="none")}), lambda: Lab({}, tcp_loss=-1), lambda: Site(only_tcp_to=0),
            lambda: Site("open", blocks_udp=True), lambda: Site("open", only_tcp_to=443)]
        for number, description in enumerate(impossible):
            with self.subTest(number), self.assertRaises(ValueError):
                description()


class Core(LabTestCase):
    """The middle: loss, IPv6, and no delay that nobody asked for."""

    def test_loss_is_about_what_was_asked_for_and_can_be_changed(self) -> None:
        lab = self.build({"a": Site()}, loss=20)
        server, client = server_sockets(lab)[0], bound(lab, "a")
        for percent in (20, 0, 2.5, 100):
            if percent != 20:
                lab.set_loss(percent)
            with self.subTest(percent):
                sent, arrived = 4000, 0
                for _ in range(sent // 50):  # a batch fits into the receive buffer
                    for _ in range(50):
                        client.sendto(b"x", server.getsockname())
                    arrived += len(received(server, 0, settled=0.001))
                arrived += len(received(server, 0))
                # Six standard deviations of 4000 trials at 20 % are 3.8 points.
                self.assertAlmostEqual(100 * (1 - arrived / sent), percent, delta=4 if 0 < percent < 100 else 0)

    def test_ipv6_is_there_without_translation_when_asked_for(self) -> None:
        sites = {"a": Site(hosts=2), "b": Site(carrier="home"), "c": Site("open"), "walled": Site(ipv6_firewall=True)}
        lab = self.build(sites, ipv6=True)
        server = bound(lab, "server", 4000, lab.server.address6)
        for name in sites:
            with self.subTest(name):
                client = bound(lab, name, _INSIDE_PORT, "::")
                own = (lab.host(name).address6, _INSIDE_PORT)
                server.sendto(b"knock", own)
                self.assert_received(client, [server.getsockname()[:2]] if name != "walled" else [])
                client.sendto(b"who am I", server.getsockname())
                self.assert_received(server, [own])
                server.sendto(b"knock", own)
                self.assert_received(client, [server.getsockname()[:2]])

    def test_no_neighbour_has_to_be_resolved(self) -> None:
        lab = self.build({"a": Site(hosts=2), "b": Site(carrier="home")}, ipv6=True)
        [server] = server_sockets(lab)[:1]
        for name in ("a", "b"):
            mappings(bound(lab, name), [server])
        for node in (lab.core, lab.server, lab.router("a"), lab.router("b"), lab.carrier("b"), *lab.hosts.values()):
            known = lab.run(node, ["ip", "-4", "neighbour"]).stdout.splitlines()
            self.assertTrue(known, node.name)
            self.assertEqual([line for line in known if "PERMANENT" not in line], [], node.name)

    def test_two_homes_are_built_well_below_two_seconds(self) -> None:
        begin = time.monotonic()
        self.build({"a": Site(), "b": Site()})
        self.assertLess(time.monotonic() - begin, 1.5)


if __name__ == "__main__":
    unittest.main()
