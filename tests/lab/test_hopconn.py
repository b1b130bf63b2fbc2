"""hopconn, or what stands in for it, with itself, with the other one, and with bare sockets: on loopback."""

from __future__ import annotations

import contextlib
import socket
import time
import unittest

from fixture import tool
from hopconn import MODULE_STUMBLES, MOST, NOBODY, OWN_END, PEER_ENDED, PIECE, Hopconn
from programs import PATIENCE

_HOST = "127.0.0.1"


class Case(unittest.TestCase):
    """Programs that end with the test."""

    def start(self, flavour: str, **options: int) -> Hopconn:
        """A program that waits to be called."""
        program = Hopconn.start(flavour, Hopconn.command(tool(f"{flavour}-hopconn"), **options))
        self.addCleanup(program.kill)
        return program

    def listener(self) -> socket.socket:
        """A TCP listener on a port of its own."""
        listener = socket.create_server((_HOST, 0))
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        return listener

    def nobody(self) -> str:
        """An address whose port is taken for the length of the test, but refuses whoever calls."""
        holder = socket.socket()
        self.addCleanup(holder.close)
        holder.bind((_HOST, 0))
        return _address(holder)

    def assert_ends(self, program: Hopconn, *errors: str, closed: bool = False) -> None:
        """It has said this and nothing else, but perhaps that its own socket is `closed`, and was content."""
        status = program.wait()
        if program.name == "real" and MODULE_STUMBLES in program.errors:
            return
        self.assertEqual(status, 0, program.transcript)
        said = [error for error in program.reported_errors if not (closed and error.endswith(OWN_END))]
        self.assertEqual(said, [*errors], program.transcript)


def _address(held: socket.socket) -> str:
    host, port = held.getsockname()
    return f"{host}:{port}"


