"""How much `hp-server` serves, beside the least that a server can be and beside the Go server, in one and the same run.

    HP_BIN=DIR [HP_TOOLS=DIR] python3 benches/server.py [pinned] [shared] [many] [--rounds 15] [--ms 300]
        [--clients 16384] [--many 1000000] [--address [::]:0] [--json FILE]

HP_BIN holds hp-server, reflector and server_load, HP_TOOLS what tests/interop/build.sh builds. All is on loopback. The clients are
one program with one socket (server_load.c), two to a session, each with an address of its own in 127.0.0.0/8 and 29 bytes
of attributes. Programs take turns, so that all meet the same machine; a ratio is that of two turns in a row, and what is
shown is the median of the rounds, with the least and the most.

pinned  One worker on one processor, the generator on another that never sleeps; beside a reflector that answers the same
        datagrams with as many bytes and knows nothing (reflector.c). Then, at half the rate that hp-server reached, how
        long answers take both, each timed from when its request was due.
shared  Server and generator share all processors; beside the Go server (a stand-in where the real one cannot be had),
        which speaks the plain dialect only, and the reflector.
many    What a client costs a server with very many of them, where server and generator share all processors: resident
        bytes, and processor time for a datagram beside that of a server with 1024 clients. Then they fall silent together, and
        are forgotten. A machine that is too slow for so many heartbeats shows as fewer registered, and as refusals. What goes
        on for all of them meanwhile, such as 100,000 heartbeats or empty datagrams to plain clients a second, is among the
        `datagrams each`, so that an answer costs more where there are many, whatever a datagram costs.

What is asked for: *poll*, a plain client's datagram, answered by the list; *renewal*, a native Register with its cookie,
answered by Registered, and acknowledged only after the turn, so that one request is one answer (with 1024 clients, each of which
asks again before the server would repeat anything); *registration*, the same, acknowledged as clients do, so that two
datagrams are one answer; *presence*, a heartbeat, answered by PresenceAck.

Limits. On loopback whoever sends also does the kernel's work of delivery, so the generator uses about as much of its processor
as a bare server does of its own: where `busy` is well below 100 %, the generator was the limit, and the ratio of the
processor times says more than that of the throughputs. No network card, driver or interrupt takes part. On one IPv4 address
(--address 127.0.0.1:0) the kernel has less to do, for all alike. A shared machine moves all
absolute numbers, and the 99th percentile of anything. Resident bytes are those of a fresh process: an allocator that
gives nothing back shows in `soak.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from server_programs import Clients, Served, Workshop, processor_ns, resident_bytes, spread

_PARTS = ("pinned", "shared", "many")
_WHATS = (("poll", "plain"), ("renewal", "native"), ("registration", "native"), ("presence", "native"))
#: At most so many requests under way: enough that no server is ever idle, and too few to overrun a queue.
_WINDOW = 512
#: An acknowledgement is shorter than that, and a request that wants an answer longer, except heartbeats and polls.
_LEAST_REGISTER = 64
_FEW = 1024
#: A turn of the few is shorter than one of the many, who would have to be silent too long otherwise.
_MANY_TURNS = 4
_CATCH_UP_MS = 2500
_CHECKED = 10_000
#: A plain client is forgotten last, after 40 s.
_LONGEST_EXPIRY = 90.0
_QUIET = 0.02


@dataclass
class Variant:
    """One server under one kind of request, and what it achieved."""

    name: str
    clients: Clients = field(repr=False)
    per_second: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    #: Of the server's processor time, for one datagram, received or sent.
    nanoseconds: list[float] = field(default_factory=list)
    #: Datagrams to and from the server, for one answer: keep-alives, updates and heartbeats are among them.
    datagrams_each: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    answer_bytes: int = 0
    #: The generator was late by so much, at most; what was measured then says little.
    late_us: list[float] = field(default_factory=list)

    def take_turn(self, what: str, ms: int) -> None:
        """As many requests as there can be, for so long."""
        before = processor_ns(self.clients.server.pid)
        answered, lost, took, refused, self.answer_bytes, datagrams = self.clients.ask(f"rate {what} {ms} {_WINDOW}")
        used = processor_ns(self.clients.server.pid) - before
        self.per_second.append(answered * 1e9 / took)
        self.busy.append(used / took)
        self.nanoseconds.append(used / max(1, datagrams))
        self.datagrams_each.append(datagrams / max(1, answered))
        self.lost += lost
        self.refused += refused

    def time_answers(self, what: str, ms: int, per_second: int) -> None:
        """Requests at a fixed rate, for so long."""
        answered, sent, p50, p99, _, _, late = self.clients.ask(f"latency {what} {ms} {per_second}")
        self.p50_us.append(p50 / 1000)
        self.p99_us.append(p99 / 1000)
        self.late_us.append(late / 1000)
        self.lost += sent - answered

    def record(self) -> dict[str, Any]:
        """All that was measured."""
        return {**asdict_without(self, "clients"), "dialect": self.clients.dialect}


def asdict_without(value: Any, name: str) -> dict[str, Any]:
    """A dataclass as a dictionary, but for one field that is no data."""
    return {key: entry for key, entry in vars(value).items() if key != name}


@dataclass
class Fate:
    """What very many clients cost, and how they were forgotten."""

    dialect: str
    registered: int
    seconds: float
    resident_each: float
    #: From when the last one was heard.
    forgotten_after: float | None = None
    processor_seconds: float = 0
    busiest: float = 0
    most_resident: int = 0
    resident_after: int = 0
    still_registered: int | None = None


class Bench:
    """The measurements of one run."""

    def __init__(self, workshop: Workshop, options: argparse.Namespace) -> None:
        self.workshop = workshop
        self.address: str = options.address
        self.rounds = max(1, options.rounds)
        self.ms = max(10, options.ms)
        self.clients = max(2, options.clients)
        self.many = max(2 * _FEW, options.many)
        self.results: dict[str, Any] = {}

    def populated(self, server: Served, dialect: str, processor: int | None, count: int, *, bare: bool = False) -> Variant:
        """A server's variant, with its clients registered."""
        clients = self.workshop.clients(server, dialect, processor, bare=bare)
        clients.ask(f"populate {count} 2 {_WINDOW}")
        return Variant(server.name, clients)

    def with_reflector(self, ours: Variant, what: str, processor: int | None, threads: int) -> Variant:
        """The bare variant that answers as many bytes as ours does, which has one turn for nothing to show how many."""
        ours.take_turn(what, 100)
        size = ours.answer_bytes
        for values in (ours.per_second, ours.busy, ours.nanoseconds, ours.datagrams_each):
            values.clear()
        least = _LEAST_REGISTER if what in ("renewal", "registration") else 0
        other = None if processor is None else 1 - processor
        server = self.workshop.reflector(self.address, other, threads, size, least)
        count = min(_FEW, self.clients) if what == "renewal" else self.clients
        return self.populated(server, ours.clients.dialect, processor, count, bare=True)

    def pinned(self) -> None:
        """One worker and the generator, each on a processor of its own."""
        for what, dialect in _WHATS:
            server = self.workshop.hp_server(self.address, 1, 1, self.clients)
            # Nobody acknowledges a renewal in time, so each client must ask again before it would be told again.
            count = min(_FEW, self.clients) if what == "renewal" else self.clients
            ours = self.populated(server, dialect, 0, count)
            bare = self.with_reflector(ours, what, 0, 1)
            for _ in range(self.rounds):
                for variant in (bare, ours):
                    variant.take_turn(what, self.ms)
            print(rates(f"one worker, {what} ({dialect}), {ours.answer_bytes} B answers", bare, ours))
            if what != "renewal":
                half = int(median(ours.per_second) / 2)
                for _ in range(self.rounds):
                    for variant in (bare, ours):
                        variant.time_answers(what, self.ms, half)
                print(latencies(half, bare, ours))
            print(flush=True)
            self.results[f"pinned {what}"] = [bare.record(), ours.record()]
            self.workshop.end(*(program for v in (ours, bare) for program in (v.clients.program, v.clients.server.program)))

    def shared(self) -> None:
        """Servers and generators on all processors."""
        workers = len(os.sched_getaffinity(0))
        ours = self.populated(self.workshop.hp_server(self.address, None, workers, self.clients), "plain", None, self.clients)
        variants = [self.with_reflector(ours, "poll", None, workers)]
        go_server = self.workshop.go_server(self.address)
        if go_server is None:
            print("HP_TOOLS holds no Go server; it is left out")
        else:
            variants.append(self.populated(go_server, "plain", None, self.clients))
        for _ in range(self.rounds):
            for variant in (*variants, ours):
                variant.take_turn("poll", self.ms)
        for other in variants:
            print(rates(f"all processors shared with the generator, poll (plain), beside the {other.name}", other, ours),
                  end="\n\n", flush=True)
        self.results["shared poll"] = [variant.record() for variant in (*variants, ours)]
        self.workshop.end(*(program for v in (ours, *variants) for program in (v.clients.program, v.clients.server.program)))

    def many_clients(self) -> None:
        """Very many clients in either dialect, beside a few."""
        for dialect, whats in (("native", ("presence", "registration")), ("plain", ("poll",))):
            # A million heartbeats every 10 s take all the processors that there are.
            workers = len(os.sched_getaffinity(0))
            server = self.workshop.hp_server(self.address, None, workers, self.many)
            before = resident_bytes(server.pid)
            many = Variant("many clients", self.workshop.clients(server, dialect, None))
            registered, took, *_ = many.clients.ask(f"populate {self.many} 2 {_WINDOW}")
            many.clients.ask(f"hold 1000 {_WINDOW}")
            each = (resident_bytes(server.pid) - before) / max(1, registered)
            fate = Fate(dialect, registered, took / 1e9, each)
            print(f"{registered:,} of {self.many:,} {dialect} clients, two to a session, registered in {fate.seconds:.1f} s:"
                  f" {each:.0f} resident bytes each", flush=True)
            few_server = self.workshop.hp_server(self.address, None, workers, _FEW)
            few = self.populated(few_server, dialect, None, _FEW)
            few.name = f"{_FEW} clients"
            # A round of heartbeats, so that nobody has been silent for long when the turns begin.
            many.clients.ask(f"hold {12_000 if dialect == 'native' else 1000} {_WINDOW}")
            for what in whats:
                pair = [Variant(v.name, v.clients) for v in (few, many)]
                for _ in range(self.rounds):
                    pair[0].take_turn(what, self.ms)
                    # Who had to be silent meanwhile is heard first, or else the turn would measure that.
                    many.clients.ask(f"hold {_CATCH_UP_MS} {_WINDOW}")
                    pair[1].take_turn(what, _MANY_TURNS * self.ms)
                print(rates(f"{what} ({dialect}), all processors shared with the generator", *pair), end="\n\n", flush=True)
                self.results[f"many {what}"] = [variant.record() for variant in pair]
            self.workshop.end(few.clients.program, few_server.program)
            many.clients.ask(f"hold 4000 {_WINDOW}")
            self.watch_expiry(many.clients, fate)
            self.results[f"many {dialect}"] = asdict(fate)
            self.workshop.end(many.clients.program, server.program)

    def watch_expiry(self, clients: Clients, fate: Fate) -> None:
        """From now on nobody says anything. Who is gone is known from the metrics, or else from the server being at rest."""
        server = clients.server
        begin = last = time.monotonic()
        first = before = processor_ns(server.pid)
        expiry = 14.0 if fate.dialect == "native" else 39.0
        # A server that says nothing of itself has kept NATs' mappings alive until then.
        quiet_since: float | None = None
        while last - begin < _LONGEST_EXPIRY and fate.forgotten_after is None:
            time.sleep(0.25)
            now, used = time.monotonic(), processor_ns(server.pid)
            busy = (used - before) / 1e9 / (now - last)
            fate.busiest = max(fate.busiest, busy)
            fate.most_resident = max(fate.most_resident, resident_bytes(server.pid))
            last, before = now, used
            gauges = [v for name, v in server.metrics().items()
                      if "endpoints" in name and "limit" not in name and "_total" not in name]
            if gauges:
                fate.forgotten_after = now - begin if max(gauges) == 0 else None
            elif now - begin > expiry and busy < _QUIET:
                quiet_since = now if quiet_since is None else quiet_since
                fate.forgotten_after = quiet_since - begin if now - quiet_since > 2 else None
            else:
                quiet_since = None
        fate.processor_seconds = (processor_ns(server.pid) - first) / 1e9
        fate.resident_after = resident_bytes(server.pid)
        if fate.dialect == "native":
            fate.still_registered = clients.ask(f"check {_CHECKED}")[0]
        when = "not all of them" if fate.forgotten_after is None else f"all after {fate.forgotten_after:.1f} s of silence"
        still = "" if fate.still_registered is None else f" ({fate.still_registered} of {_CHECKED:,} asked are still there)"
        print(f"forgotten: {when}{still}; it took {fate.processor_seconds:.1f} s of a processor, {fate.busiest:.0%} of one at most,"
              f" {fate.most_resident >> 20} MiB at most, {fate.resident_after >> 20} MiB afterwards\n", flush=True)


