"""Draws docs/chat.svg: what two people behind home routers see of their chat, and of a third behind a worse router.

    HP_BIN=DIR python3 tests/tui/picture.py docs/chat.svg

As root: the routers are the NAT laboratory's, the terminals tmux's, and the programs real.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from tmux import Pane, Terminals

#: The laboratory is a set of modules beside this directory.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "natlab"))

import netns  # noqa: E402  (it is found only now)
from natlab import Lab, Site  # noqa: E402

_COLUMNS, _ROWS, _RIGHT = 132, 20, 46
_CELL, _LINE, _MARGIN = 8, 18, 14
_PALETTE = ("#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4",
            "#8b949e", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#f0f6fc")
_STYLE = """
    text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px }
"""
_FOREGROUND, _BACKGROUND = "#e6edf3", "#0d1117"


def capture() -> str:
    """The screen, in tmux's words, once the conversation has been had."""
    programs = Path(os.environ.get("HP_BIN", "build/bin")).resolve()
    sites = {"a": Site("home"), "b": Site("home"), "c": Site("symmetric-random")}
    with Lab(sites) as lab, Terminals(_COLUMNS, _ROWS) as terminals:
        server = f"{lab.server.address}:5000"
        lab.popen(lab.server, [str(programs / "hp-server"), "--relay", "--log", "warn", server])

        def chat(name: str) -> list[str]:
            return [str(programs / "hp"), "chat", "--server", server, "--room", "the lighthouse", "--name", name]

        def type_chat(pane: Pane, host: str, name: str) -> None:
            words = [*netns.enter_command(lab.host(host).netns), *chat(name)]
            pane.type("clear; exec " + " ".join(f"'{word}'" for word in words))

        left, right = terminals.first(), terminals.split(_RIGHT)
        type_chat(left, "a", "alice")
        left.wait_for("registered")
        type_chat(right, "b", "bob")
        right.wait_for("is called alice")
        carol = lab.popen("c", chat("carol"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        right.wait_for("is called carol")
        left.wait_for("is called carol")
        for pane, other, words in ((left, right, "hello, both of you"), (right, left, "hi alice! and all of it encrypted?"),
                                   (left, right, "from end to end; compare with /verify")):
            pane.type(words)
            other.wait_for(f"> {words}")
        print("I have the strange router, and still hear you", file=carol.stdin, flush=True)
        left.wait_for("still hear you")
        right.wait_for("still hear you")
        right.type("/verify alice")
        right.wait_for("public key")
        left.press(*"see you tomorro")
        # Round-trip times are looked at once a second.
        time.sleep(1.5)
        return _svg(*([*_rows(pane.screen("-e", "-N"))] for pane in (left, right)))


#: A letter, its colour and its background's, and whether it is bold.
Cell = tuple[str, str, str, bool]


def _rows(screen: str) -> Iterator[list[Cell]]:
    """The screen's lines."""
    row: list[Cell] = []
    for cell in _cells(screen):
        if cell[0] == "\n":
            yield row
            row = []
        else:
            row.append(cell)


def _cells(screen: str) -> Iterator[Cell]:
    """All letters, ends of lines among them; looks go on from one line to the next."""
    foreground, background, bold, swapped = _FOREGROUND, "", False, False
    for codes, letter in re.findall(r"\x1b\[([\d;]*)m|([^\x1b])", screen):
        if letter:
            colours = (background or _BACKGROUND, foreground) if swapped else (foreground, background)
            yield letter, *colours, bold
            continue
        numbers = [int(code or 0) for code in codes.split(";")]
        while numbers:
            code = numbers.pop(0)
            if code == 0:
                foreground, background, bold, swapped = _FOREGROUND, "", False, False
            elif code in (1, 22):
                bold = code == 1
            elif code in (7, 27):
                swapped = code == 7
            elif code == 38 and numbers[:1] == [5]:
                foreground, numbers = _PALETTE[numbers[1]], numbers[2:]
            elif 30 <= code <= 37 or 90 <= code <= 97:
                foreground = _PALETTE[code - 30 if code < 90 else code - 82]
            elif code == 39:
                foreground = _FOREGROUND
            elif code == 49:
                background = ""
            else:
                raise ValueError(f"an attribute that no chat uses: {codes}")


def _svg(left: list[list[Cell]], right: list[list[Cell]]) -> str:
    left_columns = _COLUMNS - _RIGHT - 1
    gap = 2 * _CELL
    panes = ((left, _MARGIN, left_columns), (right, _MARGIN + left_columns * _CELL + gap + _CELL, _RIGHT))
    width, height = 2 * _MARGIN + _COLUMNS * _CELL + gap, 2 * _MARGIN + _ROWS * _LINE
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}" role="img" aria-label="hp chat in two terminals">',
             "<title>hp chat in two terminals, a third person in the room</title>", f"<style>{_STYLE}</style>"]
    for rows, x, columns in panes:
        parts.append(f'<rect x="{x - 8}" y="6" width="{columns * _CELL + 16}" height="{height - 12}" rx="6" '
                     f'fill="{_BACKGROUND}" stroke="#3d444d"/>')
        for number, row in enumerate(rows):
            parts += _row(row, x, _MARGIN + number * _LINE)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: list[Cell], x: int, y: int) -> Iterator[str]:
    """A line, in runs of equal looks; each is held to the width that a terminal gives it."""
    at = 0
    while row:
        looks = row[0][1:]
        run = next((number for number, cell in enumerate(row) if cell[1:] != looks), len(row))
        words, row = "".join(cell[0] for cell in row[:run]), row[run:]
        columns = _columns(words)
        foreground, background, bold = looks
        if background:
            yield (f'<rect x="{x + at * _CELL}" y="{y}" width="{columns * _CELL}" height="{_LINE}" '
                   f'fill="{background}"/>')
        weight = ' font-weight="700"' if bold else ""
        # Each word by itself: not every viewer keeps to the width of a whole line.
        for word in re.finditer(r"\S+", words):
            place, length = at + _columns(words[:word.start()]), _columns(word[0])
            yield (f'<text x="{x + place * _CELL}" y="{y + 13}" fill="{foreground}"{weight} '
                   f'textLength="{length * _CELL}">{escape(word[0])}</text>')
        at += columns


def _columns(words: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in words)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(capture(), encoding="utf-8")
