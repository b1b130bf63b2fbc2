"""The part of the self-test about what the middle does to packets, and about sites without working IPv4."""

from __future__ import annotations

import errno
import random
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
import unittest
from pathlib import Path

import netns
from core_delay import Queue, with_one_hop_more
from natlab import Lab, Site
from probes import IP_RECVERR, PATIENCE, SETTLED, LabTestCase, bound, mappings, received, server_sockets

_HERE = Path(__file__).parent
#: More of Linux's numbers for which the socket module has no names.
_IP_RECVTTL = 12
_SO_RCVBUFFORCE = 33
#: What a busy machine may add to a packet's way.
_SLACK = 0.05


class DelayQueue(unittest.TestCase):
    """The delay's arithmetic, by a clock that the test sets."""

    @staticmethod
    def packet(number: int, sender: int = 1) -> bytes:
        """An IPv4 packet as far as the queue looks at it."""
        return bytes([0x45]) + bytes(11) + struct.pack("!LLL", sender, 2, number)

    def arrivals(self, queue: Queue, count: int, interval: float) -> list[tuple[int, float]]:
        """Number and delay of each of `count` packets in the order in which they leave."""
        left = []
        for step in range(int(count + 2 / interval)):
            now = step * interval
            if step < count:
                queue.put(self.packet(step), now)
            packet = queue.take(now)
            while packet is not None:
                number = int.from_bytes(packet[20:], "big")
                left.append((number, now - number * interval))
                packet = queue.take(now)
        return left

    def test_jitter_spreads_and_keeps_the_order(self) -> None:
        arrivals = self.arrivals(Queue(0.1, 0.05, 0, random.Random(1)), 1000, 0.01)
        self.assertEqual([number for number, _ in arrivals], list(range(1000)))
        delays = [delay for _, delay in arrivals]
        self.assertTrue(0.05 <= min(delays) < 0.08 and 0.13 < max(delays) < 0.161, (min(delays), max(delays)))

    def test_reordered_packets_overtake(self) -> None:
        arrivals = self.arrivals(Queue(0.1, 0, 0.2, random.Random(1)), 1000, 0.01)
        self.assertEqual(sorted(number for number, _ in arrivals), list(range(1000)))
        ahead = sum(delay < 0.05 for _, delay in arrivals)
        self.assertAlmostEqual(ahead, 200, delta=50)

    def test_one_sender_does_not_hold_up_another(self) -> None:
        queue = Queue(0.1, 0.1, 0, random.Random(1))
        for number in range(100):
            queue.put(self.packet(number, sender=number), 0)
        self.assertLess(queue.wait(0) or 1, 0.01)
        self.assertLess(sum(queue.take(0.1) is not None for _ in range(100)), 80)

    def test_the_hop_is_given_back_and_the_checksum_stays_right(self) -> None:
        for identification in range(0, 65536, 7):
            header = bytearray(struct.pack("!BBHHHBBHLL", 0x45, 0, 28, identification, 0, 63, 17, 0, 0xC0A80101, 2560))
            header[10:12] = (0xFFFF ^ _ones_complement_sum(header)).to_bytes(2, "big")
            changed = with_one_hop_more(bytes(header))
            self.assertEqual((changed[8], _ones_complement_sum(changed)), (64, 0xFFFF), identification)
        self.assertEqual(with_one_hop_more(bytes([0x60, 0, 0, 0, 0, 0, 17, 63]) + bytes(32))[7], 64)


def _ones_complement_sum(header: bytes | bytearray) -> int:
    total: int = sum(struct.unpack("!10H", header))
    return (total & 0xFFFF) + (total >> 16)