def ratios(bare: list[float], ours: list[float]) -> list[float]:
    """Each of two turns in a row."""
    return [mine / theirs for mine, theirs in zip(ours, bare)]


def rates(title: str, bare: Variant, ours: Variant) -> str:
    """Both programs as lines, and the medians of the rounds' ratios."""
    ratio_name = f"{ours.name} / {bare.name}"
    width = len(ratio_name)
    lines = [title, f"  {'':{width}}   answers/s   busy   datagrams each   ns a datagram"]
    for variant in (bare, ours):
        lines.append(f"  {variant.name:{width}} {median(variant.per_second):11,.0f} {median(variant.busy):6.0%}"
                     f" {median(variant.datagrams_each):16.2f} {median(variant.nanoseconds):15.0f}"
                     + (f"   {variant.lost} late or lost" if variant.lost else "")
                     + (f"   {variant.refused} refused" if variant.refused else ""))
    lines.append(f"  {ratio_name}   throughput {spread(ratios(bare.per_second, ours.per_second))},"
                 f" processor time a datagram {spread(ratios(bare.nanoseconds, ours.nanoseconds))}")
    return "\n".join(lines)


def latencies(per_second: int, bare: Variant, ours: Variant) -> str:
    """How long answers took both at the same rate."""
    lines = [f"  answers to {per_second:,} requests a second, us"]
    for variant in (bare, ours):
        lines.append(f"    {variant.name:14} p50 {spread(variant.p50_us, 0)}, p99 {spread(variant.p99_us, 0)};"
                     f" the generator was {median(variant.late_us):,.0f} late at most")
    lines.append(f"    p99, {ours.name} / {bare.name}: {spread(ratios(bare.p99_us, ours.p99_us))}")
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(_PARTS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=15, help="how often each program has its turn")
    parser.add_argument("--ms", type=int, default=300, help="how long a turn is")
    parser.add_argument("--clients", type=int, default=16384, help="how many are registered where it is not very many")
    parser.add_argument("--many", type=int, default=1_000_000, help="how many are very many")
    parser.add_argument("--address", default="[::]:0",
                        help="where hp-server and what it is compared with listen; 127.0.0.1 must be part of it")
    parser.add_argument("--json", metavar="FILE", help="where to write all that was measured")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"there is no part {' or '.join(sorted(unknown))}")
    directory = Path(os.environ.get("HP_BIN", "")).absolute()
    missing = [name for name in ("hp-server", "reflector", "server_load") if not (directory / name).is_file()]
    if missing:
        sys.exit(f"bench: HP_BIN must hold {' and '.join(missing)}")
    tools = os.environ.get("HP_TOOLS")
    begin = time.monotonic()
    with Workshop(directory, Path(tools).absolute() if tools else None) as workshop:
        bench = Bench(workshop, options)
        measures = {"pinned": bench.pinned, "shared": bench.shared, "many": bench.many_clients}
        for part in options.parts or _PARTS:
            measures[part]()
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, {platform.machine()}"
    print(f"{machine}; {time.monotonic() - begin:.0f} s in all.")
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine, **bench.results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
