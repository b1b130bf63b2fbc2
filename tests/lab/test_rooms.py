"""Rooms whose members sit behind NATs of every kind: they come, go, die and move, and talk all the time."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from fixture import fresh_id
from natlab import Node, Site
from rooms import Account, Event, Member, RoomCase, now, talk, wait_until

#: Seconds from one message to the next.
_PAUSE = 0.25
#: What is promised, in seconds, and what is let pass on a machine that has too much else to do.
_TOLD_OF_DEATH, _TOLD_OF_DEATH_AT_MOST = 16.0, 20.0
_TOLD_OF_LEAVE, _TOLD_OF_LEAVE_AT_MOST = 0.3, 2.0
_RESUMED, _RESUMED_AT_MOST = 3.0, 6.0


def report(what: str, times: Sequence[float], promised: float) -> None:
    """Print measured times."""
    print(f"  {what}: median {statistics.median(times):.3f} s, most {max(times):.3f} s of {len(times)}; "
          f"promised {promised:g} s", file=sys.stderr)


class TenMembers(RoomCase):
    """One long day in a room, with 10 % loss."""

    #: Twenty programs' worth of work.
    alone = True

    def setUp(self) -> None:
        super().setUp()
        kinds = {"open": "open", "cone": "full-cone", "restricted": "address-restricted", "home": "home",
                 "flat": "home", "steps": "symmetric-sequential", "random": "symmetric-random", "adm": "adm"}
        sites = {name: Site(kind, hosts=2 if name == "flat" else 1) for name, kind in kinds.items()}
        self.lab = self.build({**sites, "carried": Site("home", carrier="home")}, loss=10)
        self.server = self.start_server(self.lab)
        self.began = now()
        self.members = {member.name: member for member in self.join(self.lab, fresh_id(), self.lab.hosts)}
        self.there = list(self.members.values())

    def others(self, member: Member) -> list[Member]:
        return [other for other in self.there if other is not member]

    def test_every_message_is_accounted_for_whatever_happens(self) -> None:
        print(file=sys.stderr)
        times = [event["at"] - self.began for member in self.there for event in member.wait_events("connected", 9, 60)]
        report("90 connections", times, 15)
        killed, gone = self.members["restricted.1"], self.members["cone.1"]
        with talk(self.there, _PAUSE):
            time.sleep(2)
            dead_at = now()
            killed.process.kill()
            self.there.remove(killed)
            time.sleep(1)
            self.see_somebody_leave(gone)
            self.see_told_of(killed, dead_at, "death", _TOLD_OF_DEATH, _TOLD_OF_DEATH_AT_MOST)
            with self.subTest():
                self.see_nobody_lost_while_the_server_is_away()
            moved = self.members["home.1"]
            with self.subTest():
                self.see_traffic_resume(moved, "another address", self.move_host)
            with self.subTest():
                self.see_traffic_resume(moved, "another outside address", self.move_router)
        self.assertEqual(0, gone.wait(), gone.errors)
        self.see_all_settled(killed)

    def see_somebody_leave(self, gone: Member) -> None:
        left_at = now()
        gone.say("/leave")
        self.there.remove(gone)
        self.see_told_of(gone, left_at, "goodbye", _TOLD_OF_LEAVE, _TOLD_OF_LEAVE_AT_MOST)
        for member in self.there:
            self.assertEqual("goodbye", member.all("left", peer=gone.id)[0]["reason"])

    def see_told_of(self, gone: Member, since: float, what: str, promised: float, at_most: float) -> None:
        told = [member.wait_events("left", timeout=at_most + 5, peer=gone.id)[0]["at"] - since for member in self.there]
        report(f"told of a {what}", told, promised)
        self.assertLess(statistics.median(told), promised)
        self.assertLess(max(told), at_most)

    def see_nobody_lost_while_the_server_is_away(self) -> None:
        since = now()
        self.server.process.kill()
        time.sleep(4)
        back_at = now()
        self.server = self.start_server(self.lab)
        # All have told the new server that they are there.
        times = [member.wait_events("registered", timeout=30, since=back_at)[0]["at"] - back_at for member in self.there]
        report("registered again", times, 15)
        time.sleep(2)
        lost = [self.describe_loss(member, left) for member in self.there for left in member.all("left", since)]
        self.assertEqual([], lost)

    def describe_loss(self, member: Member, left: Event) -> str:
        [peer] = (other for other in self.members.values() if other.id == left["peer"])
        path = [event for event in member.events if event["event"] in ("connected", "path") and event["peer"] == peer.id]
        return f"{member.name} lost {peer.name} ({path[-1]['path']}): {left['reason']}"

    def move_host(self) -> None:
        host = self.lab.host("home")
        old = host.address
        new, gateway = (old.rpartition(".")[0] + last for last in (".77", ".1"))
        self.run_ip(host, f"address delete {old}/24 dev wan", f"address add {new}/24 dev wan",
                    f"route add default via {gateway}")

    def move_router(self) -> None:
        router, new = self.lab.router("home"), "198.51.100.250"
        before, _, last = router.address.rpartition(".")
        gateway = f"{before}.{int(last) - 1}"
        port = self.lab.run(self.lab.core, ["ip", "-oneline", "route", "get", router.address]).stdout.split()[2]
        self.run_ip(self.lab.core, f"route add {new} dev {port}")
        self.run_ip(router, f"address delete {router.address}/31 dev wan", f"address add {new}/32 dev wan",
                    f"route add {gateway} dev wan", f"route add default via {gateway}")

    def run_ip(self, node: Node, *lines: str) -> None:
        done = self.lab.run(node, ["ip", "-batch", "-"], input="\n".join(lines))
        self.assertEqual((0, ""), (done.returncode, done.stderr))

    def see_traffic_resume(self, moved: Member, what: str, move: Callable[[], None]) -> None:
        since = now()
        move()
        pairs = [pair for other in self.others(moved) for pair in ((moved, other), (other, moved))]
        times = {f"{sender.name} to {receiver.name}": self.first_heard(sender, receiver, since) - since
                 for sender, receiver in pairs}
        report(f"traffic after {what}", list(times.values()), _RESUMED)
        self.assertLess(max(times.values()), _RESUMED_AT_MOST, times)

    def first_heard(self, sender: Member, receiver: Member, since: float) -> float:
        """When the receiver heard the first message that was sent after that time."""
        def heard() -> list[float]:
            said = {event["text"] for event in sender.all("sent", since)}
            return [event["at"] for event in receiver.all("message", since, peer=sender.id) if event["text"] in said]

        wait_until(lambda: bool(heard()), 30)
        return min(heard(), default=math.inf)

    def see_all_settled(self, killed: Member) -> None:
        everyone = list(self.members.values())
        pairs = [(sender, receiver) for sender in everyone for receiver in everyone if sender is not receiver]
        wait_until(lambda: all(Account(*pair).is_settled for pair in pairs if pair[0] is not killed), 30)
        faults, sent, undelivered = [], 0, 0
        for sender, receiver in pairs:
            account = Account(sender, receiver)
            sent, undelivered = sent + len(account.owed), undelivered + len(account.undelivered)
            faults += [f"{sender.name} to {receiver.name}: {fault}"
                       for fault in account.faults(sender_killed=sender is killed, receiver_killed=receiver is killed)]
        print(f"  {sent} messages, {undelivered} of them reported as undelivered", file=sys.stderr)
        self.assertEqual([], faults, "\n".join(faults))
