"""The part of the self-test about programs inside a laboratory, and about its end in every way there is."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
import unittest
from pathlib import Path

import netns
from natlab import Lab, LabError, Site, unavailable
from probes import PATIENCE, LabTestCase

_HERE = Path(__file__).parent


def setUpModule() -> None:
    """Skip everything where laboratories cannot be built."""
    reason = unavailable()
    if reason:
        raise unittest.SkipTest(reason)


class Programs(LabTestCase):
    """Running programs inside, and the end of everything."""

    def test_run_returns_output_and_status_and_ends_what_takes_too_long(self) -> None:
        lab = self.build({"a": Site()})
        result = lab.run("a", ["sh", "-c", "ip -4 -brief address show wan; cat; exit 3"], input="words")
        self.assertEqual(result.returncode, 3)
        self.assertIn(lab.host("a").address, result.stdout)
        self.assertIn("words", result.stdout)
        with self.assertRaises(subprocess.TimeoutExpired):
            lab.run("a", ["sh", "-c", "sleep 60 & sleep 60"], timeout=0.1)
        self.assert_programs_inside(lab, 0)

    def test_programs_start_together_or_staggered(self) -> None:
        lab = self.build({"a": Site(), "b": Site()})
        clock = [sys.executable, "-S", "-c", "import time; print(time.monotonic())"]
        for stagger in (0.0, 0.2):
            started = [float(program.communicate()[0]) for program in
                       lab.start_together([("a", clock), ("b", clock)], stagger, stdout=subprocess.PIPE)]
            self.assertAlmostEqual(started[1] - started[0], stagger, delta=0.1)

    def test_closing_ends_daemons_and_stopped_programs(self) -> None:
        lab = self.build({"a": Site()})
        lab.run("a", ["sh", "-c", "trap '' TERM; setsid sleep 60 >/dev/null 2>&1 &"])
        lab.popen("a", ["sh", "-c", "kill -STOP $$; sleep 60"])
        lab.popen("server", ["sleep", "60"], start_new_session=False)
        self.assert_programs_inside(lab, 3)
        identities = _identities(lab)
        lab.close()
        self.assertEqual(len(list(netns._processes_inside(identities))), 0)
        self.assertEqual(_left_of(lab), [])
        lab.close()
        with self.assertRaises(LabError):
            lab.popen("a", ["true"])

    def test_an_exception_leaves_nothing_behind(self) -> None:
        with self.assertRaises(ZeroDivisionError), Lab({"a": Site()}) as lab:
            raise ZeroDivisionError
        self.assertEqual(_left_of(lab), [])

    def test_a_failed_build_leaves_nothing_behind(self) -> None:
        lab = Lab({"a": Site()})
        lab._topology._links.append("link add nonsense")
        with self.assertRaises(LabError):
            lab.__enter__()
        self.assertEqual(_left_of(lab), [])

    def test_signals_leave_nothing_behind(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            for in_thread in (False, True):
                with self.subTest(number.name, in_thread=in_thread):
                    program, prefix, inner = self._program_with_lab(in_thread)
                    program.send_signal(number)
                    program.wait(10)
                    self.assertEqual((netns.names(prefix), netns._alive(inner)), ([], False))

    def test_the_next_laboratory_sweeps_up_after_a_killed_one(self) -> None:
        program, prefix, inner = self._program_with_lab(in_thread=False)
        program.kill()
        program.wait()
        self.assertTrue(netns.names(prefix))
        netns.sweep()
        self.assertEqual((netns.names(prefix), netns._alive(inner)), ([], False))

    def assert_programs_inside(self, lab: Lab, expected: int) -> None:
        """That many processes are in the laboratory's namespaces, once starting and dying have taken their course."""
        deadline = time.monotonic() + PATIENCE
        while _programs_inside(lab) != expected and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(_programs_inside(lab), expected)

    def _program_with_lab(self, in_thread: bool) -> tuple[subprocess.Popen[str], str, int]:
        """A process with a laboratory and a program in it: the process, its names' prefix, the program's number."""
        code = textwrap.dedent("""
            import sys, threading, time
            import natlab
            def work():
                with natlab.Lab({"a": natlab.Site()}) as lab:
                    program = lab.popen("a", ["sleep", "60"])
                    print(program.pid, flush=True)
                    program.wait()
            if sys.argv[1] == "True":
                natlab.handle_signals()
                threading.Thread(target=work).start()
                time.sleep(60)
            work()
        """)
        program = subprocess.Popen([sys.executable, "-c", code, str(in_thread)], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, cwd=_HERE)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        assert program.stdout is not None
        with program.stdout:
            return program, f"hp{program.pid}-", int(program.stdout.readline())


class CommandLine(unittest.TestCase):
    """The laboratory for tests in other languages."""

    def test_the_command_finds_its_way_in_and_its_status_comes_back(self) -> None:
        command = "echo $NATLAB_B_2_ADDRESS; $NATLAB_B_2 ip -brief address show wan; exit 7"
        result = subprocess.run([sys.executable, str(_HERE / "cli.py"), "--site", "a=open", "--site",
                                 "b=home,hosts=2,input=accept,carrier=adm,no-udp,only-tcp=443", "--loss", "1.5",
                                 "--tcp-loss", "0.5", "--", "sh", "-c", command],
                                stdout=subprocess.PIPE, text=True)
        address, interface = result.stdout.splitlines()
        self.assertIn(f" {address}/24", interface)
        self.assertEqual(result.returncode, 7)


def _identities(lab: Lab) -> set[tuple[int, int]]:
    return netns._identities(lab._topology.netns_names)


def _programs_inside(lab: Lab) -> int:
    return len(list(netns._processes_inside(_identities(lab))))


def _left_of(lab: Lab) -> list[str]:
    return [name for name in lab._topology.netns_names if (netns.NETNS_DIRECTORY / name).exists()]
