"""A server that comes late, goes away and comes back."""

from __future__ import annotations

import time

from fixture import LabCase, await_plain_answer, fresh_id
from natlab import Site
from programs import converse, dismiss

#: A waiting native client says every 10 s that it is there, and learns then that the server has forgotten it.
_HEARTBEAT = 10.0


class Restart(LabCase):
    """Registrations live in the server's memory only."""

    def test_clients_that_start_before_the_server_connect_once_it_is_there(self) -> None:
        lab = self.homes()
        session = fresh_id()
        chats = self.start_together(lab, [self.chat_plan(lab, host, host, session) for host in "ab"])
        time.sleep(0.7)
        self.hp_server(lab)
        for chat in chats:
            chat.wait_connected(timeout=3)
        converse(chats)
        dismiss(chats)

    def test_those_who_waited_while_the_server_was_killed_and_restarted_still_connect(self) -> None:
        lab = self.build({name: Site("home", hosts=3) for name in "abc"})
        server = self.hp_server(lab)
        sessions = {"one waits": fresh_id(), "two wait": fresh_id(), "plain waits": fresh_id()}
        waiting = self.start_together(lab, [
            self.chat_plan(lab, "one waits a", lab.host("a", 0), sessions["one waits"], 1),
            self.chat_plan(lab, "two wait a", lab.host("a", 1), sessions["two wait"], 2),
            self.chat_plan(lab, "two wait b", lab.host("b", 1), sessions["two wait"], 2),
            self.chat_plan(lab, "plain waits a", lab.host("a", 2), sessions["plain waits"], 1, "--dialect", "plain")])
        time.sleep(0.5)
        lab.stop(server.process, grace=0)
        time.sleep(0.3)
        self.hp_server(lab)
        await_plain_answer(lab)
        joining = self.start_together(lab, [
            self.chat_plan(lab, "one waits b", lab.host("b", 0), sessions["one waits"], 1),
            self.chat_plan(lab, "two wait c", lab.host("c", 1), sessions["two wait"], 2),
            self.chat_plan(lab, "plain waits b", lab.host("b", 2), sessions["plain waits"], 1)])
        everyone = waiting + joining
        for chat in everyone:
            chat.wait_connected(timeout=_HEARTBEAT + 5)
        for group in sessions:
            converse([chat for chat in everyone if chat.name.startswith(group)])
        dismiss(everyone)

    def test_one_who_waited_at_a_plain_server_is_one_peer_to_those_who_come_to_ours(self) -> None:
        # What waits has fallen back to the plain dialect, but its probes are native still.
        lab = self.homes()
        plain_server = self.go_server(lab, "standin")
        session = fresh_id()
        waiting = self.chat(lab, "a", "a", session)
        time.sleep(0.4)
        lab.stop(plain_server.process, grace=0)
        self.hp_server(lab)
        time.sleep(0.3)
        joining = self.chat(lab, "b", "b", session)
        for chat in (waiting, joining):
            chat.wait_connected()
        converse([waiting, joining])
        for chat in (waiting, joining):
            self.assertEqual(len(chat.peers), 1, chat.transcript)
        dismiss([waiting, joining])

    def test_a_server_that_restarts_after_the_call_is_not_missed(self) -> None:
        lab = self.homes()
        server = self.hp_server(lab)
        session = fresh_id()
        chats = self.start_together(lab, [self.chat_plan(lab, host, host, session) for host in "ab"])
        for chat in chats:
            chat.wait_connected()
        lab.stop(server.process, grace=0)
        converse(chats)
        self.hp_server(lab)
        self.assert_pair_talks(lab)
        converse(chats)
        dismiss(chats)
