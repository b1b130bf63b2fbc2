"""Hold back every packet that crosses the core: delay, jitter and reordering without the kernel's netem.

    python3 core_delay.py DEVICE DELAY_MS JITTER_MS REORDER_PERCENT       (inside the core's namespace)

The core's routes lead every packet it forwards into the TUN device DEVICE, and every packet that comes back out of
there to where it is going. The program prints "ready" when it holds the device, and ends when its input does, so that
it cannot outlive the laboratory.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time
from contextlib import suppress

_TUNSETIFF = 0x400454CA
_IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_LARGEST_PACKET = 65535
#: So many packets are taken in before those are looked after that are due to leave.
_BATCH = 64


class Queue:
    """What is under way: packets and the times at which they arrive at the other end, in seconds."""

    def __init__(self, delay: float, jitter: float, reorder: float, chance: random.Random) -> None:
        self._delay = delay
        self._jitter = jitter
        #: The share of packets that overtake, from 0 to 1.
        self._reorder = reorder
        self._chance = chance
        self._waiting: list[tuple[float, int, bytes]] = []
        self._serial = 0
        #: When the last packet from one address to another leaves.
        self._latest: dict[bytes, float] = {}

    def put(self, packet: bytes, now: float) -> None:
        """Take in a packet that came in at `now`."""
        due = now
        if self._chance.random() >= self._reorder:
            due += self._delay + self._chance.uniform(-self._jitter, self._jitter)
            # A real queue's length varies, but nobody is overtaken in it.
            pair = packet[8:40] if packet[0] >> 4 == 6 else packet[12:20]
            due = self._latest[pair] = max(due, self._latest.get(pair, 0))
        heapq.heappush(self._waiting, (due, self._serial, packet))
        self._serial += 1

    def take(self, now: float) -> bytes | None:
        """The next packet that is due at `now`."""
        return heapq.heappop(self._waiting)[2] if self._waiting and self._waiting[0][0] <= now else None

    def wait(self, now: float) -> float | None:
        """Seconds until a packet is due; None if there is none."""
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def with_one_hop_more(packet: bytes) -> bytes:
    """The packet with the hop given back that the way through the device costs: the core is one router, not two."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 6:
        changed[7] += 1
    else:
        changed[8] += 1
        # The header's ones' complement sum has grown by as much as the byte weighs in its word (RFC 1624).
        checksum = ((packet[10] << 8 | packet[11]) - 0x100) % 0xFFFF
        changed[10:12] = checksum.to_bytes(2, "big")
    return bytes(changed)


def _open(device: str) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH14x", device.encode(), _IFF_TUN_WITHOUT_HEADER))
    return tun


def _carry(tun: int, queue: Queue) -> None:
    while True:
        readable, _, _ = select.select([tun, sys.stdin], [], [], queue.wait(time.monotonic()))
        if sys.stdin in readable:  # nobody ever writes: this is its end
            return
        if tun in readable:
            now = time.monotonic()
            with suppress(BlockingIOError):
                for _ in range(_BATCH):
                    queue.put(os.read(tun, _LARGEST_PACKET), now)
        now = time.monotonic()
        packet = queue.take(now)
        while packet is not None:
            with suppress(OSError):  # one the kernel does not take is lost, as anything may be on the way
                os.write(tun, with_one_hop_more(packet))
            packet = queue.take(now)


def main(arguments: list[str]) -> int:
    """Run until the input ends."""
    device, delay, jitter, reorder = arguments
    tun = _open(device)
    with suppress(OSError):
        # Every packet of the laboratory waits for this process to be scheduled.
        os.nice(-10)
    print("ready", flush=True)
    _carry(tun, Queue(float(delay) / 1000, float(jitter) / 1000, float(reorder) / 100, random.Random()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
