"""A day's coming and going in minutes: whether `hp-server` needs more and more memory, or comes to a halt.

    HP_BIN=DIR python3 benches/soak.py [--minutes 20] [--packets 1000000000] [--clients 50000] [--per-second 20000]

HP_BIN holds hp-server and server_load. Two generators, one for each dialect, have so many clients and do so many things a
second: of those that are there, most say so, some register again, some leave, and some fall silent and are forgotten; those
that are not there join, under a new name and in a new session unless somebody waits for them in the old one. In a usual run
some five million registrations come and go.

Every 10 s one line says what the server has in memory and has counted. It ends after so many minutes, or when server and
clients have sent so many datagrams, whichever comes first. Then everybody falls silent, and the server must forget them all.
What matters is the slope of the memory after the first quarter (at least a minute): until then those who have fallen silent
add up. It exits with 1 if the server has ended, did not forget everybody, or answered nothing for 10 s.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from server_programs import Clients, Served, Workshop, processor_ns, resident_bytes

_STEP_MS = 10_000
_WINDOW = 256
#: A plain client is forgotten after 40 s.
_ALL_FORGOTTEN = 60.0
_SHOWN = ("endpoints", "sessions", "failed", "kernel", "limited", "shed", "memory", "repeated")


@dataclass
class Sample:
    """The server at one time."""

    seconds: float
    packets: int
    answers: int
    resident: int


def slope(samples: list[Sample]) -> float:
    """Bytes a second, by least squares."""
    mean_x = sum(s.seconds for s in samples) / len(samples)
    mean_y = sum(s.resident for s in samples) / len(samples)
    across = sum((s.seconds - mean_x) ** 2 for s in samples)
    return sum((s.seconds - mean_x) * (s.resident - mean_y) for s in samples) / across if across else 0.0


def step(generators: list[Clients], ms: int, per_second: int) -> list[int]:
    """Everybody comes and goes for a while; returns the sums of what they counted."""
    lines = [clients.say(f"churn {ms} {per_second}") for clients in generators]
    counted = [clients.answer(line, ms / 1000 + 60) for clients, line in zip(generators, lines)]
    if None in counted:
        raise AssertionError("a generator has come to a halt")
    return [sum(column) for column in zip(*(row for row in counted if row is not None))]


def sample(server: Served, generators: list[Clients], begin: float) -> Sample:
    """What there is now."""
    totals = [clients.ask("totals") for clients in generators]
    return Sample(time.monotonic() - begin, sum(sent + received for sent, _, received in totals),
                  sum(received for _, _, received in totals), resident_bytes(server.pid))


def metrics_of(server: Served) -> str:
    """Those of the server's own figures that say whether something goes wrong."""
    figures = server.metrics()
    return "".join(f" {name}={value:.0f}" for name, value in figures.items() if any(word in name for word in _SHOWN))


def run(workshop: Workshop, options: argparse.Namespace) -> list[str]:
    """The whole day; returns what went wrong."""
    server = workshop.hp_server(options.address, None, len(os.sched_getaffinity(0)), 8 * options.clients)
    generators = [workshop.clients(server, dialect, None) for dialect in ("native", "plain")]
    for clients in generators:
        clients.ask(f"populate {options.clients} 2 {_WINDOW}")
    begin = time.monotonic()
    samples = [sample(server, generators, begin)]
    wrong: list[str] = []
    sums = [0, 0, 0, 0]
    while samples[-1].seconds < 60 * options.minutes and samples[-1].packets < options.packets and not wrong:
        left_ms = int(1000 * (60 * options.minutes - samples[-1].seconds))
        counted = step(generators, max(100, min(_STEP_MS, left_ms)), options.per_second)
        if server.program.process.poll() is not None:
            return [*wrong, f"the server has ended\n{server.program.transcript}"]
        sums = [sum(pair) for pair in zip(sums, counted)]
        samples.append(sample(server, generators, begin))
        now, before = samples[-1], samples[-2]
        if now.answers == before.answers:
            wrong.append("the server answers nothing")
        print(f"{now.seconds:7.0f} s  {now.packets / 1e6:9.1f} M datagrams  {now.resident / 1024:9,.0f} KiB "
              f" {counted[4]:,} clients, refused {counted[3]:,}{metrics_of(server)}", flush=True)
    last = samples[-1].seconds
    steady = [s for s in samples if s.seconds >= max(last / 4, min(60.0, last / 2))]
    used = processor_ns(server.pid) / 1e9
    print(f"joined {sums[0]:,}, left {sums[1]:,}, fell silent {sums[2]:,}; {used:.0f} s of a processor for"
          f" {samples[-1].packets:,} datagrams")
    if len(steady) > 1:
        each = slope(steady)
        print(f"memory once that was steady: from {steady[0].resident / 1024:,.0f} to {steady[-1].resident / 1024:,.0f} KiB,"
              f" at most {max(s.resident for s in steady) / 1024:,.0f}; slope {each * 60 / 1024:+,.1f} KiB a minute,"
              f" {each * 86400 / 2**20:+,.1f} MiB a day at this pace", flush=True)
    time.sleep(_ALL_FORGOTTEN)
    print(f"all silent for {_ALL_FORGOTTEN:.0f} s: {resident_bytes(server.pid) / 1024:,.0f} KiB{metrics_of(server)}")
    server.program.process.send_signal(signal.SIGINT)
    server.program.wait()
    at_end = re.search(r"served .*", server.program.errors)
    print(at_end[0] if at_end else server.program.transcript)
    if at_end and not re.search(r"\b0 endpoints in 0 sessions", at_end[0]):
        wrong.append("the server has not forgotten everybody")
    return wrong


def main() -> int:
    """Run the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="longest time")
    parser.add_argument("--packets", type=int, default=1_000_000_000, help="most datagrams")
    parser.add_argument("--clients", type=int, default=50_000, help="in each dialect")
    parser.add_argument("--per-second", type=int, default=20_000, help="what clients do, in each dialect")
    parser.add_argument("--address", default="[::]:0", help="where hp-server listens; 127.0.0.1 must be part of it")
    options = parser.parse_args()
    directory = Path(os.environ.get("HP_BIN", "")).absolute()
    missing = [name for name in ("hp-server", "server_load") if not (directory / name).is_file()]
    if missing:
        sys.exit(f"bench: HP_BIN must hold {' and '.join(missing)}")
    with Workshop(directory, None) as workshop:
        wrong = run(workshop, options)
    for what in wrong:
        print(f"soak: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
