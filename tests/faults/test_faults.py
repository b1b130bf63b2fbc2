"""What goes wrong around a server: noise, full buffers, a kernel that sends nothing, no descriptors left, time lost.

    HP_BIN=build/bin python3 -m unittest discover -s tests/faults

Whatever happens, those who do what the protocol asks stay registered, and nothing goes uncounted. HP_FAULTS=long sends ten
times as much noise. What the server says of itself at /metrics is checked where it says it.
"""

from __future__ import annotations

import os
import signal
import socket
import time

from clients import Crowd, NativeClient
from stage import Server, StageCase, is_answered_over_tcp

_NOISE = 10_000_000 if os.environ.get("HP_FAULTS") == "long" else 1_000_000
_NOISE_PER_SECOND = 250_000
#: A server with the default limits, which is full of noise.
_MOST_MIB = 640
#: Longer than a native client may be silent.
_STOPPED_SECONDS = 16.0
_DESCRIPTORS = 48


class FaultCase(StageCase):
    """Well-behaved clients, and what must hold of them."""

    def crowd(self, server: Server, native: int = 26, plain: int = 24) -> Crowd:
        """Clients that are registered; they end with the test."""
        crowd = Crowd(server.port, native, plain)
        crowd.__enter__()
        self.addCleanup(crowd.__exit__, None, None, None)
        crowd.wait_registered()
        return crowd

    def assert_unharmed(self, server: Server, crowd: Crowd) -> None:
        """The server lives and answers, and nobody has anything to complain of."""
        self.assertTrue(server.is_alive(), server.program.transcript)
        crowd.wait_answered()
        self.assertEqual(crowd.complaints, [])

    def assert_all_counted(self, server: Server, sent: int) -> None:
        """Every datagram was received, or dropped by the kernel, which says so. Ends the server."""
        dropped = server.settle()
        # The metrics are as of the last second.
        deadline = time.monotonic() + 3
        while (told := server.counted("kernel", "drop")) != dropped and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(told, dropped, "what the kernel dropped, by the metrics and by /proc")
        totals = server.stop()
        self.assertEqual(totals.received + dropped, sent, f"received and {dropped} dropped by the kernel, of all that was sent")


class Noise(FaultCase):
    """Datagrams that are none of ours."""

    def test_noise_harms_nobody_and_is_counted(self) -> None:
        server = Server(self)
        crowd = self.crowd(server)
        generator = self.generator(server, "native")
        generator.ask("populate 200 2 64")
        generator.ask(f"flood {_NOISE} {_NOISE_PER_SECOND}")
        server.settle()
        self.assert_unharmed(server, crowd)
        self.assertLess(server.resident_mib(), _MOST_MIB)
        crowd.silence()
        self.assert_all_counted(server, generator.ask("totals")[0] + crowd.sent)

    def test_what_is_too_long_is_counted(self) -> None:
        server = Server(self)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for length in (1500, 2047, 2048, 2049, 9000, 60_000):
                sender.sendto(bytes(length), ("127.0.0.1", server.port))
        # The server looks after its sockets every 20 ms.
        time.sleep(0.2)
        self.assert_all_counted(server, 6)


class FullBuffers(FaultCase):
    """Where the kernel has no room."""

    def test_tiny_socket_buffers(self) -> None:
        server = Server(self, environment=self.small_kernel(HP_FAULT_BUFFER="4608"))
        crowd = self.crowd(server)
        generator = self.generator(server, "native")
        generator.ask("flood 100000 50000")
        self.assertGreater(server.settle(), 0, "the buffers were not full")
        self.assert_unharmed(server, crowd)
        crowd.silence()
        self.assert_all_counted(server, generator.ask("totals")[0] + crowd.sent)

    def test_no_buffers_for_sending(self) -> None:
        server = Server(self, environment=self.small_kernel(HP_FAULT_SEND="3"))
        crowd = self.crowd(server)
        for _ in range(2):
            crowd.wait_answered()
        self.assert_unharmed(server, crowd)
        failed = server.counted("send_failed")
        self.assertTrue(failed is None or failed > 0, failed)


class Forbidden(FaultCase):
    """Where a firewall forbids the answers, which sending then reports."""

    def test_answers_that_may_not_leave(self) -> None:
        server = Server(self)
        crowd = self.crowd(server, 12, 12)
        self.command("nft", f"table inet faults {{ chain output {{ type filter hook output priority 0;"
                            f" udp sport {server.port} ip daddr 127.66.0.0/16 drop; }}; }}")
        with Crowd(server.port, 12, 12, network=66) as unheard:
            time.sleep(1)
            self.assertEqual([client for client in unheard.clients if client.registered], [])
            self.assert_unharmed(server, crowd)
            failed = server.counted("send_failed")
            self.assertTrue(failed is None or failed > 0, failed)
            self.command("nft", "delete table inet faults")
            unheard.wait_registered()
            self.assert_unharmed(server, unheard)
        self.assert_unharmed(server, crowd)


class Descriptors(FaultCase):
    """Where there are no descriptors left for connections."""

    def test_datagrams_go_on_and_connections_come_back(self) -> None:
        limit = f"--nofile={_DESCRIPTORS}:{_DESCRIPTORS}"
        server = Server(self, "--tcp", before=["prlimit", limit])
        crowd = self.crowd(server)
        register = NativeClient("127.0.0.1", server.port, os.urandom(32))
        self.addCleanup(register.socket.close)
        message = register.register()
        self.assertTrue(is_answered_over_tcp(server.port, message), "before")
        connections: list[socket.socket] = []
        try:
            for number in range(2 * _DESCRIPTORS):
                connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=1,
                                                            source_address=(f"127.5.0.{number + 1}", 0)))
            begin, before = time.monotonic(), server.processor_seconds()
            self.assert_unharmed(server, crowd)
            with Crowd(server.port, 4, 4, network=67) as late:
                late.wait_registered()
            time.sleep(max(0.0, begin + 1.5 - time.monotonic()))
            busy = (server.processor_seconds() - before) / (time.monotonic() - begin)
            self.assertLess(busy, 0.5, "the server tries again and again")
        finally:
            for connection in connections:
                connection.close()
        deadline = time.monotonic() + 5
        while not is_answered_over_tcp(server.port, message):
            self.assertLess(time.monotonic(), deadline, "no connection is served any more")
        self.assert_unharmed(server, crowd)
        server.stop()
        self.assertRegex(server.program.errors, r"could not take one [1-9]\d* times", "there were descriptors left")


class LostTime(FaultCase):
    """Where the server does not run for longer than a client may be silent."""

    def test_heartbeats_that_wait_count_before_anybody_is_forgotten(self) -> None:
        server = Server(self)
        crowd = self.crowd(server)
        server.program.process.send_signal(signal.SIGSTOP)
        self.addCleanup(server.program.process.send_signal, signal.SIGCONT)
        time.sleep(_STOPPED_SECONDS)
        self.assertEqual(server.kernel()[1], 0, "there was no room for the heartbeats")
        server.program.process.send_signal(signal.SIGCONT)
        self.assert_unharmed(server, crowd)
