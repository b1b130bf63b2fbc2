"""A file over QUIC, whose socket the Go binding has handed over, on real NATs."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import time
from pathlib import Path

from fixture import PORT, LabCase, fresh_id, optional_program
from natlab import Lab, Site
from programs import Program


class FileCopy(LabCase):
    """A file over QUIC through the hole, home x home."""

    SIZE = 8_000_003
    quic: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.quic = optional_program("go-quic", "a Go as new as its go.mod says")

    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source = Path(directory.name, "source")
        self.target = Path(directory.name, "target", "file")
        self.target.parent.mkdir()

    def start(self, lab: Lab, host: str, role: str, session: str, path: Path, server: str | None = None) -> Program:
        """`send` or `receive`."""
        argv = [self.quic, role, server or f"{lab.server.address}:{PORT}", session, str(path)]
        return self.run_program(lab, f"{role} on {host}", host, argv)

    def start_both(self, lab: Lab, size: int, server: str | None = None) -> list[Program]:
        """Someone who sends so many random bytes, and someone who receives them."""
        self.source.write_bytes(os.urandom(size))
        session = fresh_id()
        return [self.start(lab, "a", "send", session, self.source, server),
                self.start(lab, "b", "receive", session, self.target, server)]

    def assert_copied(self, programs: list[Program]) -> None:
        for copy, done in zip(programs, ("sent", "received")):
            self.assertEqual(copy.wait(), 0, copy.transcript)
            digest = hashlib.sha256(self.source.read_bytes()).hexdigest()
            [line] = copy.output
            self.assertRegex(line, rf"\A{done} {self.source.stat().st_size} bytes in \d+ ms, sha256 {digest}\Z")
        self.assertEqual(hashlib.sha256(self.target.read_bytes()).digest(),
                         hashlib.sha256(self.source.read_bytes()).digest())
        self.assert_nothing_else_left([self.target.name])

    def assert_nothing_else_left(self, names: list[str]) -> None:
        self.assertEqual(os.listdir(self.target.parent), names)

    def test_a_large_file_twice(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        for run in range(2):  # The second one overwrites.
            with self.subTest(run=run):
                self.assert_copied(self.start_both(lab, self.SIZE))

    def test_an_empty_file(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        self.assert_copied(self.start_both(lab, 0))

    def test_with_loss(self) -> None:
        lab = self.homes(loss=2)
        self.hp_server(lab)
        self.assert_copied(self.start_both(lab, self.SIZE))

    def test_over_ipv6(self) -> None:
        lab = self.build({name: Site("home", ipv6_firewall=True) for name in "ab"}, ipv6=True)
        server = f"[{lab.server.address6}]:{PORT}"
        self.hp_server(lab, address=server)
        self.assert_copied(self.start_both(lab, self.SIZE, server))

    def test_a_third_one_with_another_id_gets_nothing(self) -> None:
        lab = self.homes(3)
        self.hp_server(lab)
        stolen = self.target.with_name("stolen")
        third = self.start(lab, "c", "receive", fresh_id(), stolen)
        copies = self.start_both(lab, self.SIZE)
        for copy in copies:
            self.assertEqual(copy.wait(), 0, copy.transcript)
        third.process.send_signal(signal.SIGINT)
        self.assertEqual(third.wait(), 1, third.transcript)
        self.assertEqual(third.output, [])
        self.assertRegex(third.errors, r"\Aquic: .*canceled\Z")
        self.assert_copied(copies)

    def test_one_that_is_interrupted_tells_the_other_and_leaves_no_file(self) -> None:
        lab = self.homes()
        self.hp_server(lab)
        # Sparse, so that it takes no room; more than can be copied before the interrupt.
        with self.source.open("wb") as source:
            source.truncate(1 << 40)
        session = fresh_id()
        sender = self.start(lab, "a", "send", session, self.source)
        receiver = self.start(lab, "b", "receive", session, self.target)
        deadline = time.monotonic() + 10
        while not any(part.stat().st_size for part in self.target.parent.iterdir()):
            self.assertLess(time.monotonic(), deadline, receiver.transcript)
            time.sleep(0.01)
        sender.process.send_signal(signal.SIGINT)
        for copy, words in ((sender, "interrupt"), (receiver, "the other side has given up: ")):
            self.assertEqual(copy.wait(), 1, copy.transcript)
            self.assertIn(words, copy.errors)
        self.assert_nothing_else_left([])

    def test_a_server_that_would_have_to_be_shown_the_id_is_not_used(self) -> None:
        lab = self.homes()
        self.go_server(lab, "standin")
        for copy in self.start_both(lab, 1):
            self.assertEqual(copy.wait(), 1, copy.transcript)
            self.assertIn("dialect", copy.errors)
        self.assert_nothing_else_left([])
