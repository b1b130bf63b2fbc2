"""What `hp pipe` moves, on real NATs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from fixture import PORT, LabCase, fresh_id, program
from natlab import Lab
from programs import Program

_MIB = 1 << 20


class Pipe(LabCase):
    """Home x home, 5 % loss, one way."""

    #: It fills the processors.
    alone = True
    #: How much is moved, in MiB. Two processors that do other work, too, take less than a minute for HP_PIPE_MIB=1024.
    size = int(os.environ.get("HP_PIPE_MIB", "256"))
    #: Seconds for that, at a fifth of this speed.
    patience = 60 + size / 4

    def pipe(self, lab: Lab, host: str, session: str, streams: str) -> Program:
        """One end, whose standard input and output are what `streams` says to the shell."""
        script = f'set -o pipefail; "$@" {streams}'
        argv = [program("hp"), "pipe", "--server", f"{lab.server.address}:{PORT}", session]
        return self.run_program(lab, f"pipe on {host}", host, ["bash", "-c", script, "bash", *argv])

    def test_all_comes_as_it_was_through_two_nats_with_loss(self) -> None:
        lab = self.homes(loss=5)
        self.hp_server(lab)
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "source")
            with source.open("wb") as file:
                for _ in range(self.size):
                    block = os.urandom(_MIB)
                    digest.update(block)
                    file.write(block)
            session = fresh_id()
            receiver = self.pipe(lab, "b", session, "</dev/null | sha256sum")
            sender = self.pipe(lab, "a", session, f"<{source}")
            for end in (sender, receiver):
                self.assertEqual(end.wait(self.patience), 0, end.transcript)
        self.assertEqual(receiver.output, [f"{digest.hexdigest()}  -"], receiver.transcript)
        self.assertRegex(receiver.errors, rf"the other end is at {lab.router('a').address}:\d+ \(")
        print(sender.errors.splitlines()[-1])
