"""What a router does to packets, as nftables rules.

Each NAT kind is one mapping behaviour and one filtering behaviour in the words of RFC 4787, so that a test that
fails for one kind names the behaviour that broke it. The rules hold for UDP and TCP alike: TCP hole punching meets
the same boxes (RFC 5382).
"""

from __future__ import annotations

from dataclasses import dataclass

#: Host with the public address itself: no router, no translation.
OPEN = "open"
#: Router that lets TCP out, as `home` does, and drops every forwarded UDP packet.
UDP_BLOCKED = "udp-blocked"

#: Endpoint-independent mapping that keeps the port; they differ in what they let in.
PORT_KEEPING_KINDS = ("full-cone", "address-restricted", "home")

NAT_KINDS = (
    OPEN,
    "full-cone",  # endpoint-independent mapping, endpoint-independent filtering
    "address-restricted",  # endpoint-independent mapping, address-dependent filtering
    "home",  # endpoint-independent mapping, address and port-dependent filtering; port kept
    "home-remap",  # as `home`, but the outside port differs from the inside one
    "adm",  # address-dependent mapping, address and port-dependent filtering
    "symmetric-sequential",  # address and port-dependent mapping, ports handed out in steps
    "symmetric-random",  # address and port-dependent mapping, ports at random
    UDP_BLOCKED,
)

#: What the router does with a packet for itself that no rule or mapping expects: nothing, an ICMP error, or what any
#: host does, which is a reset for a SYN to a closed port.
INPUT_POLICIES = ("drop", "reject", "accept")

#: Name of the interface that leads outwards, in every router and host that has one.
OUTWARD = "wan"
#: Name of the core's device behind which packets are held back, if there is any delay.
DELAY_DEVICE = "delay"

#: First port and number of ports of `symmetric-sequential`.
SEQUENTIAL_FIRST_PORT = 40000
SEQUENTIAL_PORTS = 4096

#: How long a mapping lives without outbound traffic unless a router says otherwise: the 2 minutes of RFC 4787 REQ-5.
DEFAULT_MAPPING_TIMEOUT = 120


@dataclass(frozen=True)
class Router:
    """How one router behaves. A site's own router and a carrier's NAT are described in the same terms."""

    nat: str = "home"
    #: `accept` is what container and VM hosts do: an early probe is then recorded as a flow to the router itself
    #: and takes the port away from the real flow. `drop` and `reject` leave no such trace.
    input_policy: str = "drop"
    #: Whether inside hosts reach each other through their outside endpoints (RFC 4787 REQ-9).
    hairpin: bool = False
    #: Seconds a UDP mapping survives without outbound traffic; None leaves the kernel's 30 s unreplied, 120 s replied.
    #: TCP flows last as long as the kernel has them last.
    mapping_timeout: int | None = None
    #: Distance and direction between two ports that `symmetric-sequential` hands out in a row.
    port_step: int = 1
    #: Whether every forwarded UDP packet is dropped, as with `udp-blocked`, but with any kind of mapping for TCP.
    blocks_udp: bool = False
    #: The one port to which TCP may leave; everything else is dropped, in either direction. None for no such limit.
    only_tcp_to: int | None = None

    def __post_init__(self) -> None:
        if self.nat not in NAT_KINDS:
            raise ValueError(f"unknown NAT kind {self.nat!r}; known: {', '.join(NAT_KINDS)}")
        if self.input_policy not in INPUT_POLICIES:
            raise ValueError(f"unknown input policy {self.input_policy!r}; known: {', '.join(INPUT_POLICIES)}")
        if self.hairpin and self.nat not in PORT_KEEPING_KINDS:
            # Finding the inside host takes the outside port as a key, and nft cannot use a hash result as one.
            raise ValueError(f"hairpin works for {', '.join(PORT_KEEPING_KINDS)}, not for {self.nat}")
        if self.mapping_timeout is not None and self.mapping_timeout < 1:
            raise ValueError("mapping_timeout is in whole seconds, at least 1")
        if self.port_step % SEQUENTIAL_PORTS == 0:
            raise ValueError("port_step must lead to another port")
        if self.only_tcp_to is not None and not 1 <= self.only_tcp_to <= 65535:
            raise ValueError("only_tcp_to is a port, 1 to 65535")


