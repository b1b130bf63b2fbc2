"""How long two homes take to connect, ours beside the existing Go client in one and the same run.

    HP_BIN=DIR HP_TOOLS=DIR python3 benches/connect.py [--scale 0.1] [--json FILE]

HP_BIN holds hp-server, timed_connect and, through a binding, timed_connect-go; HP_TOOLS what tests/interop/build.sh has built. The homes are those of
tests/natlab: endpoint-independent mapping, port-restricted filtering, and no round-trip time to speak of, so that what
is measured is what the programs add. The variants take turns, so that all of them meet the same machine.

One run: two programs, one in each home, are started and wait at a gate; both gates open; the time is from the later
call to the later return, on the clock that all processes share. The real Go client knows no gate: it is timed by its
datagrams as the core sees them, from the later first one to the server to the later first message to the peer.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "lab"))

from programs import PIPES, Program  # noqa: E402  (it is found only now)
from natlab import Lab, Site, inside, unavailable  # noqa: E402

_OUR_PORT, _THEIR_PORT = 5000, 6000
#: A run that takes longer counts as not connected.
_PATIENCE = 10.0
#: A program that does not say when it is at the gate has got there after this time.
_SETTLED = 0.05
_MESSAGE = "this is what a real program would send first"


@dataclass
class Variant:
    """One way to connect, and what came of it."""

    name: str
    argv: list[str]
    #: A line that the program prints at the gate, if it prints one.
    ready: str | None = None
    gated: bool = True
    runs: int = 0
    times_ms: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """The smallest time that at least `share` of the connected runs did not exceed."""
        ordered = sorted(self.times_ms)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


class Wire:
    """The core's view of the two homes: who has sent what, and when."""

    _ETH_P_IP = 0x0800
    _SO_TIMESTAMPNS = 35

    def __init__(self, lab: Lab, server_port: int) -> None:
        self._homes = {lab.host(site).outside for site in "ab"}
        self._server = lab.server.address, server_port
        with inside(lab.core.netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(self._ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, self._SO_TIMESTAMPNS, 1)
        self._socket.settimeout(0.02)

    def close(self) -> None:
        """An open socket keeps its namespace alive."""
        self._socket.close()

    def time_ms(self) -> float | None:
        """From the later first datagram to the server to the later first message; None if one of them stays silent."""
        asked: dict[str, float] = {}
        spoken: dict[str, float] = {}
        deadline = time.monotonic() + _PATIENCE
        while len(spoken) < len(self._homes) and time.monotonic() < deadline:
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(2048, 128)
            except socket.timeout:
                continue
            source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            now = seconds * 1000 + nanoseconds / 1e6
            if source in self._homes and (destination, int.from_bytes(packet[22:24], "big")) == self._server:
                asked.setdefault(source, now)
            elif source in self._homes and packet[28:].rstrip() == _MESSAGE.encode():
                spoken.setdefault(source, now)
        return max(spoken.values()) - max(asked.values()) if len(spoken) == len(self._homes) else None


def start_pair(lab: Lab, variant: Variant, session: str) -> list[Program]:
    """One program in each home, not released yet."""
    argv = [word.replace("SESSION", session) for word in variant.argv]
    processes = lab.start_together([("a", argv), ("b", argv)], **PIPES)
    return [Program(f"{variant.name} in {host}", process) for host, process in zip("ab", processes)]


def gated_run(lab: Lab, variant: Variant, session: str) -> float | None:
    """Milliseconds from the later call to the later return, or None if the two did not connect."""
    pair = start_pair(lab, variant, session)
    try:
        for program in pair:
            if variant.ready:
                program.wait_for(variant.ready, _PATIENCE)
        if not variant.ready:
            time.sleep(_SETTLED)
        for program in pair:
            program.say("")
        begin = time.monotonic()
        times = []
        for program in pair:
            left = max(0.01, begin + _PATIENCE - time.monotonic())
            returned = program.wait_for(r"return (\d+)(?: (\w+))?", left)
            if returned[2] not in (None, "HP_STATUS_OK"):
                return None
            times.append((int(program.wait_for(r"call (\d+)", 1)[1]), int(returned[1])))
        for program in pair:
            program.end_input()
        # A Go client says by its status that it returned from a timeout.
        if any(program.wait(2) != 0 for program in pair):
            return None
        calls, returns = zip(*times)
        return (max(returns) - max(calls)) / 1e6
    except AssertionError:
        return None
    finally:
        end(lab, pair)


def wire_run(lab: Lab, variant: Variant, session: str, port: int) -> float | None:
    """The same for a program without a gate, by what it sends."""
    wire = Wire(lab, port)
    pair = start_pair(lab, variant, session)
    try:
        for program in pair:
            program.say(_MESSAGE)
        return wire.time_ms()
    finally:
        wire.close()
        end(lab, pair)


def end(lab: Lab, pair: Sequence[Program]) -> None:
    """End what still runs, and give everything back."""
    lab.stop(*(program.process for program in pair), grace=0.5)
    for program in pair:
        program.wait()


def interleaved(variants: Sequence[Variant], counts: Sequence[int]) -> list[Variant]:
    """Each variant as often as it is asked for, spread evenly over the whole."""
    due = [((turn + 0.5) / count, position) for position, count in enumerate(counts) for turn in range(count)]
    return [variants[position] for _, position in sorted(due)]


def measure(lab: Lab, title: str, variants: Sequence[Variant], counts: Sequence[int]) -> None:
    """Do all runs of one table."""
    order = interleaved(variants, counts)
    for number, variant in enumerate(order, 1):
        if sys.stderr.isatty():
            print(f"\r{title}: {number} of {len(order)}", end="", file=sys.stderr)
        session = f"bench {os.getpid()} {title} {number}"
        took = gated_run(lab, variant, session) if variant.gated else wire_run(lab, variant, session, _THEIR_PORT)
        variant.runs += 1
        if took is not None:
            variant.times_ms.append(took)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)


