"""Strangers who know everything but the session ID."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fixture import PORT, LabCase
from natlab import Lab, Node, Site
from programs import Program

#: In a second; well below what fills a processor, so that a failure is due to the flood and not to a lack of time.
_RATE = 35_000
#: At this point a flood ends whether or not it has sent all, as on a machine with too much else to do.
_SECONDS = 40
_SEED = 20260101
_FEWEST_RUNS = 10
#: How much a server may grow that keeps nothing of what strangers send.
_GROWTH_KIB = 16 * 1024
#: What a server may keep of a datagram that to it is a plain client's registration.
_BYTES_PER_REGISTRATION = 512


def resident_kib(program: Program) -> int:
    """The program's resident memory."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert match, status
    return int(match[1])


def datagrams_seen(lab: Lab, host: Node) -> int:
    """How many UDP datagrams have reached a host, whether or not anybody there wanted them."""
    keys, values = (line.split()[1:] for line in lab.run(host, ["cat", "/proc/net/snmp"]).stdout.splitlines()
                    if line.startswith("Udp:"))
    counters = dict(zip(keys, map(int, values)))
    return counters["InDatagrams"] + counters["NoPorts"] + counters["InErrors"]


def core_interface(lab: Lab, node: Node) -> str:
    """The core's interface that leads to a node."""
    route = lab.run(lab.core, ["ip", "-oneline", "route", "get", node.outside]).stdout
    match = re.search(r"\bdev (\S+)", route)
    assert match, route
    return match[1]


class Flood(LabCase):
    """Forged, cut, replayed and random datagrams by the thousand while two connect."""

    #: What else ran would lack the processors' time, and so would the flood.
    alone = True

    def start_flood(self, lab: Lab, total: int, victims: list[Node], third_site: Node) -> Program:
        """Start the flood and wait for its first burst."""
        argv = [sys.executable, str(Path(__file__).with_name("flood.py")),
                f"--total={total}", f"--rate={_RATE}", f"--seconds={_SECONDS}", f"--seed={_SEED}",
                f"--server={lab.server.address}:{PORT}", f"--server-interface={core_interface(lab, lab.server)}",
                *(f"--client-interface={core_interface(lab, victim)}" for victim in victims),
                f"--neighbour={lab.server.netns}={lab.server.addresses[1]}",
                f"--third-site={third_site.netns}={third_site.address}"]
        flood = self.run_program(lab, "flood", lab.core, argv)
        flood.wait_for("flooding")
        return flood

    def assert_two_connect_every_time(self, total: int, *server_options: str) -> tuple[int, str]:
        """Returns by how many KiB the server grew, and a line that sums up what went on."""
        # An open host is hit by everything; a home's filter lets in what bears the server's or the peer's name.
        lab = self.build({"a": Site("home"), "b": Site("open"), "c": Site("open")})
        home, open_host = lab.host("a"), lab.host("b")
        server = self.hp_server(lab, *server_options)
        self.assert_pair_talks(lab)
        before = most = resident_kib(server)
        flood = self.start_flood(lab, total, [home, open_host], lab.host("c"))
        runs = 0
        while flood.process.poll() is None or runs < _FEWEST_RUNS:
            with self.subTest(run=runs, seed=_SEED):
                self.assert_pair_talks(lab, "a", "b", "--dialect", ("native", "auto")[runs % 2])
            most = max(most, resident_kib(server))
            runs += 1
        self.assertEqual(flood.wait(), 0, flood.transcript)
        summary = f"{flood.output[-1]}; {runs} runs; server grew by {most - before} KiB; seed {_SEED}"
        print(f"\n  {summary}", file=sys.stderr)
        # It was a flood, and it hit.
        sent = int(flood.wait_for(r"sent (\d+) .*")[1])
        lab.stop(server.process)
        served = int(server.wait_for(r".*served (\d+) datagrams.*", on_stderr=True)[1])
        self.assertGreater(sent, total / 10, summary)
        self.assertGreater(served, sent * 0.3, summary)
        for host, share in ((open_host, 0.1), (home, 0.02)):
            self.assertGreater(datagrams_seen(lab, host), sent * share, f"{host.name}: {summary}")
        return most - before, summary

    def test_a_server_for_native_clients_does_not_grow(self) -> None:
        growth, summary = self.assert_two_connect_every_time(750_000, "--dialect", "native")
        self.assertLess(growth, _GROWTH_KIB, summary)

    def test_a_server_for_all_clients_grows_by_no_more_than_plain_registrations(self) -> None:
        # The plain dialect proves nothing: every text from every source is a client with an ID of its own, until it
        # expires or there are --max-endpoints of them. So this server grows with the flood, but by little for each.
        total = 250_000
        growth, summary = self.assert_two_connect_every_time(total)
        self.assertLess(growth * 1024, total * _BYTES_PER_REGISTRATION, summary)
