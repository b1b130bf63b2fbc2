"""Run two clients against each other behind every ordered pair of NAT kinds, and report which of them connect.

    HP_BIN=build/bin python3 tests/natlab/matrix.py --runs 20 --extra --json nat-matrix.json --svg nat-matrix.svg
    python3 tests/natlab/matrix.py --kinds home,adm --input drop --client 'my-client --server {server} {session}' \\
        --server-command 'my-server --listen {address}:{port}'

Commands are split as a shell does it, without running one. In both, {NAME} is the program NAME in HP_BIN (or
build/bin), {address} and {port} are the server's, IPv6 addresses in brackets. The client's command may hold {server}
({address}:{port}), {session} (a name that the two clients of a run share), {side} (a or b), {timeout_ms} and
{timeout_s}; the server's {address2} (its second address; {ip2} without brackets) and {options}, where --server-option
goes.

Another make of client can be tried --beside the first, in the same laboratories and the same run, each time after it
and with a server of its own. {NAME} is then also looked for in HP_TOOLS, where tests/interop/build.sh builds:

    HP_TOOLS=build/interop python3 tests/natlab/matrix.py --beside-server '{standin-server} {address}:{port}' \\
        --beside 'Go stand-in={standin-client} -timeout {timeout_s}s {server} {session} 1'

A client counts as connected once it prints a line that --connected matches; the default knows `connected <peers> <ms>`
and the lines of `timed_connect`. `peer <i> <endpoint> <path>` lines before that name the path, and a run is relayed if
one says `relayed`. A client that prints `ready` gets a line of input when both have. It is ended with SIGTERM.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import netns
from matrix_picture import svg
from matrix_report import Result, short, summary, table
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


def named_command(text: str) -> tuple[str, str]:
    """A client's name and its command line, from NAME=COMMAND."""
    name, _, command = (part.strip() for part in text.partition("="))
    if not name or not command:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    return name, command


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
                        default="{hp-server} --relay --drain 0s --other-address {ip2} {options} {address}:{port}")
    parser.add_argument("--server-option", action="append", default=[], metavar="WORD",
                        help="put in for {options}; can be repeated, --server-option=--name for one with dashes")
    parser.add_argument("--connected", default=Commands.connected, metavar="REGEX",
                        help="how the line begins by which a client says that it is connected; default: %(default)s")
    parser.add_argument("--talk", action="store_true", help="a run counts only if each side, given a line of input, "
                        "is heard by the other, as with chat")
    parser.add_argument("--name", default="ours", help="what to call the client where there is another beside it")
    parser.add_argument("--beside", type=named_command, metavar="NAME=COMMAND",
                        help="another make of client, run after the first in each laboratory; the name without what it "
                        "says in parentheses heads its column. --require does not concern it")
    parser.add_argument("--beside-server", metavar="COMMAND", help="its server's; default: the first one's")
    parser.add_argument("--beside-runs", type=int, default=5, metavar="N", help="its runs of each pair, default 5")
    parser.add_argument("--beside-timeout", type=float, metavar="S", help="its seconds for one run, default: --timeout")
    parser.add_argument("--beside-connected", metavar="REGEX", help="its way to say so; default: --connected")
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


def _contenders(options: argparse.Namespace) -> list[tuple[Commands, int]]:
    """The client, and the one beside it if there is one, with how often to run each."""
    programs = [Path(os.environ.get("HP_BIN", Path(__file__).resolve().parents[2] / "build" / "bin"))]
    if os.environ.get("HP_TOOLS"):
        programs.append(Path(os.environ["HP_TOOLS"]))
    ours = Commands(options.client, options.server_command, programs, options.server_option, options.connected,
                    options.timeout, options.stagger / 1000, options.talk)
    if not options.beside:
        return [(ours, options.runs)]
    theirs = dataclasses.replace(ours, client=options.beside[1], connected=options.beside_connected or ours.connected,
                                 timeout=options.beside_timeout)
    if options.beside_server:
        theirs = dataclasses.replace(theirs, server=options.beside_server, server_options=())
    return [(ours, options.runs), (theirs, options.beside_runs)]


