"""Rooms among those who do not belong there: who listens, who has another ID, and who sits on the way."""

from __future__ import annotations

import base64
import contextlib
import itertools
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Tuple

from fixture import fresh_id
from natlab import Lab, Site
from programs import PATIENCE, converse, dismiss
from rooms import Account, Event, Member, RoomCase, now, talk, wait_until
from wire import Datagram, Endpoint, Gun, Wiretap

#: How what is said in a room begins on the wire; then come the receiver's name for the channel, a number, and the text.
_SEALED = b"\x0eholep\x01\x33"
_TO, _NUMBER, _TEXT = slice(8, 12), slice(12, 20), 20
#: The seal itself, which is the shortest text.
_TAG = 16
#: What happens all the time, and what is asked for.
_TALK = ("sent", "message", "delivered", "counters")
#: Where a datagram comes from, and where it goes.
Flow = Tuple[Endpoint, Endpoint]


def spellings(secret: str) -> set[bytes]:
    """A text as it is, in hexadecimal, and in base64 wherever it begins in what is written so."""
    plain = secret.encode()
    spelled = {plain, plain.hex().encode(), plain.hex().upper().encode()}
    for before in range(3):
        whole = bytes(before) + plain
        # What encodes neighbours, too, is left out.
        inner = slice(-(-8 * before // 6), 8 * len(whole) // 6)
        spelled |= {base64.b64encode(whole)[inner], base64.urlsafe_b64encode(whole)[inner]}
    return spelled


class Onlookers(RoomCase):
    """Those who see every packet: the server, which also forwards between some, and the internet in between."""

    def test_no_packet_holds_the_id_or_what_is_said(self) -> None:
        kinds = {"a": "symmetric-random", "b": "symmetric-random", "c": "open", "d": "open"}
        lab = self.build({name: Site(kind) for name, kind in kinds.items()})
        self.start_server(lab)
        with Wiretap(lab.server) as at_server, Wiretap(lab.core) as at_core:
            room, secrets = self.converse_in_room(lab)
            call, word = self.converse_in_plain(lab)
        for tap in (at_server, at_core):
            self.assertEqual(0, tap.missed)
            sealed = sum(datagram.payload.startswith(_SEALED) for datagram in tap.datagrams)
            print(f"\n  {tap.name}: {len(tap.packets)} packets, {sealed} sealed datagrams", end="", file=sys.stderr)
            self.assertGreater(sealed, 0, tap.name)
            hidden = set().union(*map(spellings, (room, *secrets)))
            self.assertEqual([], tap.holding(*hidden), tap.name)
            # It would have been seen.
            self.assertIn(call.encode(), tap.holding(*spellings(call)), tap.name)
        self.assertEqual(3, len(at_core.holding(*spellings(word))))

    def converse_in_room(self, lab: Lab) -> tuple[str, list[str]]:
        """Returns the ID, and what was said."""
        session = fresh_id()
        members = self.join(lab, session, {name: lab.host(name) for name in "abc"})
        for member in members:
            member.wait_events("connected", 2)
        self.assertIn("relayed", [event["path"] for event in members[0].all("connected")])
        secrets = {member: f"what {member.name} says to all" for member in members}
        for member, secret in secrets.items():
            # In one datagram, and in several.
            member.say(secret)
            member.say(", ".join([secret] * 100))
        for member, other in itertools.permutations(members, 2):
            said = member.wait_events("message", 2, peer=other.id)
            self.assertEqual([1, 100], [event["text"].count(secrets[other]) for event in said])
        dismiss(members)
        return session, list(secrets.values())

    def converse_in_plain(self, lab: Lab) -> tuple[str, str]:
        """The same with nothing hidden; returns the ID, and what was said in three ways."""
        session, word = fresh_id(), "what is said to all who listen"
        plans = [self.chat_plan(lab, name, name, session, 1, "--dialect", "plain") for name in "cd"]
        chats = self.start_together(lab, plans)
        for chat in chats:
            chat.wait_connected()
        converse(chats)
        for said in (word, word.encode().hex(), base64.b64encode(f"> {word}".encode()).decode()):
            chats[0].say(said)
            chats[1].wait_for(f".*{said}")
        dismiss(chats)
        return session, word


class OtherRooms(RoomCase):
    """Those who have an ID, but not this one."""

    def test_a_wrong_id_joins_nothing(self) -> None:
        lab = self.build({"a": Site("home", hosts=2), "b": Site("home", hosts=2), "c": Site("open")})
        self.start_server(lab)
        session = fresh_id()
        with Wiretap(lab.core) as tap:
            rooms = [self.join(lab, session, {"a": lab.host("a"), "b": lab.host("b")}),
                     self.join(lab, session.upper(), {"A": lab.host("a", 1), "B": lab.host("b", 1)}),
                     self.join(lab, f"{session} ", {"c": lab.host("c")})]
            members = [member for room in rooms for member in room]
            for member in members:
                member.wait_events("registered")
            for member, mate in pairs(rooms):
                member.wait_events("connected", peer=mate.id)
            with talk(members, 0.1):
                for member, mate in pairs(rooms):
                    member.wait_events("message", 20, peer=mate.id)
        room_of = {event["endpoint"]: room[0].name for room in rooms for member in room
                   for event in member.all("registered")}
        between = Counter((room_of.get(named(datagram.source)), room_of.get(named(datagram.destination)))
                          for datagram in tap.datagrams)
        for room in rooms:
            for member in room:
                others = [other.id for other in room if other is not member]
                for kind in ("joined", "connected"):
                    self.assertEqual(others, [event["peer"] for event in member.all(kind)], member.name)
                self.assertEqual(set(others), {event["peer"] for event in member.all("message")}, member.name)
        self.assertGreater(between["a", "a"], 0)
        self.assertEqual([], [pair for pair in between if None not in pair and pair[0] != pair[1]])
        dismiss(members)


def named(endpoint: Endpoint) -> str:
    """An endpoint as `room` prints it."""
    return f"{endpoint[0]}:{endpoint[1]}"


def pairs(rooms: Sequence[Sequence[Member]]) -> list[tuple[Member, Member]]:
    """Who is in a room with whom, both ways."""
    return [pair for room in rooms for pair in itertools.permutations(room, 2)]


class Attacker:
    """Somebody between two rooms' members who sees every datagram, is faster, and sends what he likes in any name."""

    #: Where nobody is.
    _ELSEWHERE = "198.51.100.254", 4000

    def __init__(self, lab: Lab, tap: Wiretap, seed: int) -> None:
        self._lab = lab
        self._tap = tap
        self._chance = random.Random(seed)
        #: What has passed from one endpoint to another.
        self._flows: defaultdict[Flow, list[bytes]] = defaultdict(list)

    def repeat(self, datagrams: Sequence[Datagram]) -> None:
        """Send again what has passed."""
        with contextlib.closing(Gun(self._lab.core.netns)) as gun:
            for datagram in datagrams:
                gun.shoot(datagram)
                time.sleep(0.002)

    def attack(self, count: int) -> Counter[str]:
        """Sends one forgery for each sealed datagram that passes; returns how many of which kind."""
        sent: Counter[str] = Counter()
        kinds = itertools.cycle([
            self._replayed, self._replayed_late, self._replayed_from_elsewhere, self._altered, self._cut,
            self._renumbered, self._reflected, self._reflected_to_fit, self._foreign, self._foreign_to_fit])
        with contextlib.closing(Gun(self._lab.core.netns)) as gun:
            for passed in self._sealed():
                forge = next(kinds)
                gun.shoot(forge(passed))
                sent[forge.__name__[1:]] += 1
                if sum(sent.values()) == count:
                    return sent
        return sent

    def _sealed(self) -> Iterator[Datagram]:
        """What is said in the rooms, as soon as it passes here; before that, all that had passed is taken in."""
        position, begun = 0, len(self._tap.datagrams)
        while wait_until(lambda: len(self._tap.datagrams) > position, PATIENCE, pause=0.001):
            passed = self._tap.datagrams[position]
            position += 1
            if passed.payload.startswith(_SEALED):
                self._flows[passed[:2]].append(passed.payload)
                if position > begun and (passed.destination, passed.source) in self._flows:
                    yield passed

    def _replayed(self, passed: Datagram) -> Datagram:
        return passed

    def _replayed_late(self, passed: Datagram) -> Datagram:
        return passed._replace(payload=self._chance.choice(self._flows[passed[:2]]))

    def _replayed_from_elsewhere(self, passed: Datagram) -> Datagram:
        # A home's router would not let it in. One that comes first would be as good as the real one.
        late = self._replayed_late(passed)
        return late._replace(source=self._ELSEWHERE) if passed.destination[0] == self._lab.host("b").address else late

    def _altered(self, passed: Datagram) -> Datagram:
        altered = bytearray(passed.payload)
        altered[self._chance.randrange(len(altered))] ^= 1 << self._chance.randrange(8)
        return passed._replace(payload=bytes(altered))

    def _cut(self, passed: Datagram) -> Datagram:
        return passed._replace(payload=passed.payload[:self._chance.randrange(_TEXT + _TAG, len(passed.payload))])

    def _renumbered(self, passed: Datagram) -> Datagram:
        number = self._chance.randrange(1 << 32, 1 << 63).to_bytes(8, "big")
        return passed._replace(payload=passed.payload[:_NUMBER.start] + number + passed.payload[_NUMBER.stop:])

    def _reflected(self, passed: Datagram) -> Datagram:
        return Datagram(passed.destination, passed.source, passed.payload)

    def _reflected_to_fit(self, passed: Datagram) -> Datagram:
        return self._fitting(self._reflected(passed))

    def _foreign(self, passed: Datagram) -> Datagram:
        foreign = [flow for flow in self._flows if not {*flow} & {*passed[:2]}]
        return Datagram(*self._chance.choice(foreign), passed.payload)

    def _foreign_to_fit(self, passed: Datagram) -> Datagram:
        return self._fitting(self._foreign(passed))

    def _fitting(self, datagram: Datagram) -> Datagram:
        """Names the receiver's end of the channel, as what comes that way does."""
        name, payload = self._flows[datagram[:2]][-1][_TO], datagram.payload
        return datagram._replace(payload=payload[:_TO.start] + name + payload[_TO.stop:])


class OnTheWay(RoomCase):
    """An attacker between members who talk all the time."""

    _SEED = 20260101

    def test_what_he_sends_is_dropped_and_counted_and_nothing_else_happens(self) -> None:
        # One in five overtakes others.
        lab = self.build({"a": Site("home"), "b": Site("open")}, delay=20, jitter=10, reorder=20)
        self.start_server(lab)
        with Wiretap(lab.core) as passing, Wiretap(lab.host("b")) as arriving:
            rooms = [self.join(lab, fresh_id(), {f"{name} of {room}": lab.host(name) for name in "ab"})
                     for room in "12"]
            members = [member for room in rooms for member in room]
            for member, mate in pairs(rooms):
                member.wait_events("connected", peer=mate.id)
            since = now()
            with talk(members, 0.02):
                time.sleep(1)
                before = {member: member.counters() for member in members}
                attacker = Attacker(lab, passing, self._SEED)
                injected = attacker.attack(1000)
                grown = self.growth(before, injected)
                # What led to the channels is dropped as well, or answered alike; the rooms do not count that.
                attacker.repeat([other for other in passing.datagrams if not other.payload.startswith(_SEALED)])
                time.sleep(1)
            print(f"\n  {dict(injected)}\n  {dict(grown)} seed {self._SEED}", file=sys.stderr)
            self.see_all_heard(rooms)
        for member in members:
            self.assertEqual([], [event for event in member.events if event["at"] > since and is_news(event, member)],
                             member.name)
        self.assertGreater(overtaken(arriving.datagrams), 0)
        dismiss(members)

    def growth(self, before: Mapping[Member, Mapping[str, int]], injected: Counter[str]) -> Counter[str]:
        """By how much the victims' counters have grown, once they have grown enough."""
        def grown() -> Counter[str]:
            total: Counter[str] = Counter()
            for member, counters in before.items():
                total.update(Counter(member.counters()) - Counter(counters))
            return total

        sent = sum(injected.values())
        wait_until(lambda: sum(grown().values()) >= 0.95 * sent, 10)
        total = grown()
        self.assertGreater(sum(total.values()), 0.95 * sent, (injected, total))
        self.assertLess(sum(total.values()), 1.02 * sent, (injected, total))
        return total

    def see_all_heard(self, rooms: Sequence[Sequence[Member]]) -> None:
        wait_until(lambda: all(Account(*pair).is_settled for pair in pairs(rooms)), 30)
        for pair in pairs(rooms):
            account = Account(*pair)
            self.assertEqual([], account.faults())
            self.assertEqual(([], len(account.owed)), (account.undelivered, len(account.heard)))


def is_news(event: Event, member: Member) -> bool:
    """Whether it is neither talk nor that the server has been told more, which happens soon after joining."""
    first, *_ = member.all("registered")
    return event["event"] not in _TALK and (event["event"], event.get("endpoint")) != ("registered", first["endpoint"])


def overtaken(datagrams: Sequence[Datagram]) -> int:
    """How many sealed ones came later than one with a higher number that was sent under the same name."""
    highest: defaultdict[bytes, int] = defaultdict(int)
    count = 0
    for datagram in datagrams:
        if datagram.payload.startswith(_SEALED):
            name, number = datagram.payload[_TO], int.from_bytes(datagram.payload[_NUMBER], "big")
            count += number < highest[name]
            highest[name] = max(highest[name], number)
    return count
