"""Build a laboratory, run one command with it, take it down: for looking around by hand and for tests in any language.

    python3 tests/natlab/cli.py --site a=home --site b=symmetric-random,input=accept --loss 10 -- sh -c '
        $NATLAB_SERVER ./hp-server & $NATLAB_A ./hp … & $NATLAB_B ./hp …; wait'

The command runs outside the namespaces. Its environment says how to get in: NATLAB_SERVER, NATLAB_CORE and for each
host NATLAB_<SITE> (NATLAB_<SITE>_2 for the second) hold the words to put before a command line; the same with
_ADDRESS and _ADDRESS6 holds its first address. Without a command it is an interactive shell.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any, Callable

from natlab import NAT_KINDS, Lab, LabError, Site, unavailable

_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "input": ("input_policy", str), "carrier": ("carrier", str), "ipv4": ("ipv4", str),
    "hosts": ("hosts", int), "subnet": ("subnet", str), "timeout": ("mapping_timeout", int), "step": ("port_step", int),
    "hairpin": ("hairpin", bool), "firewall6": ("ipv6_firewall", bool), "no-udp": ("blocks_udp", bool),
    "only-tcp": ("only_tcp_to", int),
}


def _site(text: str) -> tuple[str, Site]:
    """`NAME=KIND[,OPTION[=VALUE]]…` as a site."""
    name, _, description = text.partition("=")
    kind, *options = description.split(",")
    arguments: dict[str, Any] = {"nat": kind}
    for option in options:
        key, _, value = option.partition("=")
        if key not in _OPTIONS:
            raise argparse.ArgumentTypeError(f"unknown option {key!r}; known: {', '.join(_OPTIONS)}")
        field, convert = _OPTIONS[key]
        arguments[field] = convert(value or "yes")
    try:
        return name, Site(**arguments)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _entrances(lab: Lab) -> dict[str, str]:
    entrances = {}
    nodes = {"server": lab.server, "core": lab.core, **lab.hosts}
    for name, node in nodes.items():
        site, _, number = name.upper().partition(".")
        variable = f"NATLAB_{site}" if number in ("", "1") else f"NATLAB_{site}_{number}"
        entrances[variable] = " ".join(lab.enter_command(node))
        for suffix, addresses in (("ADDRESS", node.addresses), ("ADDRESS6", node.addresses6)):
            if addresses:
                entrances[f"{variable}_{suffix}"] = addresses[0]
    return entrances


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the result is the command's exit status."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", action="append", type=_site, required=True, metavar="NAME=KIND[,OPTION[=VALUE]]…",
                        help=f"kinds: {', '.join(NAT_KINDS)}; options: {', '.join(_OPTIONS)}")
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT", help="UDP packets lost in the core")
    parser.add_argument("--tcp-loss", type=float, default=0, metavar="PERCENT", help="TCP packets lost in the core")
    parser.add_argument("--delay", type=float, default=0, metavar="MS", help="one-way delay in the core")
    parser.add_argument("--jitter", type=float, default=0, metavar="MS", help="how much the delay varies either way")
    parser.add_argument("--reorder", type=float, default=0, metavar="PERCENT", help="packets that overtake")
    parser.add_argument("--ipv6", action="store_true", help="add IPv6, without NAT")
    parser.add_argument("command", nargs="*", help="the command and its arguments, after --")
    options = parser.parse_args(arguments)
    reason = unavailable()
    if reason:
        parser.exit(77, f"natlab: {reason}\n")
    try:
        with Lab(dict(options.site), loss=options.loss, delay=options.delay, jitter=options.jitter,
                 reorder=options.reorder, tcp_loss=options.tcp_loss, ipv6=options.ipv6) as lab:
            entrances = _entrances(lab)
            if not options.command:
                print("\n".join(f"{name}='{value}'" for name, value in entrances.items()))
            return subprocess.run(options.command or [os.environ.get("SHELL", "sh")],
                                  env={**os.environ, **entrances}).returncode
    except (LabError, ValueError) as error:
        parser.exit(1, f"natlab: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
