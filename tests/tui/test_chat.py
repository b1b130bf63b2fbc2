"""`hp chat` on the whole screen of real terminals, as people use it.

    HP_BIN=DIR python3 -m unittest discover -s tests/tui

DIR holds `hp` and `hp-server`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import unittest
from pathlib import Path

from tmux import PATIENCE, Pane, Terminals, joined

_BIN = Path(os.environ.get("HP_BIN", "build/bin")).resolve()
_FINGERPRINT = re.compile(r"(?:[0-9a-f]{4} ){7}[0-9a-f]{4}")


class Chat(unittest.TestCase):
    """Two terminals side by side, and a server."""

    def setUp(self) -> None:
        if shutil.which("tmux") is None and os.environ.get("HP_ALLOW_MISSING_TOOLS") == "1":
            self.skipTest("tmux is missing")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.server = f"127.0.0.1:{free.getsockname()[1]}"
        server = subprocess.Popen([_BIN / "hp-server", self.server, "--alternate-ports", "0", "--log", "warn"])
        self.addCleanup(server.wait, PATIENCE)
        self.addCleanup(server.terminate)
        self.terminals = Terminals(161, 30)
        self.addCleanup(self.terminals.close)
        self.terminals.__enter__()
        self.left = self.terminals.first()
        self.right = self.terminals.split(80)

    def chat(self, pane: Pane, name: str, *flags: str) -> None:
        """Has a pane run a chat, between words that show how it began and ended."""
        # As it is typed it does not read like what comes out.
        pane.type('echo BEF""ORE')
        pane.wait_for("BEFORE")
        words = [str(_BIN / "hp"), "chat", "--server", self.server, "--room", "den", "--name", name, *flags]
        pane.type(f"sh -c 'echo $$ >{name}.pid; exec {' '.join(words)}'; echo ENDED $?")

    def meet(self) -> None:
        """Two people who know each other's names."""
        self.chat(self.left, "alice")
        self.chat(self.right, "bob")
        self.left.wait_for("is called bob", "den · 2 here · registered")
        self.right.wait_for("is called alice", "den · 2 here · registered")

    def assert_restored(self, pane: Pane, status: int = 0) -> None:
        """The terminal is as it was before, and the chat has ended with this status."""
        screen = pane.wait_for(f"ENDED {status}", "BEFORE")
        self.assertNotIn("den ·", screen)
        self.assertEqual([pane.ask(what) for what in ("alternate_on", "cursor_flag")], ["0", "1"])
        pane.type('stty -a; echo ST""TY')
        modes = pane.wait_for("STTY")
        for mode in ("icanon", "echo", "isig", "icrnl", "opost"):
            self.assertRegex(modes, rf"(?<![-\w]){mode}\b")

    def test_two_people_talk_and_verify_each_other(self) -> None:
        self.meet()
        self.left.type("hello, bob")
        self.right.wait_for("<alice> hello, bob")
        self.right.type("żółć 你好 👋")
        self.left.wait_for("<bob> żółć 你好 👋", "<alice> hello, bob")
        self.left.type("/peers")
        self.left.wait_for("one other is here", "* bob: ", "127.0.0.1")
        seen = []
        for pane, other in ((self.left, "bob"), (self.right, "alice")):
            pane.type(f"/verify {other}")
            screen = joined(pane.wait_for("call each other", f"* {other}: ", "public key"))
            seen.append(_FINGERPRINT.findall(screen[screen.index("call each other"):]))
        self.assertEqual(len(seen[0]), 2)
        self.assertEqual(seen[0], seen[1][::-1])
        self.right.type("/quit")
        self.left.wait_for("bob left: said goodbye", "den · 1 here")
        self.assert_restored(self.right)
        self.left.press("C-c")
        self.assert_restored(self.left)

    def test_what_was_said_before_can_be_seen_in_windows_of_any_size(self) -> None:
        self.meet()
        for number in range(60):
            self.left.type(f"line {number}.")
        self.right.wait_for("<alice> line 59.")
        self.left.press("PPage", "PPage")
        self.left.wait("not scrolled", lambda screen: "line 59." not in screen and "more lines below" in screen)
        self.right.type("news")
        self.left.press("Home")
        self.left.wait_for("you are alice")
        self.left.press("End")
        self.left.wait_for("line 59.", "<bob> news")
        for width, height in ((300, 60), (43, 6), (9, 3), (4, 1), (60, 2), (161, 30)):
            self.terminals.resize(width, height)
            self.right.type(f"at {width} by {height}")
            if width > 40 and height > 2:
                self.left.wait_for(f"at {width} by {height}")
        self.left.wait_for("at 4 by 1", "den · 2 here")
        # Keys that come together with a new size are not lost.
        for number in range(20):
            self.terminals.resize(120 + number % 2, 30)
            self.right.type(f"step {number}.")
            self.left.wait_for(f"<bob> step {number}.")
        self.left.press("C-d")
        self.assert_restored(self.left)

    def test_the_line_is_edited_as_in_a_shell(self) -> None:
        self.meet()
        self.left.press("w", "o", "r", "l", "d", "C-a")
        self.left.paste("hello\nthere ")
        self.left.press("C-e")
        self.left.type("!")
        self.right.wait_for("<alice> hello there world!")
        self.left.press("Up", "BSpace", "C-w")
        self.left.type("peer?")
        self.right.wait_for("<alice> hello there peer?")
        self.left.press("x", "y", "Left", "C-u")
        self.left.wait("not deleted", lambda screen: screen.rstrip().endswith("> y"))

    def test_what_peers_send_does_not_command_the_terminal(self) -> None:
        self.meet()
        title = self.left.ask("pane_title")
        self.right.press("C-c")
        self.left.wait_for("bob left")
        hostile = r"\033]2;owned\007\033[2J\033[?1049l\302\2332Jstill here"
        words = [str(_BIN / "hp"), "chat", "--server", self.server, "--room", "den", "--name", r"'m\al'"]
        self.right.type(f"printf '{hostile}\\n' | {' '.join(words)}")
        self.left.wait_for("still here", "you are alice", "[2J")
        self.assertEqual((self.left.ask("pane_title"), self.left.ask("alternate_on")), (title, "1"))

    def test_however_it_ends_the_others_are_told_and_the_terminal_is_restored(self) -> None:
        self.meet()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(int((self.terminals.directory / "bob.pid").read_text()), number)
            self.left.wait_for("bob left: said goodbye")
            self.assert_restored(self.right)
            self.left.press("C-c")
            self.assert_restored(self.left)
            for pane in (self.left, self.right):
                pane.type("clear")
            self.meet()
        self.right.kill()
        self.left.wait_for("bob left: said goodbye")

    def test_colours_only_where_they_are_wanted(self) -> None:
        coloured = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7])[;m]")
        for settings, flags, wanted in (("", (), True), ("NO_COLOR=1", (), False), ("", ("--color", "never"), False),
                                        ("NO_COLOR=1", ("--color", "always"), True)):
            self.left.type(f"export NO_COLOR= {settings}")
            self.chat(self.left, "alice", *flags)
            self.left.wait_for("the server sees us as")
            self.assertEqual(coloured.search(self.left.screen("-e")) is not None, wanted, (settings, flags))
            self.left.press("C-d")
            self.assert_restored(self.left)
            self.left.type("clear")

    def test_no_terminal_no_screen(self) -> None:
        self.left.type("export TERM=dumb")
        self.chat(self.left, "alice")
        self.left.wait_for("* room den, you are alice", "* the server sees us as")
        self.left.type("/quit")
        self.left.wait_for("ENDED 0")


if __name__ == "__main__":
    unittest.main()
