"""The status page of `hp-server`, in a real browser.

    HP_BIN=DIR python3 -m unittest discover -s tests/status

DIR holds `hp-server`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from webdriver import PATIENCE, Browser

_BIN = Path(os.environ.get("HP_BIN", "build/bin")).resolve()
_FIRST_CURVE = "#charts figure:nth-child(1) path.curve"
_DROP_CURVES = "#charts figure:nth-child(3) path.curve"


class Server:
    """`hp-server` with a status page."""

    def __init__(self, page: str = "127.0.0.1:0") -> None:
        command = [_BIN / "hp-server", "127.0.0.1:0", "--alternate-ports", "0", "--http", page, "--log", "info"]
        self._said = tempfile.TemporaryFile("a+")
        self._process = subprocess.Popen(command, stderr=self._said)
        self.page, self.address = self._find(r"status page at http://([^/]+)/"), self._find(r"listening on (\S+)")

    def _find(self, pattern: str) -> str:
        """What it says by that pattern."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._said.seek(0)
            said = self._said.read()
            if found := re.search(pattern, said):
                return found[1]
            time.sleep(0.05)
        self._process.kill()
        raise AssertionError(f"the server does not start: {said}")

    def stop(self) -> None:
        """Ends it, if it has not ended."""
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)
        self._said.close()


class Clients:
    """Two clients of one session, three of another, and one who says what no server understands."""

    def __init__(self, server: Server) -> None:
        host, port = server.address.rsplit(":", 1)
        self._address = (host, int(port))
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(6)]

    def speak(self) -> None:
        """Has each of them say something."""
        for one, words in zip(self._sockets, [b"den of two"] * 2 + [b"den of three"] * 3 + [b"?" * 1100]):
            one.sendto(words, self._address)

    def close(self) -> None:
        """Ends them."""
        for one in self._sockets:
            one.close()


