"""What the matrix has found, as numbers, as a table, as JSON and as a picture."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

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
        return after + "".join(reason for reason, _ in self.reasons.most_common(1))

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        pair = {"first": self.first, "second": self.second, "input": self.policies} if self.second else {
            "scenario": self.first, "expected": self.expected}
        return {**pair, "runs": len(self.runs), "direct": self.count(DIRECT), "relayed": self.count(RELAYED),
                "failed": self.count(FAILED), "rate": round(self.rate, 1), "median_ms": _rounded(self.median_ms),
                "p90_ms": _rounded(self.p90_ms), "times_ms": [_rounded(ms) for ms in self.times],
                "paths": dict(self.paths), "reasons": dict(self.reasons)}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def table(results: Iterable[Result]) -> str:
    """One line for each result."""
    head = ("first", "second", "input", "rate", "direct", "relayed", "median", "p90", "path, or what went wrong")
    rows = [head] + [
        (result.first, result.second or "-", result.policies or "-", f"{result.rate:.0f} %", str(result.count(DIRECT)),
         str(result.count(RELAYED)), *(milliseconds(ms if result.connected else None)
                                       for ms in (result.median_ms, result.p90_ms)), result.remark)
        for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    return "\n".join("  ".join([*(text.ljust(width) if column < 3 else text.rjust(width)
                                  for column, (text, width) in enumerate(zip(row, widths))), row[-1]]).rstrip()
                     for row in rows)


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


# The picture ---------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 47, 37
_LABELS, _HEAD, _MARGIN, _GAP = 94, 62, 16, 30
_WIDE_CELL = 110
#: Column headings have two lines at most, row labels have them side by side.
_SHORT = {"full-cone": "full cone", "address-restricted": "address restr.", "home-remap": "home remap",
          "symmetric-sequential": "symm. seq.", "symmetric-random": "symm. random", "udp-blocked": "UDP blocked"}
#: Colours at 0, 50 and 100 %: they differ in lightness, too, and the number is written on each.
_COLOURS = ((0xB0, 0x3A, 0x2E), (0xF2, 0xC1, 0x4E), (0x6C, 0xC0, 0x8B))
_STYLE = """
    text { font-family: -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; font-size: 11px;
           fill: #1f2328 }
    .card { fill: #ffffff; stroke: #d0d7de }
    .title { font-size: 16px; font-weight: 600 }
    .panel { font-size: 13px; font-weight: 600 }
    .faint { fill: #59636e }
    .rate { font-size: 12px; font-weight: 600; text-anchor: middle }
    .time { font-size: 10px; text-anchor: middle }
    .middle { text-anchor: middle }
    .end { text-anchor: end }
    .on-light { fill: #1f2328 }
    .on-dark { fill: #ffffff }
    .relayed { fill: #1f4fbf; stroke: #ffffff }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .card { fill: #0d1117; stroke: #3d444d }
      .faint { fill: #9198a1 }
      }
"""


def svg(results: Sequence[Result], title: str, subtitle: str) -> str:
    """A heatmap that stands for itself: no script, no font or style from elsewhere, its own background."""
    pairs = [result for result in results if result.second]
    scenarios = [result for result in results if not result.second]
    panels = list(dict.fromkeys(result.policies for result in pairs))
    kinds = list(dict.fromkeys(kind for result in pairs for kind in (result.first, result.second)))
    columns = min(2, len(panels))
    panel_width = _LABELS + _WIDTH * len(kinds)
    panel_height = _HEAD + _HEIGHT * len(kinds) + _GAP
    width = 2 * _MARGIN + max(columns * panel_width + (columns - 1) * _GAP, 560)
    parts = []
    top = 82
    for number, policies in enumerate(panels):
        x, y = _MARGIN + number % 2 * (panel_width + _GAP), top + number // 2 * panel_height
        parts += _panel([result for result in pairs if result.policies == policies], kinds, policies, x, y)
    top += -(-len(panels) // 2) * panel_height
    if scenarios:
        parts += _scenarios(scenarios, top + 8, width)
        top += 32 + _HEIGHT * len(scenarios) + _GAP
    height = top + 30
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label={quoteattr(title)}>',
        f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
        _text(_MARGIN, 28, title, "title"), _text(_MARGIN, 48, subtitle, "faint"),
        *parts, *_legend(_MARGIN, top), "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, classes: str = "") -> str:
    attribute = f' class="{classes}"' if classes else ""
    return f'<text x="{x:g}" y="{y:g}"{attribute}>{escape(words)}</text>'


def _rectangle(x: float, y: float, width: float, height: float, fill: tuple[int, int, int]) -> str:
    colour = "".join(f"{part:02x}" for part in fill)
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="#{colour}"/>'


def _panel(results: Sequence[Result], kinds: Sequence[str], policies: str, x: float, y: float) -> list[str]:
    first, _, second = policies.partition("/")
    left, upper = x + _LABELS, y + _HEAD
    parts = [_text(x, y, f"INPUT chain: first {first}, second {second}", "panel"),
             _text(x, y + 16, f"{sum(result.connected > 0 for result in results)} of {len(results)} pairs connect, "
                              f"{sum(result.rate == 100 for result in results)} every time", "faint"),
             _text(left - 8, upper - 18, "second peer →", "end faint"),
             _text(left - 8, upper - 5, "first peer ↓", "end faint")]
    for index, kind in enumerate(kinds):
        label = _SHORT.get(kind, kind)
        lines = label.split(" ")
        for number, line in enumerate(lines):
            parts.append(_text(left + (index + 0.5) * _WIDTH, upper - 6 - 13 * (len(lines) - 1 - number), line,
                               "middle"))
        parts.append(_text(left - 8, upper + (index + 0.5) * _HEIGHT + 4, label, "end"))
    for result in results:
        parts += _cell(result, left + kinds.index(result.second) * _WIDTH, upper + kinds.index(result.first) * _HEIGHT,
                       _WIDTH)
    return parts


def _scenarios(results: Sequence[Result], y: float, width: float) -> list[str]:
    parts = [_text(_MARGIN, y, "Other networks", "panel")]
    for number, result in enumerate(results):
        upper = y + 12 + number * _HEIGHT
        parts += _cell(result, _MARGIN, upper, _WIDE_CELL)
        parts.append(_text(_MARGIN + _WIDE_CELL + 10, upper + 16, result.first))
        room = int((width - _WIDE_CELL - 3 * _MARGIN) / 5.8)
        note = result.remark if result.expected else f"Not meant to connect; {result.remark}"
        parts.append(_text(_MARGIN + _WIDE_CELL + 10, upper + 30,
                           note if len(note) <= room else f"{note[:room - 1]}…", "faint"))
    return parts


def _cell(result: Result, x: float, y: float, width: float) -> list[str]:
    fill = _colour(result.rate)
    on = "on-dark" if _is_dark(fill) else "on-light"
    relayed = result.count(RELAYED)
    about = (f"{result.first}{f' with {result.second}' if result.second else ''}: {result.connected} of "
             f"{len(result.runs)} connected, {relayed} relayed, median {milliseconds(result.median_ms)}, "
             f"90 % within {milliseconds(result.p90_ms)}. {result.remark}")
    time = milliseconds(result.median_ms) if result.connected else "–"
    parts = [f"<g><title>{escape(about)}</title>",
             _rectangle(x + 1, y + 1, width - 2, _HEIGHT - 2, fill),
             _text(x + width / 2, y + 18, f"{result.rate:.0f}%", f"rate {on}"),
             _text(x + width / 2, y + 30, time, f"time {on}")]
    if relayed:
        parts.append(_relayed_mark(x + width - 1, y + 1))
    return [*parts, "</g>"]


def _relayed_mark(right: float, upper: float) -> str:
    return f'<path class="relayed" d="M{right - 10:g} {upper:g}h10v10z"/>'


def _legend(x: float, y: float) -> list[str]:
    parts = [_text(x, y + 10, "runs that connected:", "faint")]
    for number, rate in enumerate((0, 25, 50, 75, 100)):
        fill, left = _colour(rate), x + 120 + number * 40
        parts.append(_rectangle(left, y - 3, 38, 18, fill))
        parts.append(_text(left + 19, y + 10, f"{rate}%", f"middle {'on-dark' if _is_dark(fill) else 'on-light'}"))
    return [*parts, _relayed_mark(x + 350, y), _text(x + 356, y + 10, "some or all of them relayed", "faint")]


def _colour(rate: float) -> tuple[int, int, int]:
    lower, upper = (_COLOURS[0], _COLOURS[1]) if rate < 50 else (_COLOURS[1], _COLOURS[2])
    share = rate / 50 if rate < 50 else rate / 50 - 1
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(lower, upper))
    return red, green, blue


def _is_dark(colour: tuple[int, int, int]) -> bool:
    """Whether white is the easier to read on it (relative luminance as in WCAG 2)."""
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.062
