"""The part of the self-test about TCP: mappings, filtering (RFC 5382), holes, and sites that have nothing else."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time

from natlab import NAT_KINDS, Lab, Router, Site
from probes import IP_RECVERR, PATIENCE, SETTLED, LabTestCase, bound, received, server_sockets, site_name
from tcp_probes import RETRY_INTERVAL, End, Meeting, listening, meet, server_listeners, stream_socket

#: Fixed where the outside port is a hash of it, which so cannot coincide by chance.
_INSIDE_PORT = 20000
_ENDPOINT_INDEPENDENT = ("open", "full-cone", "address-restricted", "home", "home-remap", "udp-blocked")
#: The kinds whose mapping towards a peer nobody can tell from the one towards a server.
_UNPREDICTABLE = ("adm", "symmetric-sequential", "symmetric-random")
#: Where there is no way through at all, time changes nothing.
_NO_WAY = 0.5
#: Seconds apart, so that no attempts of two ends can meet on the way.
_ALTERNATELY = RETRY_INTERVAL / 2
#: Linux's number for an error that came by ICMP.
_ORIGIN_ICMP = 2
#: Where struct tcp_info counts the segments that were sent again.
_TOTAL_RETRANS = 100


class TcpCase(LabTestCase):
    """A test case with ends that are closed when it is over."""

    def end(self, lab: Lab, host: str, port: int = 0) -> End:
        end = End(lab, host, port)
        self.addCleanup(end.close)
        return end

    def meeting(self, lab: Lab, first: str = "a", second: str = "b", *, skew: float = 0,
                patience: float = PATIENCE) -> Meeting:
        """Let two hosts dial each other's outside endpoint, once a server has told them, from the same ports."""
        ends = self.end(lab, first), self.end(lab, second)
        with listening(lab, lab.server, 0, lab.server.address) as server:
            [first_outside], [second_outside] = (end.mappings([server]) for end in ends)
        return meet(ends, (second_outside, first_outside), skew=skew, patience=patience)

    def assert_opens(self, meeting: Meeting) -> None:
        """A simultaneous open: one connection that both ends have dialled."""
        self.assertEqual(meeting.heard_on, ("dialled", "dialled"), meeting)


class TcpMappingAndFiltering(TcpCase):
    """RFC 5382 sections 4 and 5, with every kind as a site of one laboratory."""

    lab: Lab
    servers: list[socket.socket]

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Lab({site_name(kind): Site(kind) for kind in NAT_KINDS}).__enter__()
        cls.addClassCleanup(cls.lab.close)
        cls.servers = server_listeners(cls.lab)

    def test_mappings_follow_the_kind(self) -> None:
        for kind in NAT_KINDS:
            with self.subTest(kind):
                client = self.end(self.lab, site_name(kind), _INSIDE_PORT)
                seen = client.mappings(self.servers)
                self.assertEqual({address for address, _ in seen}, {self.lab.host(site_name(kind)).outside})
                ports = [port for _, port in seen]
                steps = [later - earlier for earlier, later in zip(ports, ports[1:])]
                if kind in _ENDPOINT_INDEPENDENT:
                    self.assertEqual(steps, [0, 0, 0])
                    self.assertEqual(ports[0] == client.port, kind != "home-remap")
                elif kind == "adm":
                    self.assertEqual([step == 0 for step in steps], [True, False, True])
                elif kind == "symmetric-sequential":
                    self.assertEqual(steps, [1, 1, 1])
                else:
                    # Of 4 ports out of 64,512 two may coincide, in one run of 10,000; more hardly ever.
                    self.assertGreaterEqual(len(set(ports)), 3)

    def test_filtering_lets_in_exactly_what_the_kind_says(self) -> None:
        contacted = self.servers[0]
        strangers: list[tuple[str, str, End, socket.socket]] = []
        for kind in NAT_KINDS:
            client = self.end(self.lab, site_name(kind))
            [outside] = client.mappings([contacted])
            for address in self.lab.server.addresses:
                stranger = stream_socket(self.lab, "server", 0, address)
                self.addCleanup(stranger.close)
                stranger.setblocking(False)
                self.assertEqual(stranger.connect_ex(outside), errno.EINPROGRESS)
                strangers.append((kind, address, client, stranger))
        time.sleep(SETTLED)
        for kind, address, client, stranger in strangers:
            lets_in = kind in ("open", "full-cone") or (
                kind == "address-restricted" and address == self.lab.server.addresses[0])
            with self.subTest(kind, stranger=address):
                self.assertEqual(bool(select.select([], [stranger], [], PATIENCE if lets_in else 0)[1]), lets_in)
                if lets_in:
                    self.assertEqual(client.accept()[1], stranger.getsockname())

    def test_a_stranger_is_left_waiting_refused_or_reset_by_the_input_policy(self) -> None:
        # An ICMP message that came back while the socket is still busy with connecting would not count.
        lab = self.build({policy: Site(input_policy=policy) for policy in ("drop", "reject", "accept")}, delay=5)
        [server, *_] = server_listeners(lab)
        for policy in ("accept", "reject", "drop"):
            with self.subTest(policy):
                [outside] = self.end(lab, policy).mappings([server])
                stranger = stream_socket(lab, "server")
                stranger.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
                stranger.settimeout(SETTLED if policy == "drop" else PATIENCE)
                with self.assertRaises(socket.timeout if policy == "drop" else ConnectionRefusedError):
                    stranger.connect(outside)
                self.assertEqual(_origins_of_errors(stranger), [_ORIGIN_ICMP] if policy == "reject" else [])