class Delay(LabTestCase):
    """The delay on real packets."""

    def test_every_way_across_the_core_takes_the_delay(self) -> None:
        lab = self.build({"a": Site(), "b": Site("open")}, delay=30, jitter=10, ipv6=True)
        [server] = server_sockets(lab)[:1]
        server6 = bound(lab, "server", 4000, lab.server.address6)
        clients = (bound(lab, "a"), server), (bound(lab, "b"), server), (bound(lab, "a", 0, "::"), server6)
        for client, there in clients:
            for _ in range(5):
                begin = time.monotonic()
                client.sendto(b"ping", there.getsockname())
                _, outside = there.recvfrom(64)
                middle = time.monotonic()
                there.sendto(b"pong", outside)
                client.recv(64)
                for way in (middle - begin, time.monotonic() - middle):
                    self.assertTrue(0.02 <= way < 0.04 + _SLACK, way)

    def test_each_packet_crosses_once_and_one_hop_poorer(self) -> None:
        for delay in (0, 5):
            with self.subTest(delay=delay):
                lab = self.build({"a": Site("open")}, delay=delay)
                server, client = server_sockets(lab)[0], bound(lab, "a")
                server.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
                client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
                for _ in range(100):
                    client.sendto(b"x", server.getsockname())
                for _ in range(100):
                    _, [(_, _, hops)], _, _ = server.recvmsg(64, 64)
                    self.assertEqual(int.from_bytes(hops, sys.byteorder), 63)
                self.assertEqual(received(server, 0), [])

    def test_loss_strikes_once_and_can_be_changed(self) -> None:
        lab = self.build({"a": Site()}, loss=20, delay=5)
        server, client = server_sockets(lab)[0], bound(lab, "a")
        # On a busy machine the delay may hand over much at once, and nothing may be lost elsewhere.
        server.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
        for percent in (20, 100, 0):
            if percent != 20:
                lab.set_loss(percent)
            with self.subTest(percent):
                arrived = 0
                for _ in range(40):
                    for _ in range(50):
                        client.sendto(b"x", server.getsockname())
                    arrived += len(received(server, 0, settled=0.002))
                arrived += len(received(server, 0, settled=0.3))
                # Six standard deviations of 2000 trials at 20 % are 5.4 points; struck twice it would be 36 %.
                self.assertAlmostEqual(100 * (1 - arrived / 2000), percent, delta=6 if percent == 20 else 0)

    def test_some_packets_overtake_when_asked_for(self) -> None:
        lab = self.build({"a": Site("open")}, delay=100, reorder=20)
        server, client = server_sockets(lab)[0], bound(lab, "a")
        for number in range(100):
            client.sendto(bytes([number]), server.getsockname())
        order = [server.recv(64)[0] for _ in range(100)]
        self.assertEqual(sorted(order), list(range(100)))
        # The chance that of 100 packets fewer than 3 or more than 45 overtake is below one in a million.
        overtaking = sum(later < earlier for earlier, later in zip(order, order[1:]))
        self.assertEqual(overtaking, 1, "those ahead keep their order, and so do those behind")
        self.assertTrue(3 <= next(i for i in range(99) if order[i + 1] < order[i]) + 1 <= 45)

    def test_what_cannot_be_delivered_does_not_circle(self) -> None:
        lab = self.build({"a": Site("open")}, delay=5)
        client = bound(lab, "a")
        client.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        client.connect(("192.0.2.1", 9))
        client.send(b"x")
        with self.assertRaises(OSError) as raised:  # the core says that there is no such network
            client.recv(64)
        self.assertIn(raised.exception.errno, (errno.ENETUNREACH, errno.EHOSTUNREACH))
        devices = lab.run(lab.core, ["cat", "/proc/self/net/dev"]).stdout.splitlines()
        [counters] = [line.split() for line in devices if "delay:" in line]
        self.assertEqual((counters[2], counters[10]), ("1", "1"), "packets in, packets out")

    def test_tcp_crosses_intact(self) -> None:
        lab = self.build({"a": Site()}, delay=3, jitter=1)
        sent = random.Random(1).randbytes(300_000)
        listener = lab.open_socket("server", socket.SOCK_STREAM)
        listener.bind((lab.server.address, 0))
        listener.listen()
        code = f"import socket,sys; s=socket.create_connection({listener.getsockname()!r}); " \
               "s.sendall(sys.stdin.buffer.read())"
        sender = lab.popen("a", [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE)
        assert sender.stdin is not None
        with sender.stdin:
            sender.stdin.write(sent)
        listener.settimeout(PATIENCE)
        accepted, _ = listener.accept()
        with accepted, accepted.makefile("rb") as stream:
            self.assertEqual(stream.read(), sent)
        self.assertEqual(sender.wait(PATIENCE), 0)

    def test_it_ends_with_the_laboratory_and_with_a_killed_test(self) -> None:
        lab = self.build({"a": Site()}, delay=5)
        [program] = lab._programs
        lab.close()
        self.assertIsNotNone(program.poll())
        code = textwrap.dedent("""
            import time
            import natlab
            with natlab.Lab({"a": natlab.Site()}, delay=5) as lab:
                print(lab._programs[0].pid, flush=True)
                time.sleep(60)
        """)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=_HERE)
        self.addCleanup(netns.sweep)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        with process.stdout:
            inner = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + PATIENCE
        while netns._alive(inner) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertFalse(netns._alive(inner))


