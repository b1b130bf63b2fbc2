"""Port mappings from miniupnpd on a home router: PCP, NAT-PMP and UPnP-IGD against a daemon that homes really have."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path

from fixture import PORT, LabCase, fresh_id, program, skip
from natlab import Lab, Site
from netns import environment
from programs import Program, dismiss

#: The router's address as the daemon tells it. The laboratory's own ones are reserved for documentation, and the daemon
#: takes no such address for public; this one leads nowhere but into the laboratory.
_EXTERNAL = "11.0.0.3"
_PROTOCOLS = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP-IGD"}
_RULES = """table inet miniupnpd {
chain forwarding { type filter hook forward priority filter; policy accept; jump miniupnpd; }
chain inbound { type nat hook prerouting priority dstnat; policy accept; jump prerouting_miniupnpd; }
chain outbound { type nat hook postrouting priority srcnat; policy accept; jump postrouting_miniupnpd; }
chain miniupnpd { }
chain prerouting_miniupnpd { }
chain postrouting_miniupnpd { }
}
"""
_CONFIGURATION = """ext_ifname=wan
listening_ip=lan
port=5555
secure_mode=yes
min_lifetime=60
max_lifetime=86400
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=00000000-0000-4000-8000-000000000001
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


class Portmap(LabCase):
    """A client on an ordinary home network."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if shutil.which("miniupnpd", path=environment()["PATH"]) is None:
            skip("miniupnpd is missing (Debian: miniupnpd-nftables)")

    def home(self, *settings: str, site: Site = Site("home"), **others: Site) -> Lab:
        """A laboratory whose site a has a router that maps ports, once it answers."""
        lab = self.build({"a": site, **others})
        router = lab.router("a")
        commands = [(router, ["nft", "-f", "-"], _RULES),
                    (router, ["ip", "address", "add", f"{_EXTERNAL}/32", "dev", "wan"], ""),
                    (lab.core, ["ip", "route", "add", f"{_EXTERNAL}/32", "via", lab.router("a").address], "")]
        for host, argv, text in commands if site.carrier is None else commands[:1]:
            done = lab.run(host, argv, input=text)
            self.assertEqual(done.returncode, 0, done.stderr)
        directory = Path(tempfile.mkdtemp(prefix="hp-portmap-"))
        self.addCleanup(shutil.rmtree, directory)
        (directory / "conf").write_text(_CONFIGURATION + "".join(f"{setting}\n" for setting in settings))
        daemon = self.run_program(lab, "miniupnpd", router, ["miniupnpd", "-d", "-f", str(directory / "conf"),
                                                             "-P", str(directory / "pid")])
        daemon.wait_for(r".*HTTP listening on port 5555", on_stderr=True)
        if "enable_natpmp=yes" in settings:
            daemon.wait_for(r".*Listening for NAT-PMP/PCP traffic .*", on_stderr=True)
        return lab

    def portmap(self, lab: Lab, *options: str) -> Program:
        """The program under test on site a's host."""
        return self.run_program(lab, "portmap", "a", [program("portmap"), *options])

    def assert_reachable(self, lab: Lab, client: Program, port: int) -> None:
        """A stranger's packet to the mapped endpoint gets to the socket, and the socket's answer back."""
        with lab.open_socket("server") as stranger:
            stranger.settimeout(5)
            stranger.sendto(b"knock", (_EXTERNAL, port))
            self.assertEqual(stranger.recvfrom(100), (b"knock", (_EXTERNAL, port)))
            own = f"{lab.server.address}:{stranger.getsockname()[1]}"
        client.wait_for(f'received "knock" from {re.escape(own)}')

    def mappings(self, lab: Lab) -> list[str]:
        """The router's translations."""
        listed = lab.run(lab.router("a"), ["nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd"])
        return [line.strip() for line in listed.stdout.splitlines() if "dnat" in line]

    def test_each_protocol_maps_and_deletes(self) -> None:
        lab = self.home(f"ext_ip={_EXTERNAL}", "enable_natpmp=yes", "enable_upnp=yes")
        for option, name in _PROTOCOLS.items():
            with self.subTest(protocol=name):
                client = self.portmap(lab, "--only", option)
                [port] = client.wait_for(rf"mapped {name} {re.escape(_EXTERNAL)}:(\d+) public 7200").groups()
                self.assertEqual(len(self.mappings(lab)), 1)
                self.assert_reachable(lab, client, int(port))
                client.end_input()
                client.wait_for("deleted")
                self.assertEqual(client.wait(5), 0)
                self.assertEqual(self.mappings(lab), [])

    def test_all_at_once_leave_one_mapping_which_outlives_the_program(self) -> None:
        lab = self.home(f"ext_ip={_EXTERNAL}", "enable_natpmp=yes", "enable_upnp=yes")
        started = time.monotonic()
        client = self.portmap(lab, "--leave")
        client.wait_for(rf"mapped PCP {re.escape(_EXTERNAL)}:\d+ public 7200")
        self.assertLess(time.monotonic() - started, 1)
        time.sleep(1)
        client.end_input()
        client.wait_for("left")
        self.assertEqual(client.wait(5), 0)
        self.assertEqual(len(self.mappings(lab)), 1, client.output)

    def test_upnp_is_used_where_nothing_else_is_spoken(self) -> None:
        lab = self.home(f"ext_ip={_EXTERNAL}", "enable_natpmp=no", "enable_upnp=yes")
        client = self.portmap(lab)
        [port] = client.wait_for(rf"mapped UPnP-IGD {re.escape(_EXTERNAL)}:(\d+) public 7200").groups()
        self.assert_reachable(lab, client, int(port))

    def test_version_1_of_upnp_maps_too(self) -> None:
        lab = self.home(f"ext_ip={_EXTERNAL}", "enable_natpmp=no", "enable_upnp=yes", "force_igd_desc_v1=yes")
        client = self.portmap(lab)
        [port] = client.wait_for(rf"mapped UPnP-IGD {re.escape(_EXTERNAL)}:(\d+) public 7200").groups()
        self.assert_reachable(lab, client, int(port))

    def test_probe_tells_what_is_spoken_and_leaves_nothing(self) -> None:
        lab = self.home(f"ext_ip={_EXTERNAL}", "enable_natpmp=yes", "enable_upnp=yes")
        probe = lab.run("a", [program("portmap"), "--probe"], timeout=10)
        expected = [f"address {name} {_EXTERNAL}" for name in _PROTOCOLS.values()]
        self.assertEqual(probe.stdout.splitlines(), ["gateway 192.168.1.1", *expected], probe.stderr)
        self.assertEqual(self.mappings(lab), [])

    def test_router_behind_another_nat_gives_nothing_to_tell_a_peer(self) -> None:
        lab = self.home("enable_natpmp=yes", "enable_upnp=yes", site=Site("home", carrier="home"))
        client = self.portmap(lab)
        self.assertIn(client.wait(15), (0, 1))
        self.assertNotIn("public", "\n".join(client.output))

    def test_call_leaves_its_mapping_and_no_thread(self) -> None:
        lab = self.home(f"ext_ip={_EXTERNAL}", "enable_natpmp=yes", "enable_upnp=yes", b=Site("symmetric-random"))
        self.hp_server(lab, "--other-address", lab.server.addresses[1])
        # Nothing else would get through: diagnosis and port mapping.
        argv = [program("timed_connect"), "--techniques", str(1 | 16), "--timeout", "10000",
                f"{lab.server.address}:{PORT}", fresh_id(), "1"]
        both = [self.run_program(lab, host, host, argv) for host in "ab"]
        for connecting in both:
            connecting.wait_for("ready")
            connecting.say("")
        for connecting in both:
            connecting.wait_for(r"return \d+ HP_STATUS_OK$")
            tasks = Path(f"/proc/{connecting.process.pid}/task").iterdir()
            self.assertEqual(["timed_connect"], [(task / "comm").read_text().strip() for task in tasks])
        self.assertEqual(len(self.mappings(lab)), 1)
        dismiss(both)

    def test_router_without_mappings_is_given_up(self) -> None:
        lab = self.build({"a": Site("home")})
        done = lab.run("a", [program("portmap")], timeout=15)
        self.assertEqual(done.returncode, 1, done.stderr)
        probe = lab.run("a", [program("portmap"), "--probe"], timeout=5)
        self.assertEqual(probe.stdout.count("failed "), 3, probe.stdout)
