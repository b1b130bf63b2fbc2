"""What the matrix has found, as numbers, as a table and as JSON."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

DIRECT, RELAYED, FAILED = "direct", "relayed", "failed"


@dataclass(frozen=True)
class Run:
    """One attempt of two clients to reach each other."""

    outcome: str
    #: Milliseconds until both sides were connected; for a failure, until the first side gave up, if one did.
    ms: float | None = None
    #: How each side says it reaches the other.
    paths: tuple[str, ...] = ()
    #: What the clients said when they failed.
    reason: str = ""


@dataclass
class Result:
    """All runs of one pair of networks."""

    first: str
    #: Empty for a scenario that is not a pair of kinds; `first` then is its name.
    second: str = ""
    #: What the two routers' INPUT chains do, "drop/accept".
    policies: str = ""
    runs: list[Run] = field(default_factory=list)
    #: Whether the two are meant to reach each other.
    expected: bool = True
    #: What another make of client came to in the same laboratory.
    beside: Result | None = None

    def count(self, outcome: str) -> int:
        """How many runs ended so."""
        return sum(run.outcome == outcome for run in self.runs)

    @property
    def connected(self) -> int:
        """How many runs connected, one way or the other."""
        return len(self.runs) - self.count(FAILED)

    @property
    def rate(self) -> float:
        """Percentage of runs that connected."""
        return 100 * self.connected / len(self.runs) if self.runs else 0.0

    @property
    def times(self) -> list[float]:
        """How long the runs took that connected, or if none did, the ones that gave up; shortest first."""
        return sorted(run.ms for run in self.runs
                      if run.ms is not None and (run.outcome != FAILED or not self.connected))

    @property
    def median_ms(self) -> float | None:
        """Of `times`."""
        return statistics.median(self.times) if self.times else None

    @property
    def p90_ms(self) -> float | None:
        """Of `times`: the time that nine out of ten did not exceed."""
        return percentile(self.times, 90) if self.times else None

    @property
    def paths(self) -> Counter[str]:
        """How often a side named which path."""
        return Counter(path for run in self.runs for path in run.paths)

    @property
    def reasons(self) -> Counter[str]:
        """Why runs failed, in the clients' words."""
        return Counter(run.reason for run in self.runs if run.reason)

    @property
    def remark(self) -> str:
        """The paths, or where nothing connected, when the clients gave up and why."""
        if self.connected:
            return ", ".join(path for path, _ in self.paths.most_common())
        after = f"after {milliseconds(self.median_ms)} " if self.times else ""
        return after + self.complaint

    @property
    def complaint(self) -> str:
        """What the clients said most often when they failed; empty if they never did."""
        return "".join(reason for reason, _ in self.reasons.most_common(1))

    @property
    def brief(self) -> str:
        """All of it in a few words: "20/20 direct p50 6 ms", or how often nothing came of it, and why."""
        share, relayed = f"{self.connected}/{len(self.runs)}", self.count(RELAYED)
        if not self.connected:
            return f"{share} {self.remark}".rstrip()
        how = DIRECT if not relayed else f"({relayed} {RELAYED})" if relayed < self.connected else RELAYED
        return f"{share} {how} p50 {milliseconds(self.median_ms)}"

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        pair = {"first": self.first, "second": self.second, "input": self.policies} if self.second else {
            "scenario": self.first, "expected": self.expected}
        return {**pair, **self._numbers(), **({"beside": self.beside._numbers()} if self.beside else {})}

    def _numbers(self) -> dict[str, Any]:
        return {"runs": len(self.runs), "direct": self.count(DIRECT), "relayed": self.count(RELAYED),
                "failed": self.count(FAILED), "rate": round(self.rate, 1), "median_ms": _rounded(self.median_ms),
                "p90_ms": _rounded(self.p90_ms), "times_ms": [_rounded(ms) for ms in self.times],
                "paths": dict(self.paths), "reasons": dict(self.reasons)}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def short(name: str) -> str:
    """A client's name without what it says in parentheses, for where there is little room."""
    return name.partition(" (")[0]


def table(results: Iterable[Result], beside: str = "") -> str:
    """One line for each result; `beside` is the name of the other make of client, if there is one."""
    other = short(beside)
    head = ("first", "second", "input", "rate", "direct", "relayed", "median", "p90",
            *((other, "median", "p90") if other else ()), "path, or what went wrong")
    rows = [head]
    for result in results:
        columns = [result.first, result.second or "-", result.policies or "-", f"{result.rate:.0f} %",
                   str(result.count(DIRECT)), str(result.count(RELAYED)), *_times(result)]
        remark = result.remark
        if other:
            theirs = result.beside or Result(result.first)
            columns += [f"{theirs.rate:.0f} %" if theirs.runs else "-", *_times(theirs)]
            if theirs.complaint:
                remark += f" | {other}: {theirs.complaint if theirs.connected else theirs.remark}"
        rows.append((*columns, remark))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    return "\n".join("  ".join([*(text.ljust(width) if column < 3 else text.rjust(width)
                                  for column, (text, width) in enumerate(zip(row, widths))), row[-1]]).rstrip()
                     for row in rows)


def _times(result: Result) -> list[str]:
    return [milliseconds(ms if result.connected else None) for ms in (result.median_ms, result.p90_ms)]


def milliseconds(ms: float | None) -> str:
    """A time for people: three digits are enough."""
    if ms is None:
        return "-"
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"


def summary(results: Sequence[Result]) -> str:
    """How many pairs and how many runs connected."""
    runs, connected = sum(len(result.runs) for result in results), sum(result.connected for result in results)
    relayed = sum(result.count(RELAYED) for result in results)
    always = sum(result.connected == len(result.runs) for result in results)
    return (f"{always} of {len(results)} pairs connected every time, {sum(r.connected > 0 for r in results)} at least "
            f"once; {connected} of {runs} runs, {relayed} of them relayed")