def _run_all(work: Sequence[tuple[Result, Scenario]], options: argparse.Namespace,
             contenders: Sequence[tuple[Commands, int]], impairment: dict[str, float]) -> None:
    stop, done, lock = threading.Event(), 0, threading.Lock()

    def run(number: int) -> None:
        nonlocal done
        result, scenario = work[number]
        label = f"matrix {os.getpid()}-{number}"
        both = [result, Result(result.first, result.second, result.policies, expected=result.expected)]
        if len(contenders) > 1:
            result.beside = both[1]
        for position, outcome in run_scenario(scenario, contenders, impairment, label, stop.is_set):
            both[position].runs.append(outcome)
        if stop.is_set():
            return
        with lock:
            done += 1
            words = result.brief if not result.beside else (
                f"{short(options.name)} {result.brief} | {short(options.beside[0])} {result.beside.brief}")
            print(f"{done}/{len(work)}  {scenario.name}: {words}", file=sys.stderr, flush=True)

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


def _report(results: Sequence[Result], options: argparse.Namespace, impairment: dict[str, float]) -> None:
    beside = options.beside[0] if options.beside else ""
    pairs = [result for result in results if result.second]
    print(table(results, beside))
    for policies in dict.fromkeys(result.policies for result in pairs):
        those = [result for result in pairs if result.policies == policies]
        print(f"\nINPUT {policies}: {summary(those)}")
        if beside:
            print(f"  {beside}: {summary([result.beside for result in those if result.beside])}")
    if options.json:
        facts = {"runs": options.runs, "timeout_s": options.timeout, "stagger_ms": options.stagger, **impairment,
                 "client": options.client, "server": options.server_command, "server_options": options.server_option,
                 "talk": options.talk}
        if beside:
            facts |= {"name": options.name, "beside": {
                "name": beside, "runs": options.beside_runs, "timeout_s": options.beside_timeout,
                "client": options.beside[1], "server": options.beside_server or options.server_command}}
        options.json.write_text(json.dumps({"options": facts, "results": [result.as_json() for result in results]},
                                           indent=1) + "\n")
    if options.svg:
        options.svg.write_text(svg(results, options.title, _subtitle(options, impairment),
                                   (options.name, beside) if beside else ("", "")))


def _subtitle(options: argparse.Namespace, impairment: dict[str, float]) -> list[str]:
    """What the heatmap shows, in lines."""
    conditions = ", ".join(f"{name} {value:g}{' %' if name in ('loss', 'reorder') else ' ms'}"
                           for name, value in impairment.items() if value) or "no delay or loss"
    limit = f"{options.timeout:g} s at most"
    if not options.beside:
        return [f"{options.runs} runs each, {limit}; {conditions}. Each cell: runs that connected, median time until "
                "both sides were."]
    return [f"Each cell, above: {options.name}, {options.runs} runs, {limit}: how many connected, and the median time "
            "until both sides were.",
            f"Below: {options.beside[0]}, {options.beside_runs} runs, {options.beside_timeout:g} s at most, with its "
            "own server:", f"the median time where every run connected, else how many did. {conditions.capitalize()}."]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    reason = unavailable()
    if reason:
        parser.exit(77, f"matrix: {reason}\n")
    if not options.beside and (options.beside_server or options.beside_timeout or options.beside_connected):
        parser.error("the other --beside options go with --beside")
    if options.beside_timeout is None:
        options.beside_timeout = options.timeout
    if min(options.runs, options.beside_runs, options.jobs) < 1 or min(options.timeout, options.beside_timeout) <= 0:
        parser.error("runs, jobs and timeouts must be positive")
    contenders = _contenders(options)
    impairment = {name: getattr(options, name) for name in ("loss", "delay", "jitter", "reorder")}
    work = cells(options.kinds, options.input) + (extras() if options.extra else [])
    if not work:
        parser.error("nothing to run: --kinds none goes with --extra")
    handle_signals()
    netns.sweep()
    try:
        _run_all(work, options, contenders, impairment)
    except (LabError, ValueError, OSError) as error:
        parser.exit(2, f"matrix: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130)

    _report([result for result, _ in work], options, impairment)
    if options.require is not None:
        failing = below([result for result, _ in work], options.require)
        for result in failing:
            print(f"below {options.require:g} %: {result.first} {result.second} {result.policies}".rstrip())
        return 1 if failing else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
