"""A browser without a window, driven as https://www.w3.org/TR/webdriver2/ says, by Chromium's driver."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, TypeVar

#: How long to wait for what must happen; it costs time only in a test that fails.
PATIENCE = 30.0
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
          "--disable-background-networking", "--disable-component-update", "--no-proxy-server")
_Result = TypeVar("_Result")


class Browser:
    """One page in a browser of one's own; for a `with`."""

    def __init__(self, width: int, height: int) -> None:
        self._directory = tempfile.mkdtemp(prefix="hp-browser-")
        # The driver takes a free port and says which; what else it and the browser say is of no use.
        self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL, cwd=self._directory)
        self._url = ""
        try:
            self._url = self._start(width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, width: int, height: int) -> str:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if "started successfully on port " in line:
                url = f"http://127.0.0.1:{line.split('on port ')[1].split('.')[0]}/session"
                break
        else:
            raise AssertionError("chromedriver does not start")
        flags = [*_FLAGS, f"--user-data-dir={self._directory}/profile", f"--window-size={width},{height}"]
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": flags},
                  "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._ask("POST", url, {"capabilities": {"alwaysMatch": wanted}})
        return f"{url}/{session['sessionId']}"

    def close(self) -> None:
        """Ends the browser and its driver."""
        try:
            if self._url:
                self._ask("DELETE", self._url)
        except (OSError, AssertionError) as error:
            print(f"the browser does not end: {error}")
        self._driver.terminate()
        self._driver.wait(PATIENCE)
        assert self._driver.stdout is not None
        self._driver.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @staticmethod
    def _ask(method: str, url: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {url}: {error.read().decode()}") from error

    def open(self, url: str) -> None:
        """Shows a page."""
        self._ask("POST", f"{self._url}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Runs a script in the page; returns what it returns."""
        return self._ask("POST", f"{self._url}/execute/sync", {"script": script, "args": arguments})

    def command(self, name: str, **parameters: object) -> Any:
        """Has the browser do what only Chromium knows: https://chromedevtools.github.io/devtools-protocol/."""
        return self._ask("POST", f"{self._url}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Shows the page as on a screen of this size."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                     mobile=width < 600)

    def set_scheme(self, scheme: str) -> None:
        """Wants `light` or `dark` pages."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def log(self) -> list[dict[str, Any]]:
        """What the page has complained about since this was last asked."""
        entries: list[dict[str, Any]] = self._ask("POST", f"{self._url}/se/log", {"type": "browser"})
        return entries

    def text(self, selector: str) -> str:
        """What an element shows."""
        shown: str = self.run("return document.querySelector(arguments[0]).innerText", selector)
        return shown.strip()

    def press(self, selector: str) -> None:
        """Clicks in the middle of an element, as with a mouse."""
        x, y = self.middle(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def point(self, selector: str) -> None:
        """Moves the mouse to the middle of an element."""
        x, y = self.middle(selector)
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element's middle is, after it was brought into sight."""
        x, y = self.run("const it = document.querySelector(arguments[0]); it.scrollIntoView({block: 'center'});"
                        "const {x, y, width, height} = it.getBoundingClientRect();"
                        "return [x + width / 2, y + height / 2]", selector)
        return x, y

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Writes what is to be seen, or all of the page, as PNG."""
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def wait(self, why: str, ask: Callable[[], _Result]) -> _Result:
        """What `ask` gives, once that is anything."""
        until = time.monotonic() + PATIENCE
        while not (result := ask()):
            if time.monotonic() > until:
                raise AssertionError(f"{why}: {self.text('body')}")
            time.sleep(0.05)
        return result
