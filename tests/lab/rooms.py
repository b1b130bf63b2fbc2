"""The example `room` as a test sees it: its events, its clock, steady talk, and the account of every message."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Dict

from fixture import PORT, LabCase, program
from natlab import Lab, Node
from programs import PATIENCE, Participant, Program

#: One line of what `room` prints: when (`at`), what (`event`), and what belongs to it.
Event = Dict[str, Any]

#: What follows the kind of an event, the last of them up to the end of the line.
_FIELDS = {"local": "peer fingerprint", "registered": "endpoint", "joined": "peer",
           "connected": "peer endpoint path fingerprint", "path": "peer endpoint path", "message": "peer text",
           "delivered": "peer number", "untaken": "peer number", "left": "peer reason undelivered",
           "sent": "number text", "counters": "strangers forged replayed malformed"}
_COUNTERS = _FIELDS["counters"].split()
_READERS: Mapping[str, Callable[[str], Any]] = {"undelivered": json.loads, **dict.fromkeys(["number", *_COUNTERS], int)}


def _parsed(line: str) -> Event:
    at, kind, *rest = line.split(" ", 2)
    names = _FIELDS.get(kind, "text").split()
    values = zip(names, "".join(rest).split(" ", len(names) - 1))
    return {"at": float(at), "event": kind, **{name: _READERS.get(name, str)(value) for name, value in values}}


def now() -> float:
    """The time as `room` prints it."""
    return time.time()


class Member(Participant):
    """One `room`."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        super().__init__(name, process)
        self._events: list[Event] = []

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        with self._changed:
            new = self._lines[len(self._events):]
        self._events += map(_parsed, new)
        return self._events

    @property
    def id(self) -> str:
        """Its name in the room."""
        return str(self.wait_events("local")[0]["peer"])

    def all(self, kind: str, since: float = 0, **wanted: object) -> list[Event]:
        """The events of a kind so far, those with the wanted values."""
        return [event for event in self.events if event["event"] == kind and event["at"] >= since
                and all(event[key] == value for key, value in wanted.items())]

    def wait_events(self, kind: str, count: int = 1, timeout: float = PATIENCE, since: float = 0,
                    **wanted: object) -> list[Event]:
        """The events of a kind as soon as there are so many."""
        def found() -> list[Event]:
            return self.all(kind, since, **wanted)

        if not wait_until(lambda: len(found()) >= count, timeout):
            said = [line for line in self.output if not _is_talk(line)]
            missing = f"{self.name}: {len(found())} of {count} {kind} {wanted} within {timeout:g} s"
            raise AssertionError("\n  ".join([missing, *said, self.errors]))
        return found()

    def counters(self) -> dict[str, int]:
        """How much it has dropped so far, by kind."""
        told = len(self.all("counters"))
        self.say("/counters")
        newest = self.wait_events("counters", told + 1)[-1]
        return {name: newest[name] for name in _COUNTERS}


def _is_talk(line: str) -> bool:
    return line.split(" ", 2)[1] in ("sent", "message", "delivered")


def wait_until(fulfilled: Callable[[], bool], timeout: float, pause: float = 0.02) -> bool:
    """Whether it is so within that time; returns as soon as it is."""
    deadline = time.monotonic() + timeout
    while not fulfilled():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


class RoomCase(LabCase):
    """A test case with rooms."""

    def start_server(self, lab: Lab) -> Program:
        """A server that helps where no direct way leads."""
        return self.hp_server(lab, "--other-address", lab.server.addresses[1], "--relay")

    def join(self, lab: Lab, session: str, hosts: Mapping[str, Node]) -> list[Member]:
        """Have somebody of each name join on each host, all at once."""
        argv = [program("room"), f"{lab.server.address}:{PORT}", session]
        joined = self.start_together(lab, [(Member, name, host, argv) for name, host in hosts.items()])
        return [member for member in joined if isinstance(member, Member)]


@contextlib.contextmanager
def talk(members: Sequence[Member], pause: float, word: str = "") -> Iterator[None]:
    """Have all say numbered messages to all, all the time."""
    ended = threading.Event()

    def say() -> None:
        number = 0
        while not ended.wait(pause):
            number += 1
            for member in members:
                member.say(f"{word}{member.name} {number}")

    talker = threading.Thread(target=say)
    talker.start()
    try:
        yield
    finally:
        ended.set()
        talker.join()


class Account:
    """What has become of the messages from one member to another, who were connected when the first one was sent."""

    #: Seconds within which a message may, or may not, have been for somebody who was leaving.
    _DOUBT = 0.1

    def __init__(self, sender: Member, receiver: Member) -> None:
        whom, whence = receiver.id, sender.id
        left = sender.all("left", peer=whom)
        until = left[0]["at"] if left else math.inf
        sent = sender.all("sent")
        self._texts = {event["number"]: event["text"] for event in sent}
        #: Messages for which something must have been told, and all told of.
        self.owed = {event["number"] for event in sent if event["at"] < until - self._DOUBT}
        self.delivered = [event["number"] for event in sender.all("delivered", peer=whom)]
        self.undelivered = [number for event in left for number in event["undelivered"]]
        self.undelivered += [event["number"] for event in sender.all("untaken", peer=whom)]
        self.heard = [event["text"] for event in receiver.all("message", peer=whence)]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is pending."""
        return self.owed <= {*self.delivered, *self.undelivered}

    def faults(self, *, sender_killed: bool = False, receiver_killed: bool = False) -> list[str]:
        """What is wrong. Who was killed tells nothing of its last messages, and not all that it has heard."""
        told = self.delivered + self.undelivered
        faults = []
        if len(told) != len(set(told)):
            faults.append(f"told of more than once: {_repeated(told)}")
        if not self.is_settled and not sender_killed:
            faults.append(f"told nothing of {sorted(self.owed - set(told))}")
        numbers = {text: number for number, text in self._texts.items()}
        heard = [numbers.get(text, math.inf if sender_killed else -1) for text in self.heard]
        if heard != sorted(set(heard)):
            faults.append(f"not heard once and in order: {self.heard}")
        unheard = set(self.delivered) - set(heard)
        if unheard and not receiver_killed:
            faults.append(f"delivered, but not heard: {sorted(unheard)}")
        return faults


def _repeated(numbers: Sequence[int]) -> list[int]:
    return [number for number, count in Counter(numbers).items() if count > 1]