def ruleset(router: Router, outside: str, ipv6_firewall: bool = False) -> str:
    """The complete nftables input for `router`, whose outside IPv4 address is `outside`; "" if it has none."""
    translation = ["table ip natlab {", *_translation(router, outside), "}"] if outside else []
    return "\n".join([*translation,
                      "table inet natlab {", *_input(router, outside), *_forward(router, ipv6_firewall), "}"])


def loss_rule(percent: float, protocol: str = "udp") -> str:
    """The statement that drops `percent` of all packets of `protocol`, in steps of a hundredth of a percent."""
    if not 0 <= percent <= 100:
        raise ValueError(f"loss is a percentage, not {percent!r}")
    # A packet that was held back is forwarded a second time, and has been spared once already.
    packets = f'iifname != "{DELAY_DEVICE}" meta l4proto {protocol}'
    if percent == 100:  # nft refuses a comparison that always holds
        return f"{packets} drop"
    return f"{packets} numgen random mod 10000 < {round(percent * 100)} drop" if percent else ""


def _translation(router: Router, outside: str) -> list[str]:
    lines = _filtering(router, outside)
    lines += ["chain outbound {", "type nat hook postrouting priority srcnat; policy accept;"]
    if router.hairpin:
        # The receiver must see the sender's outside endpoint: RFC 4787 REQ-9 a).
        lines.append(f'iifname != "{OUTWARD}" oifname != "{OUTWARD}" ct status dnat snat to {outside}')
    lines += [f'oifname "{OUTWARD}" {_mapping(router, outside)}', f'oifname "{OUTWARD}" masquerade', "}"]
    return lines


def _mapping(router: Router, outside: str) -> str:
    """The statement that picks the outside port of a new flow.

    `jhash` and `numgen` yield integers in the machine's byte order while a port is big-endian. A hash does not mind:
    its port is merely a byte-swapped one, in one case of 64 below 1024. A counter does, as it would step by 256; hence
    the table of ports. A port that is fixed like this, unlike that of `masquerade`, gives way to nothing: packets of a
    flow are lost where another flow to the same remote endpoint, or an early probe that INPUT accepted, has the port.
    """
    flows = "meta l4proto { tcp, udp }"
    if router.nat == "home-remap":
        return f"{flows} snat to {outside} : jhash ip saddr . th sport mod 60000 seed 0xbeef offset 2048"
    if router.nat == "adm":
        return f"{flows} snat to {outside} : jhash ip saddr . th sport . ip daddr mod 60000 seed 0xbeef offset 2048"
    if router.nat == "symmetric-random":
        return f"{flows} masquerade fully-random"
    if router.nat == "symmetric-sequential":
        ports = (SEQUENTIAL_FIRST_PORT + i * router.port_step % SEQUENTIAL_PORTS for i in range(SEQUENTIAL_PORTS))
        table = ", ".join(f"{i} : {port}" for i, port in enumerate(ports))
        return f"{flows} snat to {outside} : numgen inc mod {SEQUENTIAL_PORTS} map {{ {table} }}"
    return f"{flows} masquerade"