class StatusPage(unittest.TestCase):
    """The page, and a server that it shows."""

    def setUp(self) -> None:
        missing = [tool for tool in ("chromium", "chromedriver") if shutil.which(tool) is None]
        if missing and os.environ.get("HP_ALLOW_MISSING_TOOLS") == "1":
            self.skipTest(f"{' and '.join(missing)} missing")
        self.assertFalse(missing, "these must be installed")
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.clients = Clients(self.server)
        self.addCleanup(self.clients.close)
        self.browser = Browser(1280, 1000)
        self.addCleanup(self.browser.close)
        self.url = f"http://{self.server.page}/"

    def shows(self, **numbers: str) -> bool:
        """Whether the big numbers are these; all clients are heard once more."""
        self.clients.speak()
        return all(self.browser.text(f"#{name}") == number for name, number in numbers.items())

    def attribute(self, selector: str, name: str) -> str:
        """One of an element's attributes."""
        value = self.browser.run("return document.querySelector(arguments[0]).getAttribute(arguments[1])", selector, name)
        return str(value)

    def points(self) -> int:
        """How many points the first chart's first curve has."""
        return len(re.findall(r"[ML]", self.attribute(_FIRST_CURVE, "d")))

    def assert_no_complaints(self) -> None:
        self.assertEqual([entry for entry in self.browser.log() if entry["level"] != "DEBUG"], [])

    def test_it_shows_what_the_server_does(self) -> None:
        browser = self.browser
        browser.open(self.url)
        browser.wait("no first sample", lambda: browser.text("#sessions") == "0")
        self.assertEqual(browser.text("#dropped-note"), "nothing is dropped")
        self.assertEqual(browser.text("#health"), "healthy")
        self.assertRegex(browser.text("#version"), r"^\d+\.\d+\.\d+$")
        self.assertRegex(browser.text("#uptime"), r"^\d+ s$")
        browser.wait("not all clients are there", lambda: self.shows(sessions="2", endpoints="5"))
        browser.wait("no garbage is seen", lambda: self.clients.speak() or "malformed" in browser.text("#dropped-note"))
        browser.wait("nothing is received", lambda: self.clients.speak() or float(browser.text("#received")) > 0)
        self.assertIn("2 sessions", browser.run("return document.title"))
        before = self.points()
        browser.wait("the curve does not grow", lambda: self.points() > before > 0)
        curves = browser.run("return [...document.querySelectorAll(arguments[0])].map((it) => it.getAttribute('d'))",
                             _DROP_CURVES)
        self.assertEqual([curve != "" for curve in curves], [True, False, False, False, False])
        self.assertRegex(self.attribute("#charts svg", "aria-label"), r"last 10 minutes\. sessions: 2, at most 2; endpoints: 5")
        # Nobody's address and no name is shown.
        page = browser.run("return document.documentElement.outerHTML")
        for secret in ("127.0.0.1", "den of"):
            self.assertNotIn(secret, page)
        self.assert_no_complaints()

    def test_values_can_be_pointed_at_and_a_day_be_seen(self) -> None:
        browser = self.browser
        browser.open(self.url)
        browser.wait("not all clients are there", lambda: self.shows(sessions="2", endpoints="5"))
        browser.point("#charts figure:nth-child(1) svg")
        browser.wait("no values", lambda: browser.text("#charts figure:nth-child(1) .tip"))
        self.assertEqual(browser.run("return document.querySelectorAll('.cursor').length"), 6)
        tips = browser.run("return [...document.querySelectorAll('.tip')].map((it) => it.hidden)")
        self.assertEqual(tips, [False] + [True] * 5)
        # As with the keyboard.
        browser.run("document.querySelector('#charts figure:nth-child(2) svg').focus()")
        for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
            browser.command("Input.dispatchKeyEvent", type="keyDown", key=key)
        tip = "#charts figure:nth-child(2) .tip"
        self.assertRegex(browser.text(tip), r"^\d\d:\d\d:\d\d, .*\s*received\s*[\d.,]+\s*sent\s*[\d.,]+$")
        inside = browser.run("const [tip, all] = [document.querySelector(arguments[0]), document.querySelector('#charts')]"
                             ".map((it) => it.getBoundingClientRect());"
                             "return tip.left >= all.left && tip.right <= all.right", tip)
        self.assertTrue(inside)
        browser.command("Input.dispatchKeyEvent", type="keyDown", key="Escape")
        self.assertEqual(browser.run("return document.querySelectorAll('.cursor').length"), 0)
        axis = "#charts figure:nth-child(1) svg"
        self.assertIn("−1 min", browser.run("return document.querySelector(arguments[0]).textContent", axis))
        browser.press("#range-day")
        self.assertIn("−10 min", browser.run("return document.querySelector(arguments[0]).textContent", axis))
        self.assertEqual((self.attribute("#range-day", "aria-pressed"), self.attribute("#range-recent", "aria-pressed")),
                         ("true", "false"))
        self.assertGreater(self.points(), 0)
        # It is still chosen when the page is loaded again.
        browser.run("location.reload()")
        browser.wait("nothing after loading again", lambda: self.shows(sessions="2") and self.points())
        self.assertEqual(self.attribute("#range-day", "aria-pressed"), "true")
        self.assert_no_complaints()

    def test_it_fits_every_screen_and_says_when_the_server_is_gone(self) -> None:
        browser = self.browser
        browser.open(self.url)
        browser.wait("not all clients are there", lambda: self.shows(sessions="2", endpoints="5"))
        backgrounds = []
        for scheme in ("light", "dark"):
            browser.set_scheme(scheme)
            backgrounds.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
            for width in (320, 390, 800, 1280, 1920):
                browser.resize(width, 844)
                wide = browser.run("return document.documentElement.scrollWidth - innerWidth")
                self.assertLessEqual(wide, 0, (scheme, width))
        self.assertNotEqual(*backgrounds)
        browser.wait("no curve in the new width", self.points)
        self.assert_no_complaints()
        self.assertEqual(browser.text("#stale"), "")
        self.server.stop()
        browser.wait("not said to be stale", lambda: "Stale since" in browser.text("#stale"))
        self.assertEqual(browser.text("#health"), "no answer")
        # What was last known can still be seen.
        self.assertEqual(browser.text("#sessions"), "2")
        again = Server(self.server.page)
        self.addCleanup(again.stop)
        browser.wait("the new server is not noticed", lambda: browser.text("#sessions") == "0")
        self.assertEqual((browser.text("#stale"), browser.text("#health")), ("", "healthy"))


if __name__ == "__main__":
    unittest.main()
