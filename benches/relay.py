"""How much `hp-server --relay` forwards, beside the least that a relay can be, in one and the same run.

    HP_BIN=DIR python3 benches/relay.py [--rounds 15] [--ms 300] [--address [::]:0] [--json FILE]

HP_BIN holds hp-server, relay_load and forwarder. All is on loopback, one pair, one way. The pair has met through the
library, and its two sockets are generator and sink for both programs, which take turns, so that both meet the same
machine. What forwards has one processor, the generator and the sink have another.

`busy` is the share of that processor that the program used. Where it is well below 100 %, something else was the limit,
and the ratio of the processor times per datagram says more than that of the throughputs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "lab"))

from programs import PIPES, Program  # noqa: E402  (it is found only now)

_SIZES = (64, 1200)


@dataclass
class Variant:
    """One program that forwards, and what it achieved with datagrams of one size."""

    name: str
    pid: int
    port: int
    per_second: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    #: Of the processor's time, for one datagram.
    nanoseconds: list[float] = field(default_factory=list)
    #: Datagrams that had not arrived when nothing had for a while.
    lost: int = 0


def start(argv: Sequence[str], processor: int) -> subprocess.Popen[str]:
    """The program on one processor; it counts its processors when it starts, so it must have it by then."""
    available = sorted(os.sched_getaffinity(0))
    chosen = {available[processor % len(available)]}
    return subprocess.Popen(argv, **PIPES, preexec_fn=lambda: os.sched_setaffinity(0, chosen))


def processor_ns(pid: int) -> int:
    """The processor time that all threads of a process have had."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def measure(load: Program, variant: Variant, size: int, ms: int, number: int) -> None:
    """One measurement; the load's line number `number` answers it."""
    before = processor_ns(variant.pid)
    load.say(f"{variant.port} {size} {ms}")
    deadline = time.monotonic() + ms / 1000 + 10
    while len(load.output) <= number:
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing was measured\n{load.transcript}")
        time.sleep(0.01)
    arrived, lost, took = (int(word) for word in load.output[number].split()[1:])
    used = processor_ns(variant.pid) - before
    variant.per_second.append(arrived * 1e9 / took)
    variant.busy.append(used / took)
    variant.nanoseconds.append(used / max(1, arrived))
    variant.lost += lost


def table(size: int, bare: Variant, relay: Variant) -> str:
    """Both programs as lines, and the medians of the rounds' ratios."""
    ratio_name = f"{relay.name} / {bare.name}"
    lines = [f"relay, {size} B", f"  {'':{len(ratio_name)}}  datagrams/s    Mbit/s   busy   ns each"]
    for variant in (bare, relay):
        speed = median(variant.per_second)
        lines.append(f"  {variant.name:{len(ratio_name)}} {speed:12,.0f} {speed * size * 8 / 1e6:9,.0f}"
                     f" {median(variant.busy):6.0%} {median(variant.nanoseconds):9.0f}"
                     + (f"   {variant.lost} late or lost" if variant.lost else ""))
    speeds, costs = ratios(bare, relay)
    lines.append(f"  {ratio_name} {speeds:11.2f}x {'':9} {'':6} {costs:8.2f}x")
    return "\n".join(lines)


def ratios(bare: Variant, relay: Variant) -> tuple[float, float]:
    """Throughput and processor time, each the median of what two measurements in a row make."""
    speeds = median(ours / theirs for ours, theirs in zip(relay.per_second, bare.per_second))
    return speeds, median(ours / theirs for ours, theirs in zip(relay.nanoseconds, bare.nanoseconds))


def run(directory: Path, address: str, rounds: int, ms: int, programs: list[Program]) -> dict[int, list[Variant]]:
    """Start everything, and take turns. The programs are the caller's to end."""
    def program(name: str, processor: int, *arguments: str) -> Program:
        programs.append(Program(name, start([str(directory / name), *arguments], processor)))
        return programs[-1]

    server = program("hp-server", 1, address, "--relay", "--relay-rate", "0", "--drain", "0s")
    at = server.wait_for(r".*listening on \S+:(\d+) .*", on_stderr=True)
    load = program("relay_load", 0, f"127.0.0.1:{at[1]}")
    relay_port, *ends = load.wait_for(r"pair (\d+) (\d+) (\d+)").groups()
    forwarder = program("forwarder", 1, *ends)
    bare_port = forwarder.wait_for(r"ports (\d+) (\d+)")[1]

    results: dict[int, list[Variant]] = {}
    number = 1
    for size in _SIZES:
        results[size] = [Variant("bare forwarder", forwarder.process.pid, int(bare_port)),
                         Variant("hp-server --relay", server.process.pid, int(relay_port))]
        for _ in range(rounds):
            for variant in results[size]:
                measure(load, variant, size, ms, number)
                number += 1
        print(table(size, *results[size]), end="\n\n", flush=True)
    return results


def main() -> int:
    """Run the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how often each program has its turn")
    parser.add_argument("--ms", type=int, default=300, help="how long a turn is")
    parser.add_argument("--address", default="[::]:0", help="where hp-server listens; 127.0.0.1 must be part of it")
    parser.add_argument("--json", metavar="FILE", help="where to write all that was measured")
    options = parser.parse_args()
    directory = Path(os.environ.get("HP_BIN", "")).absolute()
    missing = [name for name in ("hp-server", "relay_load", "forwarder") if not (directory / name).is_file()]
    if missing:
        sys.exit(f"bench: HP_BIN must hold {' and '.join(missing)}")
    begin = time.monotonic()
    programs: list[Program] = []
    try:
        results = run(directory, options.address, max(1, options.rounds), max(1, options.ms), programs)
    finally:
        for program in reversed(programs):
            program.process.kill()
            program.wait()
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, {platform.machine()}"
    print(f"{machine}; {time.monotonic() - begin:.0f} s in all.")
    if options.json:
        document = {"machine": machine, "sizes": {size: [asdict(v) for v in vs] for size, vs in results.items()}}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
