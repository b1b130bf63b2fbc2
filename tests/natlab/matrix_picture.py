"""What the matrix has found, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from matrix_report import RELAYED, Result, milliseconds, short

_WIDTH, _HEIGHT = 47, 37
_LABELS, _HEAD, _MARGIN, _GAP = 94, 62, 16, 30
#: Below each cell, and in the list of other networks next to it, what the other make of client came to.
_STRIP, _WIDE_CELL, _LINE = 15, 110, 15
#: About how wide a letter is; where there is more to say, the picture is wider.
_LETTER = 5.8
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
    .time, .strip { font-size: 10px; text-anchor: middle }
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


def svg(results: Sequence[Result], title: str, subtitle: Sequence[str], names: tuple[str, str] = ("", "")) -> str:
    """A heatmap that stands for itself: no script, no font or style from elsewhere, its own background.

    `names` are those of the two makes of client, if there are two.
    """
    ours, other = map(short, names)
    pairs = [result for result in results if result.second]
    scenarios = [result for result in results if not result.second]
    panels = list(dict.fromkeys(result.policies for result in pairs))
    kinds = list(dict.fromkeys(kind for result in pairs for kind in (result.first, result.second)))
    columns = min(2, len(panels))
    panel_width = _LABELS + _WIDTH * len(kinds)
    panel_height = _HEAD + _HEIGHT * len(kinds) + (_LINE + _STRIP * len(kinds) if other else 0) + _GAP
    said = max(len(line) for line in subtitle) * _LETTER
    width = 2 * _MARGIN + max(columns * panel_width + (columns - 1) * _GAP, 560, round(said))
    parts = [_text(_MARGIN, 28, title, "title")]
    parts += [_text(_MARGIN, 48 + 16 * number, line, "faint") for number, line in enumerate(subtitle)]
    top = 66 + 16 * len(subtitle)
    for number, policies in enumerate(panels):
        x, y = _MARGIN + number % 2 * (panel_width + _GAP), top + number // 2 * panel_height
        parts += _panel([result for result in pairs if result.policies == policies], kinds, policies, ours, other,
                        x, y)
    top += -(-len(panels) // 2) * panel_height
    if scenarios:
        parts += _scenarios(scenarios, ours, other, top + 8, width)
        top += 32 + _HEIGHT * len(scenarios) + _GAP
    height = top + 30
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label={quoteattr(title)}>',
        f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
        *parts, *_legend(_MARGIN, top), "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, classes: str = "") -> str:
    attribute = f' class="{classes}"' if classes else ""
    return f'<text x="{x:g}" y="{y:g}"{attribute}>{escape(words)}</text>'


def _rectangle(x: float, y: float, width: float, height: float, fill: tuple[int, int, int]) -> str:
    colour = "".join(f"{part:02x}" for part in fill)
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="#{colour}"/>'


def _panel(results: Sequence[Result], kinds: Sequence[str], policies: str, ours: str, other: str,
           x: float, y: float) -> list[str]:
    first, _, second = policies.partition("/")
    left, upper = x + _LABELS, y + _HEAD + (_LINE if other else 0)
    row = _HEIGHT + (_STRIP if other else 0)
    counts = [_counts(results)]
    if other:
        counts = [f"{ours}: {counts[0]}", f"{other}: {_counts([result.beside for result in results if result.beside])}"]
    parts = [_text(x, y, f"INPUT chain: first {first}, second {second}", "panel"),
             *(_text(x, y + 16 + _LINE * number, line, "faint") for number, line in enumerate(counts)),
             _text(left - 8, upper - 18, "second peer →", "end faint"),
             _text(left - 8, upper - 5, "first peer ↓", "end faint")]
    for index, kind in enumerate(kinds):
        label = _SHORT.get(kind, kind)
        lines = label.split(" ")
        for number, line in enumerate(lines):
            parts.append(_text(left + (index + 0.5) * _WIDTH, upper - 6 - 13 * (len(lines) - 1 - number), line,
                               "middle"))
        parts.append(_text(left - 8, upper + (index + 0.5) * row + 4, label, "end"))
    for result in results:
        cell_x, cell_y = left + kinds.index(result.second) * _WIDTH, upper + kinds.index(result.first) * row
        strip = _strip(result.beside, cell_x, cell_y + _HEIGHT - 2) if result.beside else []
        parts += _cell(result, cell_x, cell_y, _WIDTH, strip, other)
    return parts


def _counts(results: Sequence[Result]) -> str:
    return (f"{sum(result.connected > 0 for result in results)} of {len(results)} pairs connect, "
            f"{sum(result.rate == 100 for result in results)} every time")


def _scenarios(results: Sequence[Result], ours: str, other: str, y: float, width: float) -> list[str]:
    parts = [_text(_MARGIN, y, f"Other networks; left {ours}, right {other}" if other else "Other networks", "panel")]
    text_x, room = _MARGIN + _WIDE_CELL + 10, int((width - _WIDE_CELL - 3 * _MARGIN) / _LETTER)
    for number, result in enumerate(results):
        upper = y + 12 + number * _HEIGHT
        theirs = result.beside
        half = _WIDE_CELL / 2 if theirs else _WIDE_CELL
        parts += _cell(result, _MARGIN, upper, half, _numbers(theirs, _MARGIN + half, upper, half) if theirs else [],
                       other)
        parts.append(_text(text_x, upper + 16, result.first))
        note = result.remark if result.expected else f"Not meant to connect; {result.remark}"
        if theirs:
            note = f"{ours}: {note} · {other}: {theirs.complaint or 'connects'}"
        parts.append(_text(text_x, upper + 30, note if len(note) <= room else f"{note[:room - 1]}…", "faint"))
    return parts


def _cell(result: Result, x: float, y: float, width: float, beside: Sequence[str], other: str) -> list[str]:
    about = (f"{result.first}{f' with {result.second}' if result.second else ''}: {result.connected} of "
             f"{len(result.runs)} connected, {result.count(RELAYED)} relayed, median "
             f"{milliseconds(result.median_ms)}, 90 % within {milliseconds(result.p90_ms)}. {result.remark}")
    if result.beside:
        about += f" | {other}: {result.beside.brief}"
    return [f"<g><title>{escape(about)}</title>", *_numbers(result, x, y, width), *beside, "</g>"]


def _numbers(result: Result, x: float, y: float, width: float) -> list[str]:
    fill = _colour(result.rate)
    on = "on-dark" if _is_dark(fill) else "on-light"
    time = milliseconds(result.median_ms) if result.connected else "–"
    parts = [_rectangle(x + 1, y + 1, width - 2, _HEIGHT - 2, fill),
             _text(x + width / 2, y + 18, f"{result.rate:.0f}%", f"rate {on}"),
             _text(x + width / 2, y + 30, time, f"time {on}")]
    return parts + ([_relayed_mark(x + width - 1, y + 1)] if result.count(RELAYED) else [])


def _strip(result: Result, x: float, y: float) -> list[str]:
    """One line: how long it takes where it always works, else how often it does."""
    fill = _colour(result.rate)
    words = milliseconds(result.median_ms) if result.rate == 100 else f"{result.rate:.0f}%"
    parts = [_rectangle(x + 1, y + 1, _WIDTH - 2, _STRIP - 1, fill),
             _text(x + _WIDTH / 2, y + 11.5, words, f"strip {'on-dark' if _is_dark(fill) else 'on-light'}")]
    return parts + ([_relayed_mark(x + _WIDTH - 1, y + 1)] if result.count(RELAYED) else [])


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
