"""The laboratory on paper: which namespaces there are, how they are wired, and what each must be told.

Nothing here touches the system, so that building is one pass over finished text: one `ip` batch for namespaces and
wires, then one shell script per namespace.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nat_rules import DELAY_DEVICE, OPEN, OUTWARD, Router, loss_rule, ruleset

SERVER_ADDRESSES = ("203.0.113.10", "203.0.113.11")
SERVER_ADDRESSES6 = ("2001:db8::10", "2001:db8::11")
_CORE_ADDRESSES = ("203.0.113.1", "2001:db8::1")
#: Every router and every open host has a number, which its addresses are made of.
_HIGHEST_NUMBER = 127
#: What becomes of a site's IPv4. `broken`: everything is set up, but one hop beyond the site each packet vanishes.
IPV4_STATES = ("works", "broken", "none")
#: The core's routing table that leads into the delay, and how many packets may wait in front of it.
_DELAY_TABLE = 100
_DELAY_BACKLOG = 10000
#: Inside addresses start here, as a home router's DHCP server would have it; .1 is the router.
_FIRST_HOST = 10


@dataclass(frozen=True)
class Site(Router):
    """One household or office: a router and the hosts behind it. `nat="open"` means hosts without a router."""

    hosts: int = 1
    #: A second NAT between router and core: a kind, a `Router`, or the name of one of the laboratory's shared carriers.
    carrier: str | Router | None = None
    #: The private /24; None takes one that no other site has. Equal subnets in two sites are allowed, as in real life.
    subnet: str | None = None
    #: Whether the router lets in only the IPv6 flows that started inside. Without it IPv6 is open in both directions.
    ipv6_firewall: bool = False
    #: One of `IPV4_STATES`; "none" leaves a site that has nothing but IPv6.
    ipv4: str = "works"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.hosts <= 200:
            raise ValueError("a site has 1 to 200 hosts")
        if self.ipv4 not in IPV4_STATES:
            raise ValueError(f"unknown state of IPv4 {self.ipv4!r}; known: {', '.join(IPV4_STATES)}")
        if self.nat == OPEN and (self.blocks_udp or self.only_tcp_to is not None):
            raise ValueError("an open site has no router that could drop anything")
        if self.ipv4 == "none" and self.hairpin:
            raise ValueError("without IPv4 there is nothing to hairpin")
        net = ipaddress.IPv4Network(self.subnet or "192.168.0.0/24")
        if net.prefixlen != 24 or not net.is_private:
            raise ValueError(f"the subnet must be a private /24, not {net}")


@dataclass(frozen=True)
class Impairment:
    """What the core does to packets: loss concerns one protocol, all else every packet."""

    #: Percentage of UDP packets that are dropped.
    loss: float = 0
    #: Milliseconds that the core holds a packet back: the one-way delay between any two sides of it.
    delay: float = 0
    #: Milliseconds by which the delay varies either way. It does not change the order of two hosts' packets.
    jitter: float = 0
    #: Percentage of packets that are not held back and so overtake the ones that are.
    reorder: float = 0
    #: Percentage of TCP packets that are dropped.
    tcp_loss: float = 0

    def __post_init__(self) -> None:
        for percent in (self.loss, self.tcp_loss):
            loss_rule(percent)
        if not 0 <= self.jitter <= self.delay:
            raise ValueError("delay and jitter are in milliseconds, and the jitter is at most the delay")
        if not 0 <= self.reorder <= 100:
            raise ValueError(f"reordering is a percentage, not {self.reorder!r}")
        if self.reorder and not self.delay:
            raise ValueError("only packets that are delayed can be reordered")

    @property
    def loss_rules(self) -> list[str]:
        """The statements of the core's chain `impairment`."""
        return [rule for rule in (loss_rule(self.loss), loss_rule(self.tcp_loss, "tcp")) if rule]


@dataclass(frozen=True)
class Node:
    """One namespace: a host, a router, the core or the server."""

    name: str
    netns: str
    #: IPv4 addresses; for a router, the one that faces outwards. Empty at a site without IPv4.
    addresses: tuple[str, ...]
    #: IPv6 addresses; empty unless the laboratory has `ipv6=True`.
    addresses6: tuple[str, ...]
    #: The IPv4 address by which the server sees this node; empty at a site without IPv4.
    outside: str

    @property
    def address(self) -> str:
        """The first IPv4 address."""
        return self.addresses[0]

    @property
    def address6(self) -> str:
        """The first IPv6 address; only with `ipv6=True`."""
        return self.addresses6[0]


