"""Makes docs/status.png: the status page after two minutes of clients that come and go, and of some who only disturb.

    HP_BIN=DIR python3 tests/status/picture.py docs/status.png [SECONDS]

All of it is real but the clients' number: they speak the plain dialect from many loopback addresses.
"""

from __future__ import annotations

import math
import random
import socket
import sys
import threading
import time
from pathlib import Path

from test_status import Server
from webdriver import Browser

_WIDTH, _HEIGHT = 1280, 930
#: How often everyone speaks, in seconds.
_PERIOD = 0.25


def _client(number: int) -> socket.socket:
    """One at an address of its own, as customers have them."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
    client.setblocking(False)
    return client


def _speak(address: tuple[str, int], ended: threading.Event) -> None:
    """Clients in groups of three, who come and go, until it is enough."""
    chance = random.Random(5)
    clients: list[socket.socket] = []
    disturber = _client(60_000)
    begun = time.monotonic()
    while not ended.wait(_PERIOD):
        elapsed = time.monotonic() - begun
        wanted = int(180 + 60 * math.sin(elapsed / 17) + min(elapsed, 90))
        clients.extend(_client(number) for number in range(len(clients), wanted))
        for number, client in enumerate(clients[:wanted]):
            if chance.random() < 0.7:
                client.sendto(b"room %d" % (number // 3), address)
        # Now and then one sends more than the server hears from one address, and longer datagrams than it reads.
        flood = 700 if 8 < elapsed % 37 < 12 else 0
        for _ in range(flood):
            disturber.sendto(b"room of one", address)
        for _ in range(int(9 + 8 * math.sin(elapsed / 6))):
            disturber.sendto(b"?" * 1100, address)
        for client in clients:
            try:
                while client.recv(2048):
                    pass
            except BlockingIOError:
                pass
    for client in [*clients, disturber]:
        client.close()


def main() -> None:
    """Makes the picture."""
    path, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 118.0
    server, ended = Server(), threading.Event()
    host, port = server.address.rsplit(":", 1)
    speaker = threading.Thread(target=_speak, args=((host, int(port)), ended))
    speaker.start()
    try:
        with Browser(_WIDTH, _HEIGHT) as browser:
            browser.set_scheme("light")
            browser.resize(_WIDTH, _HEIGHT)
            browser.open(f"http://{server.page}/")
            time.sleep(seconds)
            # Nothing of the browser's own.
            browser.run("document.documentElement.style.scrollbarWidth = 'none'")
            time.sleep(1)
            browser.screenshot(path)
    finally:
        ended.set()
        speaker.join()
        server.stop()


if __name__ == "__main__":
    main()
