"""Runs the laboratory's tests several at a time, each in laboratories of its own: most of their time is waiting.

    HP_BIN=DIR HP_TOOLS=DIR python3 tests/lab/run.py [--jobs N] [NAME...]

NAME is a module, a class or a test as unittest knows them, such as test_pairs.TwoHomes; without any, all tests run. Classes
that need the processors to themselves say so with `alone = True`; their tests come last, one after the other. Ends with
unittest's summary, so `python3 -m unittest discover -s tests/lab`, one test at a time, can be read alike.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import ctypes
import io
import multiprocessing
import os
import signal
import sys
import time
import unittest
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
#: The laboratory is a set of modules beside this directory.
sys.path[:0] = [str(_HERE), str(_HERE.parent / "natlab")]

from natlab import close_all  # noqa: E402  (it is found only now)

_PR_SET_PDEATHSIG = 1
_tests: list[unittest.TestCase] = []
_main = os.getpid()


@dataclass(frozen=True)
class Outcome:
    """What became of one test."""

    output: str
    seconds: float
    failures: int
    errors: int
    skipped: int


def every_test(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """The tests in a suite of suites."""
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from every_test(part)
        else:
            yield part


def load(names: Sequence[str]) -> list[unittest.TestCase]:
    """The tests of those names, or all there are."""
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(names) if names else loader.discover(str(_HERE))
    return list(every_test(suite))


def prepare_worker() -> None:
    """Have this process told, which ends its laboratories, should the one that started it be gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    end_if_alone()


def end_if_alone() -> None:
    """unittest takes the exit that the signal asks for as a test's error, and goes on."""
    if os.getppid() != _main:
        close_all()
        os._exit(1)


def run(number: int) -> Outcome:
    """Run one test with its class's preparations, in a worker, which has the tests from its parent."""
    end_if_alone()
    said = io.StringIO()
    begin = time.monotonic()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        result = unittest.TextTestResult(unittest.runner._WritelnDecorator(said), True, 2)  # type: ignore[attr-defined]
        unittest.TestSuite([_tests[number]]).run(result)
        result.printErrors()
    end_if_alone()
    return Outcome(said.getvalue(), time.monotonic() - begin, len(result.failures), len(result.errors),
                   len(result.skipped))


def run_all(jobs: int) -> Iterator[Outcome]:
    """The outcomes in the order in which they come."""
    context = multiprocessing.get_context("fork")
    for workers, alone in ((jobs, False), (1, True)):
        together = [number for number, test in enumerate(_tests) if getattr(test, "alone", False) == alone]
        with concurrent.futures.ProcessPoolExecutor(workers, context, prepare_worker) as pool:
            for done in concurrent.futures.as_completed([pool.submit(run, number) for number in together]):
                yield done.result()


def main() -> int:
    """Run the command line; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), metavar="N",
                        help="tests at the same time, default: two per core")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    _tests.extend(load(options.names))
    begin = time.monotonic()
    outcomes = []
    for outcome in run_all(options.jobs):
        outcomes.append(outcome)
        print(f"{outcome.output.rstrip()}  ({outcome.seconds:.1f} s)", flush=True)
    print(f"\nRan {len(outcomes)} tests in {time.monotonic() - begin:.1f} s\n")
    counts = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in ("failures", "errors", "skipped")}
    content = not counts["failures"] and not counts["errors"] and bool(outcomes)
    found = ", ".join(f"{name}={count}" for name, count in counts.items() if count)
    print(("OK" if content else "FAILED") + (f" ({found})" if found else ""))
    return 0 if content else 1


if __name__ == "__main__":
    sys.exit(main())