@dataclass
class _Plan:
    """What one namespace must be told, and what those hanging below it need to know."""

    name: str
    netns: str
    forwards: bool
    ip_lines: list[str] = field(default_factory=list)
    rules: str = ""
    #: Interfaces beyond which IPv4 is broken.
    ipv4_broken_at: list[str] = field(default_factory=list)
    mapping_timeout: int | None = None
    number: int = 0
    #: The outward IPv4 and IPv6 address. Wherever there is such a pair, an empty IPv4 address means that there is none.
    addresses: tuple[str, str] = ("", "")
    #: The IPv4 address under which everything below appears; empty where addresses are public as they are.
    translates_to: str = ""

    def script(self, ipv6: bool) -> str:
        # All settings come before the links go up: an address still being checked for duplicates is unusable.
        lines = ["set -e", "cd /proc/sys/net",
                 # A router that hairpins sends out where it received, and would redirect the sender.
                 "for c in ipv4/conf/*; do echo 0 > $c/rp_filter; echo 0 > $c/send_redirects; done",
                 f"echo {int(self.forwards)} > ipv4/ip_forward",
                 "if [ -d ipv6 ]; then for c in ipv6/conf/*; do echo 0 > $c/accept_dad; echo 0 > $c/accept_ra; done"]
        if ipv6:
            lines.append(f"echo {int(self.forwards)} > ipv6/conf/all/forwarding")
        else:
            # Otherwise router solicitations and link-local addresses turn up in captures and candidate lists.
            lines.append("for c in ipv6/conf/*; do case $c in */all|*/lo) ;; *) echo 1 > $c/disable_ipv6;; esac; done")
        lines += ["fi", "ip -batch - <<'END'", "link set lo up", *self.ip_lines, "END"]
        rules = [*filter(None, [self.rules]), *_vanishing(self.ipv4_broken_at)]
        if rules:
            lines += ["nft -f - <<'END'", *rules, "END"]
        if self.mapping_timeout is not None:
            # These settings appear with the first rule that uses connection tracking.
            lines += [f"echo {self.mapping_timeout} > netfilter/nf_conntrack_udp_timeout{suffix}"
                      for suffix in ("", "_stream")]
        return "\n".join(lines) + "\n"


def _vanishing(interfaces: Sequence[str]) -> list[str]:
    """The rules by which IPv4 vanishes at these interfaces: nobody gets as much as an ICMP message."""
    if not interfaces:
        return []
    named = "{ " + ", ".join(f'"{interface}"' for interface in interfaces) + " }"
    return ["table ip broken {",
            "chain inward {", "type filter hook prerouting priority raw; policy accept;", f"iifname {named} drop", "}",
            "chain outward {", "type filter hook forward priority filter; policy accept;", f"oifname {named} drop", "}",
            "}"]