def _origins_of_errors(stream: socket.socket) -> list[int]:
    """Where the errors in the socket's queue come from; a reset is not among them."""
    origins = []
    stream.setblocking(False)
    while True:
        try:
            _, ancillary, _, _ = stream.recvmsg(1, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return origins
        [(_, _, error)] = ancillary
        origins.append(error[4])


class TcpHoles(TcpCase):
    """Which pairs open a hole from the port that a server has seen, with a listener on that port all the while."""

    def test_simultaneous_open_where_input_drops(self) -> None:
        sites = {site_name(kind): Site(kind) for kind in _ENDPOINT_INDEPENDENT if kind != "open"}
        lab = self.build({**sites, "peer": Site()})
        for site in sites:
            for skew in (0, 0.05):
                with self.subTest(site, skew=skew):
                    meeting = self.meeting(lab, site, "peer", skew=skew)
                    self.assert_opens(meeting)
                    self.assertEqual(meeting.refused, (0, 0))

    def test_no_hole_where_the_mapping_cannot_be_told(self) -> None:
        lab = self.build({**{site_name(kind): Site(kind) for kind in _UNPREDICTABLE}, "peer": Site()})
        for kind in _UNPREDICTABLE:
            with self.subTest(kind):
                self.assertEqual(self.meeting(lab, site_name(kind), "peer", patience=_NO_WAY).heard_on, ("", ""))

    def test_whoever_lets_everybody_in_is_reached_from_any_mapping(self) -> None:
        lab = self.build({"full_cone": Site("full-cone"), "public": Site("open"), "peer": Site("symmetric-random")})
        for site in ("full_cone", "public"):
            with self.subTest(site):
                self.assertEqual(self.meeting(lab, site, "peer").heard_on, ("accepted", "dialled"))

    def test_no_hole_unless_both_dial(self) -> None:
        lab = self.build({"a": Site(), "b": Site()})
        ends = self.end(lab, "a"), self.end(lab, "b")
        [listening_outside] = ends[1].mappings(server_listeners(lab)[:1])
        meeting = meet(ends, (listening_outside, None), patience=_NO_WAY)
        self.assertEqual((meeting.heard_on, meeting.refused), (("", ""), (0, 0)))

    def test_simultaneous_open_through_carrier_nats(self) -> None:
        lab = self.build({"a": Site(), "b": Site(carrier="home"), "c": Site("home-remap", carrier="home"),
                          "phone": Site("open", carrier=Router("home"))})
        for first, second in (("a", "b"), ("b", "c"), ("phone", "b")):
            with self.subTest(f"{first} with {second}"):
                self.assert_opens(self.meeting(lab, first, second))

    def test_hosts_of_one_site_need_no_hole(self) -> None:
        lab = self.build({"a": Site(hosts=2)})
        ends = self.end(lab, "a.1"), self.end(lab, "a.2")
        meeting = meet(ends, (None, (lab.host("a", 0).address, ends[0].port)))
        self.assertEqual((meeting.heard_on, meeting.refused), (("accepted", "dialled"), (0, 0)))

    def test_hairpin_connects_hosts_of_one_site_by_their_outside_endpoints(self) -> None:
        sites = {"home": Site("home", hosts=2, hairpin=True), "cone": Site("full-cone", hosts=2, hairpin=True),
                 "none": Site("home", hosts=2)}
        lab = self.build(sites)
        for site in sites:
            with self.subTest(site):
                meeting = self.meeting(lab, f"{site}.1", f"{site}.2",
                                       patience=_NO_WAY if site == "none" else PATIENCE)
                self.assertEqual(meeting.opened, site != "none", meeting)

    def test_where_input_accepts_the_router_refuses_the_first_and_the_next_attempt_opens(self) -> None:
        lab = self.build({"a": Site(), "b": Site(input_policy="accept")})
        meeting = self.meeting(lab, skew=_ALTERNATELY)
        self.assert_opens(meeting)
        self.assertGreater(meeting.refused[0], 0)

    def test_no_hole_where_input_accepts_on_both_sides_and_attempts_do_not_cross(self) -> None:
        lab = self.build({name: Site(input_policy="accept") for name in "ab"})
        meeting = self.meeting(lab, skew=_ALTERNATELY, patience=_NO_WAY)
        self.assertFalse(meeting.opened, meeting)
        self.assertGreater(min(meeting.refused), 1)

    def test_attempts_that_cross_behind_the_routers_open_where_input_accepts(self) -> None:
        lab = self.build({name: Site(input_policy="accept") for name in "ab"}, delay=25)
        # Started together, within a one-way delay, and so late that the first attempts are refused.
        for skew in (0, 0.01, 3 * RETRY_INTERVAL):
            with self.subTest(skew=skew):
                meeting = self.meeting(lab, skew=skew)
                self.assert_opens(meeting)
                if skew > RETRY_INTERVAL:
                    self.assertGreater(meeting.refused[0], 0)


class TcpOnly(TcpCase):
    """Sites that let nothing out but TCP, or TCP to one port."""

    def test_udp_blocked_leaves_tcp_as_the_kind_has_it(self) -> None:
        sites = {"kind": Site("udp-blocked"), "random": Site("symmetric-random", blocks_udp=True),
                 "carried": Site(carrier=Router("home", blocks_udp=True)), "peer": Site()}
        lab = self.build(sites)
        listeners, udp_servers = server_listeners(lab), server_sockets(lab, 1)
        for site, kept in (("kind", True), ("random", False), ("carried", True)):
            with self.subTest(site):
                bound(lab, site).sendto(b"who am I", udp_servers[0].getsockname())
                self.assert_received(udp_servers[0], [])
                self.assertEqual(len(set(self.end(lab, site).mappings(listeners))) == 1, kept)
        self.assert_opens(self.meeting(lab, "carried", "peer"))

    def test_only_tcp_to_one_port_gets_out_and_nothing_gets_in(self) -> None:
        lab = self.build({"walled": Site("full-cone", only_tcp_to=4000), "peer": Site("full-cone")}, ipv6=True)
        [allowed, forbidden, *_], [udp_server, *_] = server_listeners(lab), server_sockets(lab, 1)
        walled, peer = self.end(lab, "walled"), self.end(lab, "peer")
        [outside], [peer_outside] = walled.mappings([allowed]), peer.mappings([allowed])
        bound(lab, "walled").sendto(b"who am I", udp_server.getsockname())
        attempts = [walled.dial(forbidden.getsockname()), walled.dial(peer_outside), peer.dial(outside)]
        over_ipv6 = lab.open_socket("walled", socket.SOCK_STREAM, socket.AF_INET6)
        over_ipv6.setblocking(False)
        over_ipv6.connect_ex((lab.server.address6, 4001))
        self.assertEqual(select.select([], [*attempts, over_ipv6], [], SETTLED)[1], [])
        self.assert_received(udp_server, [])


class TcpLoss(TcpCase):
    """The loss of TCP packets, which is not that of UDP packets."""

    def test_each_protocol_has_its_own_loss_and_it_can_be_changed(self) -> None:
        lab = self.build({"a": Site()}, tcp_loss=100)
        [listener, *_], [udp_server, *_] = server_listeners(lab), server_sockets(lab, 1)
        client, end = bound(lab, "a"), self.end(lab, "a")
        for udp, tcp in ((0, 100), (100, 0), (0, 0)):
            lab.set_loss(udp, tcp=tcp)
            lab.set_loss(udp)
            with self.subTest(udp=udp, tcp=tcp):
                client.sendto(b"x", udp_server.getsockname())
                self.assertEqual(len(received(udp_server, 0)), int(not udp))
                attempt = end.dial(listener.getsockname())
                assert attempt
                self.assertEqual(bool(select.select([], [attempt], [], SETTLED if tcp else PATIENCE)[1]), not tcp)
                attempt.close()

    def test_tcp_gets_over_it(self) -> None:
        lab = self.build({"a": Site()})
        [listener, *_] = server_listeners(lab)
        stream = self.end(lab, "a").dial(listener.getsockname())
        assert stream
        accepted, _ = listener.accept()
        self.addCleanup(accepted.close)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lab.set_loss(tcp=20)
        # The chance that none of 100 segments is lost is one in five thousand million.
        for number in range(100):
            stream.send(bytes([number]))
        deadline = time.monotonic() + PATIENCE
        while not retransmitted(stream) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertGreater(retransmitted(stream), 0)
        # With each further loss the pauses double: how long all would take is anybody's guess.
        lab.set_loss(tcp=0)
        accepted.settimeout(2 * PATIENCE)
        got = b""
        while len(got) < 100:
            got += accepted.recv(100)
        self.assertEqual(got, bytes(range(100)))


def retransmitted(stream: socket.socket) -> int:
    """How many segments were sent again."""
    info = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS + 4)
    count: int = struct.unpack_from("=L", info, _TOTAL_RETRANS)[0]
    return count