class Ipv4Conditions(LabTestCase):
    """Sites that have no IPv4, and sites that only seem to have it."""

    def sites(self, ipv4: str) -> dict[str, Site]:
        """One of each shape."""
        return {"home": Site(ipv4=ipv4, hosts=2, ipv6_firewall=True), "phone": Site("open", ipv4=ipv4),
                "nested": Site("adm", ipv4=ipv4, carrier="home")}

    def assert_ipv6_works(self, lab: Lab) -> None:
        """Each site reaches the server over IPv6 and is answered."""
        server = bound(lab, "server", 4000, lab.server.address6)
        for site in self.sites("works"):
            client = bound(lab, site, 0, "::")
            # On a busy machine the first packets may be lost while neighbours look for each other.
            for packet, sender, receiver in ((b"ping", client, server), (b"pong", server, client)):
                to = server.getsockname() if sender is client else source
                for attempt in range(5):
                    sender.sendto(packet, to)
                    receiver.settimeout(1)
                    try:
                        received, source = receiver.recvfrom(64)
                        break
                    except socket.timeout:
                        self.assertLess(attempt, 4, f"{packet!r} of {site} does not arrive")
                self.assertEqual(received, packet)
                if receiver is server:
                    self.assertEqual(source[0], lab.host(site).address6)

    def test_ipv6_only_sites_have_no_ipv4_at_all(self) -> None:
        for delay in (0, 5):
            with self.subTest(delay=delay):
                lab = self.build(self.sites("none"), ipv6=True, delay=delay)
                self.assert_ipv6_works(lab)
        for host in lab.hosts.values():
            with self.subTest(host.name):
                self.assertEqual((host.addresses, host.outside), ((), ""))
                shown = lab.run(host, ["ip", "-4", "-brief", "address", "show", "dev", "wan"]).stdout
                self.assertEqual(shown, "")
                with self.assertRaises(OSError):
                    bound(lab, host).sendto(b"x", (lab.server.address, 4000))
        self.assertEqual(lab.router("home").addresses, ())

    def test_broken_ipv4_looks_whole_and_is_silent(self) -> None:
        lab = self.build({**self.sites("broken"), "other": Site("open")}, ipv6=True)
        self.assert_ipv6_works(lab)
        [server] = server_sockets(lab)[:1]
        for site in self.sites("broken"):
            with self.subTest(site):
                client = bound(lab, site)
                client.connect(server.getsockname())
                client.send(b"x")
                client.settimeout(SETTLED)
                with self.assertRaises(socket.timeout):  # not even an ICMP error
                    client.recv(64)
                self.assert_received(server, [])
                other = bound(lab, "other")
                other.sendto(b"knock", (lab.host(site).outside, client.getsockname()[1]))
                self.assert_received(client, [])
        neighbours = [bound(lab, lab.host("home", index), 20000) for index in (0, 1)]
        neighbours[0].sendto(b"x", (lab.host("home", 1).address, 20000))
        self.assert_received(neighbours[1], [(lab.host("home", 0).address, 20000)])
        self.assertEqual(len(mappings(bound(lab, "other"), [server])), 1)