class Topology:
    """The finished plan. `prefix` makes the namespaces' names unique."""

    def __init__(self, prefix: str, sites: Mapping[str, Site], carriers: Mapping[str, Router],
                 impairment: Impairment, ipv6: bool) -> None:
        self.hosts: dict[str, list[Node]] = {}
        self.routers: dict[str, Node] = {}
        self.carriers: dict[str, Node] = {}
        self._prefix = prefix
        self._ipv6 = ipv6
        self._plans: list[_Plan] = []
        self._links: list[str] = []
        self._macs = (f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in itertools.count(1))
        self._numbers = itertools.count(1)

        self._core = self._plan("core", forwards=True)
        self._core.addresses = _CORE_ADDRESSES
        self._core.rules = "\n".join(["table inet natlab {", "chain impairment {",
                                      "type filter hook forward priority filter;", *impairment.loss_rules, "}", "}"])
        self.core = self._node(self._core, [_CORE_ADDRESSES], _CORE_ADDRESSES[0])
        self.server = self._add_server()
        for name in (*carriers, *sites):
            if not name.isidentifier() or name in ("core", "server") or (name in carriers and name in sites):
                raise ValueError(f"name {name!r}: an identifier, please, that nothing else in the laboratory bears")
        shared = {name: self._add_carrier(name, carrier) for name, carrier in carriers.items()}
        for name, site in sites.items():
            self._add_site(name, site, shared)

    @property
    def netns_names(self) -> list[str]:
        """Every namespace of the plan."""
        return [plan.netns for plan in self._plans]

    @property
    def wiring(self) -> str:
        """Input for `ip -batch` that creates all namespaces and the links between them."""
        return "\n".join([f"netns add {netns}" for netns in self.netns_names] + self._links) + "\n"

    @property
    def scripts(self) -> dict[str, str]:
        """For each namespace the shell script to run inside it once everything is wired."""
        return {plan.netns: plan.script(self._ipv6) for plan in self._plans}

    @property
    def way_through_delay(self) -> str:
        """The shell script that leads what the core forwards into the delay, to be run there once that is at work.

        What comes back from the device never enters it again, even if it has nowhere to go. The core's own packets,
        which are its ICMP errors, are not held back. A device that nobody holds yet would drop packets for a while
        after it was brought up.
        """
        lines = ["set -e", f"ip link set {DELAY_DEVICE} txqueuelen {_DELAY_BACKLOG} addrgenmode none up"]
        for family in ("-4", "-6") if self._ipv6 else ("-4",):
            lines += [f"ip {family} route add default dev {DELAY_DEVICE} table {_DELAY_TABLE}",
                      f"ip {family} rule add pref 10 iif lo lookup main",
                      f"ip {family} rule add pref 11 not iif {DELAY_DEVICE} lookup {_DELAY_TABLE}"]
        return "\n".join(lines)

    def _plan(self, name: str, forwards: bool) -> _Plan:
        plan = _Plan(name, f"{self._prefix}{name}", forwards)
        self._plans.append(plan)
        return plan

    def _node(self, plan: _Plan, addresses: Sequence[tuple[str, str]], outside: str) -> Node:
        return Node(plan.name, plan.netns, tuple(ipv4 for ipv4, _ in addresses if ipv4),
                    tuple(ipv6 for _, ipv6 in addresses) if self._ipv6 else (), outside)

    def _add_server(self) -> Node:
        server = self._plan("server", forwards=False)
        addresses = list(zip(SERVER_ADDRESSES, SERVER_ADDRESSES6))
        self._join(self._core, "server", [_CORE_ADDRESSES], server, addresses, (24, 64))
        return self._node(server, addresses, SERVER_ADDRESSES[0])

    def _add_carrier(self, name: str, carrier: Router) -> _Plan:
        if carrier.nat == OPEN:
            raise ValueError(f"carrier {name!r}: a carrier is a NAT, so it cannot be {OPEN!r}")
        plan = self._plan(f"{name}.carrier", forwards=True)
        self._attach(plan, self._core)
        self._equip(plan, carrier)
        self.carriers[name] = self._node(plan, [plan.addresses], plan.addresses[0])
        return plan

    def _add_site(self, name: str, site: Site, shared: Mapping[str, _Plan]) -> None:
        if site.ipv4 == "none" and not self._ipv6:
            raise ValueError(f"site {name!r} has no IPv4, so the laboratory needs ipv6=True")
        upper = self._core
        if isinstance(site.carrier, str) and site.carrier in shared:
            upper = shared[site.carrier]
            self.carriers[name] = self.carriers[site.carrier]
        elif site.carrier is not None:
            upper = self._add_carrier(name, site.carrier if isinstance(site.carrier, Router) else Router(site.carrier))
        if site.nat == OPEN:
            self.hosts[name] = []
            for index in range(site.hosts):
                host = self._plan(f"{name}.{index + 1}", forwards=False)
                self._attach(host, upper, site.ipv4)
                outside = host.addresses[0] and (upper.translates_to or host.addresses[0])
                self.hosts[name].append(self._node(host, [host.addresses], outside))
            return
        router = self._plan(f"{name}.router", forwards=True)
        self._attach(router, upper, site.ipv4)
        self._equip(router, site, site.ipv6_firewall)
        outside = router.translates_to and (upper.translates_to or router.translates_to)
        self.routers[name] = self._node(router, [router.addresses], outside)
        self.hosts[name] = self._add_lan(name, site, router, outside)

    def _equip(self, plan: _Plan, router: Router, ipv6_firewall: bool = False) -> None:
        plan.translates_to = plan.addresses[0]
        plan.rules = ruleset(router, plan.translates_to, ipv6_firewall)
        plan.mapping_timeout = router.mapping_timeout

    def _attach(self, lower: _Plan, upper: _Plan, ipv4: str = "works") -> None:
        """Hang `lower` below `upper`, with a pair of addresses for the link (RFC 3021) and a /48 of its own."""
        number = lower.number = next(self._numbers)
        if number > _HIGHEST_NUMBER:
            raise ValueError(f"too large: at most {_HIGHEST_NUMBER} routers and open hosts in all")
        behind_carrier = upper is not self._core
        pair = (f"100.64.{number}.2", f"100.64.{number}.3") if behind_carrier else (
            f"198.51.100.{2 * number}", f"198.51.100.{2 * number + 1}")
        if ipv4 == "none":
            pair = "", ""
        elif ipv4 == "broken":
            upper.ipv4_broken_at.append(f"to{number}")
        lower.addresses = pair[1], f"2001:db8:{number:x}:ffff::2"
        gateway = pair[0], f"2001:db8:{number:x}:ffff::1"
        self._join(upper, f"to{number}", [gateway], lower, [lower.addresses], (31, 64))
        block = f"2001:db8:{number:x}::/48"
        self._tell6(upper, f"route add {block} via {lower.addresses[1]}")
        if behind_carrier:
            self._tell6(self._core, f"route add {block} via {upper.addresses[1]}")

    def _add_lan(self, name: str, site: Site, router: _Plan, outside: str) -> list[Node]:
        net = ipaddress.IPv4Network(site.subnet or f"192.168.{router.number}.0/24")
        block6 = f"2001:db8:{router.number:x}:1::"

        def pair(host: int) -> tuple[str, str]:
            return "" if site.ipv4 == "none" else str(net[host]), f"{block6}{host:x}"

        gateway = pair(1)
        plans = [self._plan(f"{name}.{index + 1}", forwards=False) for index in range(site.hosts)]
        addresses = [pair(_FIRST_HOST + index) for index in range(site.hosts)]
        if site.hosts == 1:
            self._join(router, "lan", [gateway], plans[0], addresses, (24, 64))
        else:
            self._bridge(router, gateway, plans, addresses)
        return [self._node(plan, [own], outside) for plan, own in zip(plans, addresses)]

    def _bridge(self, router: _Plan, gateway: tuple[str, str], hosts: list[_Plan],
                addresses: list[tuple[str, str]]) -> None:
        bridge_mac = next(self._macs)
        router.ip_lines.append(f"link add lan address {bridge_mac} type bridge forward_delay 0 mcast_snooping 0")
        macs = []
        for index, host in enumerate(hosts):
            port = f"lan{index + 1}"
            macs.append(self._link(router, port, host)[1])
            router.ip_lines += [f"link set {port} master lan", f"link set {port} up"]
            self._address(host, OUTWARD, [addresses[index]], (24, 64))
            self._know(host, OUTWARD, bridge_mac, [gateway])
            self._default_route(host, gateway)
        self._address(router, "lan", [gateway], (24, 64))
        for mac, pair in zip(macs, addresses):
            self._know(router, "lan", mac, [pair])
            for host, own_mac in zip(hosts, macs):
                if own_mac != mac:
                    self._know(host, OUTWARD, mac, [pair])

    def _join(self, upper: _Plan, port: str, upper_addresses: Sequence[tuple[str, str]], lower: _Plan,
              lower_addresses: Sequence[tuple[str, str]], prefixes: tuple[int, int]) -> None:
        """One link, addressed at both ends, with `upper` as the default gateway of `lower`."""
        upper_mac, lower_mac = self._link(upper, port, lower)
        self._address(upper, port, upper_addresses, prefixes)
        self._address(lower, OUTWARD, lower_addresses, prefixes)
        self._know(upper, port, lower_mac, lower_addresses)
        self._know(lower, OUTWARD, upper_mac, upper_addresses)
        self._default_route(lower, upper_addresses[0])

    def _link(self, upper: _Plan, port: str, lower: _Plan) -> tuple[str, str]:
        macs = next(self._macs), next(self._macs)
        self._links.append(f"link add name {port} address {macs[0]} netns {upper.netns} type veth "
                           f"peer name {OUTWARD} address {macs[1]} netns {lower.netns}")
        return macs

    def _address(self, plan: _Plan, interface: str, addresses: Sequence[tuple[str, str]],
                 prefixes: tuple[int, int]) -> None:
        for ipv4, ipv6 in addresses:
            if ipv4:
                plan.ip_lines.append(f"address add {ipv4}/{prefixes[0]} dev {interface}")
            self._tell6(plan, f"address add {ipv6}/{prefixes[1]} dev {interface} nodad")
        plan.ip_lines.append(f"link set {interface} up")

    def _know(self, plan: _Plan, interface: str, mac: str, addresses: Sequence[tuple[str, str]]) -> None:
        """Spare the first packet the wait for address resolution: delays are measured in milliseconds."""
        for ipv4, ipv6 in addresses:
            if ipv4:
                plan.ip_lines.append(f"neighbour replace {ipv4} lladdr {mac} dev {interface} nud permanent")
            self._tell6(plan, f"neighbour replace {ipv6} lladdr {mac} dev {interface} nud permanent")

    def _default_route(self, plan: _Plan, gateway: tuple[str, str]) -> None:
        if gateway[0]:
            plan.ip_lines.append(f"route add default via {gateway[0]}")
        self._tell6(plan, f"route add default via {gateway[1]}")

    def _tell6(self, plan: _Plan, line: str) -> None:
        if self._ipv6:
            plan.ip_lines.append(line)
