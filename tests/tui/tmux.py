"""Terminals to run programs in: panes of a tmux server of one's own, which no other tmux knows of."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable

#: How long to wait for what must happen; it costs time only in a test that fails.
PATIENCE = 60.0


class Terminals:
    """A tmux server with one window, whose panes are shells; for a `with`."""

    def __init__(self, width: int, height: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hp-tmux-"))
        # Nothing of the caller's: TERM and SHELL may be missing there, or strange.
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "LC_ALL": "C.UTF-8",
                             "PS1": "$ ", "TMUX_TMPDIR": str(self.directory)}
        self._size = (width, height)

    def __enter__(self) -> Terminals:
        width, height = self._size
        try:
            self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "/bin/sh")
            self.tmux("set-option", "-g", "default-shell", "/bin/sh")
            self.tmux("set-option", "-g", "window-size", "manual")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server and all that runs in it."""
        subprocess.run(self._command("kill-server"), env=self._environment, capture_output=True, timeout=PATIENCE,
                       check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _command(self, *words: str) -> list[str]:
        return ["tmux", "-u", "-L", "hp-test", *words]

    def tmux(self, *words: str) -> str:
        """Has the server do something; returns what it says."""
        done = subprocess.run(self._command(*words), env=self._environment, capture_output=True, text=True,
                              timeout=PATIENCE, cwd=self.directory, check=False)
        if done.returncode != 0:
            raise AssertionError(f"tmux {' '.join(words)}: {done.stderr}")
        return done.stdout

    def first(self) -> Pane:
        """The pane that is there from the start."""
        return Pane(self, self.tmux("display-message", "-p", "#{pane_id}").strip())

    def split(self, columns: int) -> Pane:
        """A further pane, to the right, of so many columns."""
        return Pane(self, self.tmux("split-window", "-h", "-l", str(columns), "-P", "-F", "#{pane_id}",
                                    "/bin/sh").strip())

    def resize(self, width: int, height: int) -> None:
        """Gives the window another size."""
        self.tmux("resize-window", "-x", str(width), "-y", str(height))


class Pane:
    """One terminal."""

    def __init__(self, terminals: Terminals, name: str) -> None:
        self._terminals, self._name = terminals, name

    def type(self, text: str) -> None:
        """Types a line, and Enter."""
        self._terminals.tmux("send-keys", "-t", self._name, "-l", "--", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Presses keys, by the names that tmux has for them."""
        self._terminals.tmux("send-keys", "-t", self._name, *keys)

    def paste(self, text: str) -> None:
        """Pastes, in brackets if the program has asked for them."""
        self._terminals.tmux("set-buffer", "--", text)
        self._terminals.tmux("paste-buffer", "-p", "-t", self._name)

    def screen(self, *flags: str) -> str:
        """What is on the screen; with `-e`, in its colours."""
        return self._terminals.tmux("capture-pane", "-p", "-t", self._name, *flags)

    def ask(self, what: str) -> str:
        """What tmux knows of the pane, by the name of a format variable."""
        return self._terminals.tmux("display-message", "-p", "-t", self._name, f"#{{{what}}}").rstrip("\n")

    def kill(self) -> None:
        """Closes the terminal: what runs in it is hung up on."""
        self._terminals.tmux("kill-pane", "-t", self._name)

    def wait(self, why: str, condition: Callable[[str], bool]) -> str:
        """The screen, once it is as it should be."""
        until = time.monotonic() + PATIENCE
        while not condition(screen := self.screen()):
            if time.monotonic() > until:
                raise AssertionError(f"{why}:\n{screen}")
            time.sleep(0.05)
        return screen

    def wait_for(self, *words: str) -> str:
        """The screen, once all the words are on it, wherever its lines break."""
        return self.wait(f"not all of {words} are there", lambda screen: all(word in joined(screen) for word in words))


def joined(screen: str) -> str:
    """The words on the screen in one line, without what stands in a pane at the right."""
    return " ".join(" ".join(line.split("│")[0].split()) for line in screen.splitlines())