_COLUMNS = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


def table(title: str, variants: Sequence[Variant]) -> str:
    """The variants as lines, and how many times longer the Go client, the last of them, takes than each of ours."""
    *ours, last = variants
    compared = [(last, variant, f"{last.name} / {variant.name}") for variant in ours if last.name.startswith("Go")]
    width = max(len(name) for name in (*(variant.name for variant in variants), *(name for *_, name in compared)))
    lines = [title, f"  {'':{width}}  connected  {''.join(f'{name:>9}' for name, _ in _COLUMNS)}   ms"]
    for variant in variants:
        connected = f"{len(variant.times_ms)} of {variant.runs}"
        times = "".join(f"{variant.quantile(share):9.1f}" for _, share in _COLUMNS)
        lines.append(f"  {variant.name:{width}} {connected:>10}  {times}")
    for theirs, variant, name in compared:
        ratios = "".join(f"{theirs.quantile(share) / variant.quantile(share):8.1f}x" for _, share in _COLUMNS)
        lines.append(f"  {name:{width}} {'':10}  {ratios}")
    return "\n".join(lines)


def existing(variable: str, name: str) -> str | None:
    """The program's path, if it is there."""
    path = Path(os.environ.get(variable, ""), name)
    return str(path.absolute()) if os.environ.get(variable) and path.is_file() else None


def our_variant(lab: Lab, dialect: str, language: str = "C") -> Variant | None:
    """Our client with our server, called from C or through a binding."""
    name = "timed_connect" if language == "C" else f"timed_connect-{language.lower()}"
    timed_connect = existing("HP_BIN", name)
    if timed_connect is None:
        return None
    argv = [timed_connect, "--dialect", dialect, f"{lab.server.address}:{_OUR_PORT}", "SESSION", "1"]
    return Variant(f"ours, {dialect}" + (f", from {language}" if language != "C" else ""), argv, "ready")


def go_variant(lab: Lab) -> Variant | None:
    """The Go client with the Go server: the real ones, or what stands in for them."""
    for flavour, label, gated in (("real", "Go", False), ("standin", "Go stand-in", True)):
        client = existing("HP_TOOLS", f"{flavour}-client")
        if client and existing("HP_TOOLS", f"{flavour}-server"):
            gate = ["-gate", "-timeout", f"{_PATIENCE:g}s"] if gated else []
            return Variant(label, [client, *gate, f"{lab.server.address}:{_THEIR_PORT}", "SESSION", "1"], gated=gated)
    return None


def start_servers(lab: Lab, go: Variant | None) -> None:
    """Both servers, side by side on one host and all the time."""
    hp_server = existing("HP_BIN", "hp-server") or sys.exit("bench: HP_BIN must hold hp-server")
    ours = Program("hp-server", lab.popen("server", [hp_server, f"{lab.server.address}:{_OUR_PORT}"], **PIPES))
    ours.wait_for(r".*listening on .*", on_stderr=True)
    if go:
        server = go.argv[0].replace("-client", "-server")
        Program("Go server", lab.popen("server", [server, f"{lab.server.address}:{_THEIR_PORT}"], **PIPES))
        # What the real one prints when it is ready is its own affair.
        time.sleep(0.5)


def main() -> int:
    """Run the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of runs")
    parser.add_argument("--json", metavar="FILE", help="where to write every time that was measured")
    options = parser.parse_args()
    reason = unavailable()
    if reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 1

    if not existing("HP_BIN", "timed_connect"):
        sys.exit("bench: HP_BIN must hold timed_connect")
    begin = time.monotonic()
    results: dict[str, list[Variant]] = {}
    with Lab({"a": Site("home"), "b": Site("home")}) as lab:
        start_servers(lab, go_variant(lab))
        plan = (("home x home", 0, (("native", "C", 200), ("native", "Go", 200), ("plain", "C", 100)), 50),
                ("home x home, 20 % loss", 20, (("native", "C", 100),), 30),
                ("home x home, 30 % loss", 30, (("native", "C", 100),), 30))
        for title, loss, ours, go_count in plan:
            lab.set_loss(loss)
            asked = [(our_variant(lab, dialect, language), count) for dialect, language, count in ours]
            variants = [variant for variant, _ in asked if variant]
            counts = [count for variant, count in asked if variant]
            go = go_variant(lab)
            if go:
                variants.append(go)
                counts.append(go_count)
            measure(lab, title, variants, [max(1, round(count * options.scale)) for count in counts])
            results[title] = variants
            print(table(title, variants), end="\n\n", flush=True)
    if go is None:
        print("The Go client is not there to compare with: HP_TOOLS names no directory that holds it.")
    elif go.gated:
        print("The Go stand-in keeps to the dialect's periods, but its speed proves nothing of the real client's.")
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, {platform.machine()}"
    print(f"{machine}; {time.monotonic() - begin:.0f} s in all.")
    if options.json:
        document = {"machine": machine, "tables": {title: [asdict(v) for v in vs] for title, vs in results.items()}}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