def _call(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    caller = socket.create_connection((host, int(port)), timeout=PATIENCE)
    caller.settimeout(PATIENCE)
    return caller


def _hear(end: socket.socket) -> bytes:
    """What comes first; nothing if it is the end, or a reset."""
    try:
        return end.recv(PIECE)
    except ConnectionResetError:
        return b""


def _ask(end: socket.socket) -> bytes:
    """Like `_hear`, of an end that may be the only one there is: a listener that closes during a handshake can leave
    the caller with a connection of which nobody knows, and that shows only when it is used.
    """
    end.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        end.sendall(b"?")
    return _hear(end)


class Pair:
    """Two programs; `first` dials, `second` is called."""

    first: str
    second: str

    def setUp(self) -> None:
        for flavour in (self.first, self.second):
            tool(f"{flavour}-hopconn")
        super().setUp()  # type: ignore[misc]

    def connected(self) -> tuple[Hopconn, Hopconn]:
        """A pair that has found each other."""
        second = self.start(self.second)
        address = second.local
        # Its port to dial from is free for anyone, so whoever dials comes last.
        first = self.start(self.first)
        first.attempt(address)
        for program in (first, second):
            program.wait_established()
        return first, second

    def test_data_goes_both_ways_whole_and_in_small_pieces(self) -> None:
        programs = self.connected()
        for sender, receiver in (programs, programs[::-1]):
            messages = [b"\x00", f"I am {sender.name}.\r\n".encode(), bytes(range(256)) * 40]
            for message in messages:
                sender.send(message)
            receiver.wait_received(b"".join(messages))
            self.assertLessEqual(max(map(len, receiver.pieces)), PIECE)

    def test_when_either_closes_the_other_is_told_once_and_both_end(self) -> None:
        for closing in (0, 1):
            with self.subTest(closing=closing):
                programs = self.connected()
                closer, other = programs[closing], programs[1 - closing]
                closer.end()
                self.assert_ends(other, PEER_ENDED)
                self.assert_ends(closer, closed=True)


class StandInWithStandIn(Pair, Case):
    """Always there."""

    first = second = "standin"


class StandInWithReal(Pair, Case):
    """Where the module can be had."""

    first, second = "standin", "real"


class RealWithStandIn(Pair, Case):
    """Where the module can be had."""

    first, second = "real", "standin"


class WithSockets:
    """What someone meets who speaks TCP and nothing else."""

    flavour: str

    def run_one(self, **options: int) -> Hopconn:
        """One that waits to be called."""
        return self.start(self.flavour, **options)

    def silent(self) -> str:
        """An address that never answers."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind((_HOST, 0))
        listener.listen(0)
        # It fills the queue: who comes later is not even refused.
        self.addCleanup(_call(_address(listener)).close)
        return _address(listener)

    def test_nobody_at_any_address_is_one_error(self) -> None:
        caller = self.run_one()
        caller.attempt(self.nobody(), self.nobody())
        self.assert_ends(caller, NOBODY)
        self.assertFalse(caller.established, caller.transcript)

    def test_who_closes_before_anyone_calls_is_told_that_nobody_did(self) -> None:
        for end in (Hopconn.end, Hopconn.end_input):
            waiting = self.run_one()
            waiting.wait_for(r"public .*")
            end(waiting)
            self.assert_ends(waiting, NOBODY)

    def test_more_addresses_than_there_is_room_for_are_left_out_and_calls_still_taken(self) -> None:
        listener = self.listener()
        # What is being dialed takes up no room any more.
        addresses = [self.silent(), self.nobody(), _address(listener)]
        for room in (3, 1):
            caller = self.run_one(addresses=room, timeout_ms=300, retries=1)
            caller.attempt(*addresses)
            if room == 3:
                listener.accept()[0].close()
            else:
                caller.wait_for(f"driver: .*{addresses[-1]}", on_stderr=True)
                _call(caller.local).close()
            caller.wait_established()
            self.assert_ends(caller, PEER_ENDED)

    def test_one_line_can_send_so_much_and_with_more_the_driver_ends(self) -> None:
        called = self.run_one()
        data = bytes(range(256)) * (MOST // 256)
        with _call(called.local) as caller:
            called.wait_established()
            called.send(data)
            received = bytearray()
            while len(received) < len(data):
                received += caller.recv(len(data))
            self.assertEqual(received, data)
            called.send(data + b"!")
            called.wait_for("driver: .*too long", on_stderr=True)
            self.assertEqual(_hear(caller), b"")
        self.assert_ends(called, closed=True)

    def test_addresses_are_dialed_in_turn_from_the_public_port(self) -> None:
        listener = self.listener()
        addresses = [self.nobody(), _address(listener)]
        caller = self.run_one()
        caller.attempt(*addresses)
        peer, (host, port) = listener.accept()
        with peer:
            self.assertEqual(f"{host}:{port}", caller.public)
            caller.wait_established()
        self.assert_ends(caller, PEER_ENDED)

    def test_an_address_that_keeps_silent_is_dialed_as_often_as_told_for_as_long_as_told(self) -> None:
        silent = self.silent()
        caller = self.run_one(timeout_ms=300, retries=2)
        begin = time.monotonic()
        caller.attempt(silent)
        self.assert_ends(caller, NOBODY)
        self.assertGreaterEqual(time.monotonic() - begin, 2 * 0.3, caller.transcript)

    def test_one_caller_is_taken_and_nobody_after_it(self) -> None:
        called = self.run_one()
        with _call(called.local) as first:
            called.wait_established()
            deadline = time.monotonic() + PATIENCE
            # The listener is closed beside the announcement, so a call just after it may still be answered, and reset.
            with self.assertRaises(ConnectionRefusedError):
                while time.monotonic() < deadline:
                    with contextlib.suppress(ConnectionResetError):
                        _call(called.local).close()
                    time.sleep(0.01)
            first.sendall(b"still here")
            called.wait_received(b"still here")

    def test_who_is_called_while_dialing_keeps_the_caller_and_gives_up_dialing(self) -> None:
        silent = self.silent()
        called = self.run_one(timeout_ms=60_000)
        called.attempt(silent)
        with _call(called.local) as caller:
            called.wait_established()
            called.send(b"hello")
            self.assertEqual(_hear(caller), b"hello")
        self.assert_ends(called, PEER_ENDED)

    def test_who_has_a_connection_dials_nobody(self) -> None:
        listener = self.listener()
        called = self.run_one()
        with _call(called.local):
            called.wait_established()
            called.attempt(_address(listener))
            listener.settimeout(0.3)
            with self.assertRaises(socket.timeout):
                listener.accept()
        self.assert_ends(called, PEER_ENDED)

    def test_of_several_connections_at_once_one_is_kept_and_all_others_are_ended(self) -> None:
        for _ in range(5):
            listener = self.listener()
            called = self.run_one()
            address = called.local
            called.attempt(_address(listener))
            with contextlib.ExitStack() as opened:
                ends = []
                for _ in range(3):
                    # By then the listener may be closed, or just be closing.
                    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
                        ends.append(opened.enter_context(_call(address)))
                called.wait_established()
                listener.settimeout(0.2)
                with contextlib.suppress(socket.timeout):
                    ends.append(opened.enter_context(listener.accept()[0]))
                called.send(b"you")
                heard = [_ask(end) for end in ends]
                self.assertEqual([answer for answer in heard if answer], [b"you"], called.transcript)
            self.assert_ends(called, PEER_ENDED)

    def test_a_reset_is_the_same_end_as_any_other(self) -> None:
        called = self.run_one()
        with _call(called.local) as caller:
            called.wait_established()
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.assert_ends(called, PEER_ENDED)


class StandInWithSockets(WithSockets, Case):
    """Always there."""

    flavour = "standin"


class RealWithSockets(WithSockets, Case):
    """Where the module can be had, so that it is known whether the stand-in is like it."""

    flavour = "real"