def _filtering(router: Router, outside: str) -> list[str]:
    """What lets packets in beyond the flows that connection tracking knows.

    Connection tracking alone is address and port-dependent filtering. Anything more open needs a memory of mappings,
    outside port to inside endpoint, and of whom each mapping has sent to; so does hairpinning under any filtering,
    because connection tracking ties a flow to the direction it left in.
    """
    if router.nat not in PORT_KEEPING_KINDS or (router.nat == "home" and not router.hairpin):
        return []
    timeout = router.mapping_timeout or DEFAULT_MAPPING_TIMEOUT
    memory = f"flags dynamic,timeout; timeout {timeout}s; size 65535;"
    by_address, by_port = router.nat != "full-cone", router.nat == "home"
    remember = ["update @mapping { meta l4proto . th sport : ip saddr . th sport }"]
    lines = [f"map mapping {{ type inet_proto . inet_service : ipv4_addr . inet_service; {memory} }}"]
    if by_address:
        remote = "ipv4_addr . inet_service" if by_port else "ipv4_addr"
        lines.append(f"set permitted {{ type inet_proto . inet_service . {remote}; {memory} }}")
        remote = "ip daddr . th dport" if by_port else "ip daddr"
        remember.append(f"update @permitted {{ meta l4proto . th sport . {remote} }}")

    def admit(sender: str) -> str:
        permission = f"meta l4proto . th dport . {sender}{' . th sport' if by_port else ''} @permitted "
        return f"{permission if by_address else ''}dnat ip to meta l4proto . th dport map @mapping"

    # Filter hooks, unlike NAT hooks, see every packet and so refresh the memory. `update` never replaces a live
    # mapping by another host's. The router's own packets (resets, say) are no mapping.
    lines += ["chain remember {", *remember, "}",
              "chain remember_outbound {", "type filter hook postrouting priority mangle; policy accept;",
              f'oifname "{OUTWARD}" ip saddr != {outside} meta l4proto {{ tcp, udp }} jump remember', "}"]
    from_outside, from_inside = f'iifname "{OUTWARD}" ip daddr {outside}', f'iifname != "{OUTWARD}" ip daddr {outside}'
    lines += ["chain inbound {", "type nat hook prerouting priority dstnat; policy accept;"]
    if router.nat != "home":
        lines.append(f"{from_outside} {admit('ip saddr')}")
    if router.hairpin:
        # The sender's outside address, which it does not bear yet, is the one it sends to.
        lines.append(f"{from_inside} {admit('ip daddr')}")
    lines.append("}")
    if router.hairpin:
        # A hairpin packet that is not admitted never leaves, but it counts as one that was sent.
        lines += ["chain remember_hairpin {", "type filter hook prerouting priority mangle; policy accept;",
                  f"{from_inside} meta l4proto {{ tcp, udp }} jump remember", "}"]
    return lines


def _input(router: Router, outside: str) -> list[str]:
    lines = ["chain input {", "type filter hook input priority filter; policy "
             f"{'accept' if router.input_policy == 'accept' else 'drop'};"]
    if router.hairpin:
        # Taken as a flow to the router, the first packet of a hairpinned pair would block the ones that follow.
        lines.append(f'iifname != "{OUTWARD}" ip daddr {outside} meta l4proto {{ tcp, udp }} drop')
    lines += [f'iifname != "{OUTWARD}" accept', "ct state established,related accept",
              "meta l4proto { icmp, ipv6-icmp } accept"]
    if router.input_policy == "reject":
        lines.append("reject with icmpx port-unreachable")
    return [*lines, "}"]


def _forward(router: Router, ipv6_firewall: bool) -> list[str]:
    lines = ["chain forwarding {", "type filter hook forward priority filter; policy accept;"]
    if router.blocks_udp or router.nat == UDP_BLOCKED:
        lines.append("meta l4proto udp drop")
    if ipv6_firewall:
        # RFC 6092: an IPv6 home router lets nothing in that nobody inside asked for.
        lines.append(f'meta nfproto ipv6 iifname "{OUTWARD}" ct state new drop')
    if router.only_tcp_to is not None:
        lines += ["ct state established,related accept", f'oifname "{OUTWARD}" tcp dport {router.only_tcp_to} accept',
                  "drop"]
    return [*lines, "}"]
