"""What it costs to meet across servers that share their sessions through Redis, in one and the same run.

    HP_BIN=DIR python3 benches/store.py [--rounds 100] [--json FILE]

HP_BIN holds hp-server and timed_connect; a Redis (Debian: redis-tools) is found on the path. All is on loopback. Two programs call
at the same moment, and what is measured is the time from the first call to the last return, that is, until both have their socket.
Three ways to meet take turns: at one server without a store, at one server that shares what it knows with another one, and at two
servers, one each. The store's word is needed in the last case only: what that takes longer is what the store adds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "lab"))

from programs import PIPES, Program  # noqa: E402  (it is found only now)
from server_programs import free_port  # noqa: E402

_TIMEOUT_MS = "10000"


class Store:
    """A Redis of our own, which keeps nothing on disk."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
        if program is None:
            sys.exit("bench: there is no Redis (Debian: redis-tools)")
        # It is one program, which knows by its name what it is to be.
        link = directory / "redis-server"
        link.symlink_to(Path(program).resolve())
        self.port = free_port()
        argv = [str(link), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(argv, cwd=directory, stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        """Where servers find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


class Bench:
    """The programs, which end with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs: list[Program] = []

    def start(self, name: str, *arguments: str) -> Program:
        """One more program."""
        process = subprocess.Popen([str(self.directory / name), *arguments], **PIPES)
        self.programs.append(Program(name, process))
        return self.programs[-1]

    def server(self, *arguments: str) -> str:
        """One more server; returns its address."""
        program = self.start("hp-server", "127.0.0.1:0", "--workers", "1", "--drain", "0s", "--rate-limit", "0", *arguments)
        address = program.wait_for(r".*listening on (\S+) .*", on_stderr=True)[1]
        if "--store" in arguments:
            program.wait_for(r".*the store is there.*", on_stderr=True)
        return address

    def meet(self, servers: tuple[str, str], session: str) -> float | None:
        """How long it takes two to meet, in milliseconds; None if they do not."""
        pair = [self.start("timed_connect", "--dialect", "native", "--timeout", _TIMEOUT_MS, server, session, "1")
                for server in servers]
        for program in pair:
            program.wait_for("ready")
        for program in pair:
            program.say("go")
        calls = [int(program.wait_for(r"call (\d+)")[1]) for program in pair]
        returns = [program.wait_for(r"return (\d+) (\S+)") for program in pair]
        for program in pair:
            program.end_input()
            program.wait()
            self.programs.remove(program)
        if any(found[2] != "HP_STATUS_OK" for found in returns):
            return None
        return (max(int(found[1]) for found in returns) - min(calls)) / 1e6

    def end(self) -> None:
        """Kill what still runs."""
        for program in reversed(self.programs):
            program.process.kill()
            program.wait()


def main() -> int:
    """Run the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="how often two meet in each way")
    parser.add_argument("--json", metavar="FILE", help="where to write all that was measured")
    options = parser.parse_args()
    bench = Bench(Path(os.environ.get("HP_BIN", "")).absolute())
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        try:
            time.sleep(0.3)
            alone, one, other = bench.server(), bench.server("--store", store.url), bench.server("--store", store.url)
            ways = {"one server": (alone, alone), "one server of two": (one, one), "two servers": (one, other)}
            times: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(options.rounds):
                for name, servers in ways.items():
                    took = bench.meet(servers, f"{name} {number} {os.getpid()}")
                    if took is not None:
                        times[name].append(took)
        finally:
            bench.end()
            store.end()
    print(f"{'until both have met':20} {'met':>9} {'p50 ms':>8} {'p90 ms':>8}")
    for name, took in times.items():
        p90 = quantiles(took, n=10)[8] if len(took) > 1 else float("nan")
        print(f"{name:20} {len(took):>4} of {options.rounds:<3} {median(took):7.2f} {p90:8.2f}")
    rounds = list(zip(times["two servers"], times["one server"]))
    print(f"added by the store: {median(two - single for two, single in rounds):.2f} ms (median of the rounds); "
          f"{time.monotonic() - begin:.0f} s in all")
    if options.json:
        Path(options.json).write_text(json.dumps(times, indent=1) + "\n")
    return 0 if all(len(took) == options.rounds for took in times.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
