"""The self-test's prober: sockets of this process that each live in a namespace.

Driving all ends from one thread makes the order of packets certain, so that "does not get in" needs no long wait.
"""

from __future__ import annotations

import contextlib
import socket
import time
import unittest
from collections.abc import Sequence
from typing import Any

from natlab import Lab, Node

Endpoint = tuple[str, int]

#: What was sent before has arrived, or never will, after this many seconds.
SETTLED = 0.1
#: How long to wait for what must arrive.
PATIENCE = 5.0
#: Linux's number, for which the socket module has no name.
IP_RECVERR = 11


class LabTestCase(unittest.TestCase):
    """A test case whose laboratories end with the test."""

    def build(self, *args: Any, **kwargs: Any) -> Lab:
        """A laboratory that ends with the test."""
        lab = Lab(*args, **kwargs).__enter__()
        self.addCleanup(lab.close)
        return lab

    def assert_received(self, receiver: socket.socket, senders: Sequence[Endpoint]) -> None:
        """Exactly one packet from each of `senders`, in any order, has got through to `receiver` and nothing else."""
        self.assertEqual(sorted(received(receiver, len(senders))), sorted(senders))


def site_name(kind: str) -> str:
    """The name of a site of that kind in a laboratory that has one of each."""
    return kind.replace("-", "_")


def bound(lab: Lab, host: Node | str, port: int = 0, address: str = "0.0.0.0") -> socket.socket:
    """A bound UDP socket on `host`."""
    endpoint = lab.open_socket(host, family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    endpoint.bind((address, port))
    endpoint.settimeout(PATIENCE)
    return endpoint


def server_sockets(lab: Lab, ports: int = 4) -> list[socket.socket]:
    """Sockets on both of the server's addresses: all ports of the first address, then all of the second."""
    return [bound(lab, lab.server, 4000 + port, address) for address in lab.server.addresses for port in range(ports)]


def mappings(client: socket.socket, servers: Sequence[socket.socket]) -> list[Endpoint]:
    """The outside endpoints of `client` as each of `servers` sees them."""
    seen = []
    for server in servers:
        client.sendto(b"who am I", server.getsockname())
        seen.append(server.recvfrom(64)[1])
    return seen


def received(receiver: socket.socket, expected: int, settled: float = SETTLED) -> list[Endpoint]:
    """Who got something through to `receiver`: waits for as many as are expected, then a moment for any more."""
    senders: list[Endpoint] = []
    with contextlib.suppress(socket.timeout):
        while len(senders) < expected:
            senders.append(receiver.recvfrom(64)[1][:2])
    time.sleep(settled)
    receiver.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            senders.append(receiver.recvfrom(64)[1][:2])
    receiver.settimeout(PATIENCE)
    return senders
