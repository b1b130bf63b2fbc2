"""Run two clients against each other behind every ordered pair of NAT kinds, and report which of them connect.

    HP_BIN=build/bin python3 tests/natlab/matrix.py --runs 20 --extra --json nat-matrix.json --svg nat-matrix.svg
    python3 tests/natlab/matrix.py --kinds home,adm --input drop --client 'my-client --server {server} {session}' \\
        --server-command 'my-server --listen {address}:{port}'

Commands are split as a shell does it, without running one. In both, {NAME} is the program NAME in HP_BIN (or
build/bin), {address} and {port} are the server's, IPv6 addresses in brackets. The client's command may hold {server}
({address}:{port}), {session} (a name that the two clients of a run share), {side} (a or b), {timeout_ms} and
{timeout_s}; the server's {address2} (its second address; {ip2} without brackets) and {options}, where --server-option goes.

A client counts as connected once it prints a line that --connected matches; the default knows `connected <peers> <ms>`
and the lines of `timed_connect`. `peer <i> <endpoint> <path>` lines before that name the path, and a run is relayed if
one says `relayed`. A client that prints `ready` gets a line of input when both have. It is ended with SIGTERM.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import netns
from matrix_report import Result, milliseconds, summary, svg, table
from matrix_run import Commands, Scenario, run_scenario
from natlab import NAT_KINDS, LabError, Router, Site, handle_signals, unavailable

#: The kinds that differ in mapping or filtering.
KINDS = ("open", "full-cone", "address-restricted", "home", "adm", "symmetric-sequential", "symmetric-random")
INPUTS = {"drop": ("drop/drop",), "accept": ("accept/accept",), "mixed": ("drop/accept", "accept/drop")}

_CARRIER = Router("home", hairpin=True)
EXTRAS = (
    Scenario("two hosts in one home", {"a": Site("home", hosts=2)}, ("a.1", "a.2")),
    Scenario("two hosts in one home that hairpins", {"a": Site("home", hosts=2, hairpin=True)}, ("a.1", "a.2")),
    Scenario("carrier NAT on one side", {"a": Site(), "b": Site(carrier="home")}),
    Scenario("carrier NAT on both sides", {"a": Site(carrier="home"), "b": Site(carrier="home")}),
    Scenario("one carrier NAT for both that hairpins", {"a": Site(carrier="isp"), "b": Site(carrier="isp")},
             carriers={"isp": _CARRIER}),
    Scenario("IPv6 only on both sides, firewalls", {name: Site(ipv4="none", ipv6_firewall=True) for name in "ab"},
             ipv6=True),
    Scenario("IPv6 only with dual stack", {"a": Site(ipv4="none", ipv6_firewall=True), "b": Site(ipv6_firewall=True)},
             ipv6=True),
    Scenario("dual stack, IPv4 broken on one side", {"a": Site(ipv4="broken", ipv6_firewall=True),
                                                     "b": Site(ipv6_firewall=True)}, ipv6=True),
    Scenario("dual stack, IPv4 broken on both sides", {name: Site(ipv4="broken", ipv6_firewall=True) for name in "ab"},
             ipv6=True),
    Scenario("UDP blocked on one side", {"a": Site("udp-blocked"), "b": Site()}, expected=False),
)


def selected_kinds(text: str) -> list[str]:
    """The kinds in a list with commas; `none` for none at all."""
    kinds = [] if text == "none" else list(dict.fromkeys(text.split(",")))
    for kind in kinds:
        if kind not in NAT_KINDS:
            raise argparse.ArgumentTypeError(f"unknown NAT kind {kind!r}; known: {', '.join(NAT_KINDS)}")
    return kinds


def selected_policies(text: str) -> list[str]:
    """The pairs of INPUT policies in a list with commas, in which a class stands for its pairs."""
    pairs = [pair for word in text.split(",") for pair in INPUTS.get(word, (word,))]
    for pair in pairs:
        if not set(pair.split("/")) <= {"drop", "reject", "accept"} or pair.count("/") != 1:
            raise argparse.ArgumentTypeError(f"{pair!r} is neither of {', '.join(INPUTS)} nor a pair like drop/accept")
    return list(dict.fromkeys(pairs))


def cells(kinds: Sequence[str], policies: Sequence[str]) -> list[tuple[Result, Scenario]]:
    """Every ordered pair of kinds under every pair of policies, with nothing run yet."""
    found = []
    for pair in policies:
        inputs = pair.split("/")
        for first in kinds:
            for second in kinds:
                sites = {name: Site(kind, input_policy=policy)
                         for name, kind, policy in zip("ab", (first, second), inputs)}
                found.append((Result(first, second, pair), Scenario(f"{first} with {second}, {pair}", sites)))
    return found


def extras() -> list[tuple[Result, Scenario]]:
    """The scenarios beside the matrix, with nothing run yet."""
    return [(Result(scenario.name, expected=scenario.expected), scenario) for scenario in EXTRAS]


def below(results: Sequence[Result], percent: float) -> list[Result]:
    """The results that are meant to connect and did so in fewer runs than that."""
    return [result for result in results if result.expected and result.rate < percent]


def _parser() -> argparse.ArgumentParser:
    summary_line, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary_line, epilog=details,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", type=selected_kinds, default=list(KINDS), metavar="KIND,…",
                        help=f"default: {','.join(KINDS)}; or none")
    parser.add_argument("--input", type=selected_policies, default=selected_policies("drop,accept,mixed"),
                        metavar="CLASS,…", help="what the routers' INPUT chains do: drop, accept, mixed (drop/accept "
                        "and accept/drop), or pairs; default: all three")
    parser.add_argument("--extra", action="store_true", help="also the scenarios that are no pair of kinds")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="runs of each pair, default 20")
    parser.add_argument("--timeout", type=float, default=5, metavar="S", help="seconds for one run, default 5")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="pairs at the same time, default: one per core")
    parser.add_argument("--client", default="{chat} --timeout {timeout_ms} {server} {session} 1", metavar="COMMAND",
                        help="default: %(default)s")
    parser.add_argument("--server-command", metavar="COMMAND", help="default: %(default)s",
                        default="{hp-server} --relay --other-address {ip2} {options} {address}:{port}")
    parser.add_argument("--server-option", action="append", default=[], metavar="WORD",
                        help="put in for {options}; can be repeated, --server-option=--name for one with dashes")
    parser.add_argument("--connected", default=Commands.connected, metavar="REGEX",
                        help="how the line begins by which a client says that it is connected; default: %(default)s")
    parser.add_argument("--talk", action="store_true", help="a run counts only if each side, given a line of input, "
                        "is heard by the other, as with chat")
    parser.add_argument("--stagger", type=float, default=0, metavar="MS", help="start the second client so much later")
    for name, unit, what in (("loss", "PERCENT", "UDP packets that the core loses"),
                             ("delay", "MS", "one-way delay of the core"),
                             ("jitter", "MS", "how much the delay varies"),
                             ("reorder", "PERCENT", "packets that overtake")):
        parser.add_argument(f"--{name}", type=float, default=0, metavar=unit, help=what)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw a heatmap there")
    parser.add_argument("--title", default="Which NATs connect", help="the heatmap's; default: %(default)s")
    parser.add_argument("--require", type=float, metavar="PERCENT",
                        help="exit status 1 if fewer runs of a pair connect that is meant to")
    return parser


def _run_all(work: Sequence[tuple[Result, Scenario]], options: argparse.Namespace, commands: Commands,
             impairment: dict[str, float]) -> None:
    stop, done, lock = threading.Event(), 0, threading.Lock()

    def run(number: int) -> None:
        nonlocal done
        result, scenario = work[number]
        label = f"matrix {os.getpid()}-{number}"
        for outcome in run_scenario(scenario, commands, options.runs, impairment, label, stop.is_set):
            result.runs.append(outcome)
        if stop.is_set():
            return
        with lock:
            done += 1
            median = f"median {milliseconds(result.median_ms)}, " if result.connected else ""
            print(f"{done}/{len(work)}  {scenario.name}: {result.connected} of {len(result.runs)}, "
                  f"{median}{result.remark}", file=sys.stderr, flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        pending = [pool.submit(run, number) for number in range(len(work))]
        try:
            for finished in concurrent.futures.as_completed(pending):
                finished.result()
        finally:
            # After an error, or a signal, what runs ends with its run and nothing else begins.
            stop.set()
            for waiting in pending:
                waiting.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    reason = unavailable()
    if reason:
        parser.exit(77, f"matrix: {reason}\n")
    if options.runs < 1 or options.jobs < 1 or options.timeout <= 0:
        parser.error("--runs, --jobs and --timeout must be positive")
    default_bin = Path(__file__).resolve().parents[2] / "build" / "bin"
    commands = Commands(options.client, options.server_command, Path(os.environ.get("HP_BIN", default_bin)),
                        options.server_option, options.connected, options.timeout, options.stagger / 1000, options.talk)
    impairment = {name: getattr(options, name) for name in ("loss", "delay", "jitter", "reorder")}
    work = cells(options.kinds, options.input) + (extras() if options.extra else [])
    if not work:
        parser.error("nothing to run: --kinds none goes with --extra")
    handle_signals()
    netns.sweep()
    try:
        _run_all(work, options, commands, impairment)
    except (LabError, ValueError, OSError) as error:
        parser.exit(2, f"matrix: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130)

    results = [result for result, _ in work]
    pairs = [result for result in results if result.second]
    print(table(results))
    for policies in dict.fromkeys(result.policies for result in pairs):
        print(f"\nINPUT {policies}: {summary([result for result in pairs if result.policies == policies])}")
    conditions = ", ".join(f"{name} {value:g}{' %' if name in ('loss', 'reorder') else ' ms'}"
                           for name, value in impairment.items() if value)
    if options.json:
        facts = {"runs": options.runs, "timeout_s": options.timeout, "stagger_ms": options.stagger, **impairment,
                 "client": options.client, "server": options.server_command, "server_options": options.server_option,
                 "talk": options.talk}
        options.json.write_text(json.dumps({"options": facts, "results": [result.as_json() for result in results]},
                                           indent=1) + "\n")
    if options.svg:
        subtitle = f"{options.runs} runs each, {options.timeout:g} s at most; {conditions or 'no delay or loss'}. " \
                   "Each cell: runs that connected, median time until both sides were."
        options.svg.write_text(svg(results, options.title, subtitle))
    if options.require is not None:
        failing = below(results, options.require)
        for result in failing:
            print(f"below {options.require:g} %: {result.first} {result.second} {result.policies}".rstrip())
        return 1 if failing else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
