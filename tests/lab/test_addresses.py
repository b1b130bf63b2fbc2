"""The examples whose users tell each other their addresses, behind real NATs: the test is the users."""

from __future__ import annotations

import unittest
from collections.abc import Sequence

from fixture import PORT, LabCase, fresh_id, program
from natlab import Lab
from programs import Participant, converse


class Exchanged(Participant):
    """One `addresses`."""

    connected_line = r"connected (\S+) (\S+) (\S+)"

    def address(self, kind: str) -> str:
        """An address of ours, for the peer."""
        return self.wait_for(kind + r" (\S+)")[1]


class TwoHomes(LabCase):
    """Both need to know where the other is seen, and both have to begin."""

    def start_pair(self, lab: Lab, *options: str) -> list[Exchanged]:
        argv = [program("addresses"), "--server", f"{lab.server.address}:{PORT}", *options]
        pair = self.start_together(lab, [(Exchanged, site, lab.host(site), argv) for site in "ab"])
        return [side for side in pair if isinstance(side, Exchanged)]

    def assert_meet(self, kinds: Sequence[str], *options: str) -> None:
        lab = self.homes()
        self.hp_server(lab)
        pair = self.start_pair(lab, *options)
        told = [",".join(map(side.address, kinds)) for side in pair]
        for side, line in zip(pair, reversed(told)):
            side.say(line)
        for side, other in zip(pair, "ba"):
            side.wait_connected()
            endpoint = side.wait_for(side.connected_line or "")[1]
            self.assertEqual(lab.host(other).outside, endpoint.rpartition(":")[0])
        converse(pair)
        leaves, stays = pair
        leaves.end_input()
        self.assertEqual(0, leaves.wait(), leaves.transcript)
        if "--unauthenticated" in options:
            # Nobody who proves nothing can say over UDP that it has gone.
            stays.end_input()
        self.assertEqual(0, stays.wait(), stays.transcript)

    def test_meet_by_exchanged_addresses(self) -> None:
        self.assert_meet(["local", "public"], "--id", fresh_id())

    def test_meet_without_an_id(self) -> None:
        self.assert_meet(["public"], "--unauthenticated")
