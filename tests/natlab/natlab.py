"""A small internet in network namespaces: sites behind NATs of every kind, a core that loses or delays, a server.

    with Lab({"a": Site("home"), "b": Site("symmetric-random")}, loss=10) as lab:
        server = lab.popen(lab.server, ["hp-server", "--listen", f"{lab.server.address}:4000"])
        result = lab.run(lab.host("a"), ["hp", "check", f"{lab.server.address}:4000"], timeout=10)

Needs root, iproute2 and nftables; `unavailable()` says what is missing. No packet leaves the namespaces.
"""

from __future__ import annotations

import atexit
import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import netns
from nat_rules import DELAY_DEVICE, NAT_KINDS, Router
from netns import inside, unavailable
from topology import Impairment, Node, Site, Topology

__all__ = ["Lab", "LabError", "NAT_KINDS", "Node", "Router", "Site", "close_all", "handle_signals", "inside",
           "unavailable"]

_HERE = Path(__file__).resolve().parent
#: How long a program may take to end after SIGTERM before it is killed.
_GRACE = 1.0


class LabError(Exception):
    """The laboratory could not be built or changed; the message holds what the tool said."""


class Lab:
    """The laboratory as a context manager: built on entry, gone on exit, whatever ends the program.

    `sites` maps names to sites, `carriers` names NATs that several sites may share as `Site(carrier=name)`, `loss` is
    the percentage of UDP packets that the core drops in each direction, `tcp_loss` that of TCP packets, `ipv6` adds
    addresses and routes without NAT. `delay`, `jitter` (milliseconds one way) and `reorder` (percent) are what
    `Impairment` says of them. Hosts are named by `Node`, or by strings: "a" is the first host of site a, "a.2" its
    second, "server" the server.
    """

    _serial = itertools.count(1)
    _swept = False

    def __init__(self, sites: Mapping[str, Site], *, carriers: Mapping[str, Router] | None = None,
                 loss: float = 0, delay: float = 0, jitter: float = 0, reorder: float = 0, tcp_loss: float = 0,
                 ipv6: bool = False) -> None:
        self._owner = os.getpid()
        self._impairment = Impairment(loss, delay, jitter, reorder, tcp_loss)
        self._topology = Topology(f"hp{self._owner}-{next(Lab._serial)}-", sites, carriers or {}, self._impairment,
                                  ipv6)
        self._programs: list[subprocess.Popen[Any]] = []
        self._own_session: weakref.WeakSet[subprocess.Popen[Any]] = weakref.WeakSet()
        #: What is closed with the laboratory: the probes' sockets, the pipes to its own helpers.
        self._open: list[Any] = []
        self._builder = 0
        self._built = False
        self._lock = threading.RLock()

    @property
    def server(self) -> Node:
        """The server's host; it has two IPv4 addresses, `addresses[0]` and `addresses[1]`."""
        return self._topology.server

    @property
    def core(self) -> Node:
        """The router in the middle, where packets are lost and where a capture sees everything."""
        return self._topology.core

    def host(self, site: str, index: int = 0) -> Node:
        """A host of `site`, counted from 0."""
        return self._topology.hosts[site][index]

    def router(self, site: str) -> Node:
        """The site's own router. Open sites have none."""
        return self._topology.routers[site]

    def carrier(self, name: str) -> Node:
        """The carrier of that name, or the one in front of the site of that name."""
        return self._topology.carriers[name]

    def __enter__(self) -> Lab:
        reason = unavailable() if not Lab._swept else None
        if reason:
            raise LabError(reason)
        with self._lock:
            self._builder = threading.get_ident()
            _live_labs.add(self)
            if threading.current_thread() is threading.main_thread():
                handle_signals()
            try:
                self._build()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def _build(self) -> None:
        if not Lab._swept:
            netns.sweep()
            Lab._swept = True
        self._built = True
        _check("ip", subprocess.run(["ip", "-batch", "-"], input=self._topology.wiring, env=netns.environment(),
                                    text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        scripts = {name: subprocess.Popen([*netns.enter_command(name), "sh", "-c", script], env=netns.environment(),
                                          text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT)
                   for name, script in self._topology.scripts.items()}
        try:
            for name, script in scripts.items():
                output, _ = script.communicate()
                _check(name, subprocess.CompletedProcess(name, script.returncode, output))
        finally:
            for script in scripts.values():
                if script.poll() is None:
                    script.kill()
                    script.communicate()
        if self._impairment.delay:
            self._start_delay()

    def _start_delay(self) -> None:
        numbers = (self._impairment.delay, self._impairment.jitter, self._impairment.reorder)
        # Its input is a pipe that this process holds and never writes to: should this one be killed, that one ends.
        program = self.popen(self.core, [sys.executable, "-S", str(_HERE / "core_delay.py"), DELAY_DEVICE,
                                         *map(str, numbers)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert program.stdin is not None and program.stdout is not None
        self._open += [program.stdin, program.stdout]
        if program.stdout.readline() != "ready\n":
            raise LabError(f"the core's delay: {program.stdout.read().strip() or 'ended at once'}")
        _check("the core's delay", self.run(self.core, ["sh", "-c", self._topology.way_through_delay],
                                            stderr=subprocess.STDOUT))

    def close(self) -> None:
        """End every program started here and remove the namespaces. Safe to call twice, and from a forked child."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self.stop(*self._programs)
            self._programs.clear()
            for thing in self._open:
                thing.close()
            self._open.clear()
            if self._built:
                netns.destroy(self._topology.netns_names)
                self._built = False
            _live_labs.discard(self)

    def popen(self, host: Node | str, argv: Sequence[str], **kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program on `host`. Keyword arguments are those of `subprocess.Popen`.

        The program leads a session of its own, so that ending it ends its children too and a Ctrl-C in the terminal
        reaches the test alone.
        """
        kwargs.setdefault("start_new_session", True)
        kwargs.setdefault("env", netns.environment())
        with self._lock:
            if not self._built:
                raise LabError("the laboratory is closed")
            program = subprocess.Popen([*netns.enter_command(self._node(host).netns), *argv], **kwargs)
            self._programs.append(program)
            if kwargs["start_new_session"]:
                self._own_session.add(program)
        return program

    def run(self, host: Node | str, argv: Sequence[str], timeout: float | None = None,
            input: str | None = None, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run a program on `host` to its end and return its output as text, as `subprocess.run` does.

        On `subprocess.TimeoutExpired` the program and its children have been ended.
        """
        for name, default in (("stdout", subprocess.PIPE), ("stderr", subprocess.PIPE), ("text", True),
                              ("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)):
            kwargs.setdefault(name, default)
        program = self.popen(host, argv, **kwargs)
        try:
            output, errors = program.communicate(input, timeout)
        except BaseException:
            self.stop(program, grace=0)
            # Reading to the end instead could wait for a daemon that has inherited the pipe.
            for stream in (program.stdin, program.stdout, program.stderr):
                if stream is not None:
                    stream.close()
            raise
        finally:
            with self._lock, suppress(ValueError):
                self._programs.remove(program)
        return subprocess.CompletedProcess(list(argv), program.returncode, output, errors)

    def start_together(self, programs: Sequence[tuple[Node | str, Sequence[str]]], stagger: float = 0,
                       **kwargs: Any) -> list[subprocess.Popen[Any]]:
        """Start several programs at the same instant, or `stagger` seconds apart.

        Each waits, stopped, one `exec` short of starting until all have got that far, so that neither forking nor
        entering the namespace counts; what remains is well below a millisecond on an idle machine.
        """
        waiting = [self.popen(host, ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh", *argv], **kwargs)
                   for host, argv in programs]
        for program in waiting:
            os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        for position, program in enumerate(waiting):
            if position and stagger:
                time.sleep(stagger)
            program.send_signal(signal.SIGCONT)
        return waiting

    def stop(self, *programs: subprocess.Popen[Any], grace: float = _GRACE) -> None:
        """End the programs: SIGTERM, and SIGKILL for those that still run after `grace` seconds."""
        deadline = time.monotonic() + grace
        for program in programs:
            self._signal(program, signal.SIGTERM)
            # A stopped program acts on SIGTERM only once it goes on.
            self._signal(program, signal.SIGCONT)
        for program in programs:
            try:
                program.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(program, signal.SIGKILL)
                program.wait()

    def open_socket(self, host: Node | str, kind: int = socket.SOCK_DGRAM,
                    family: int = socket.AF_INET) -> socket.socket:
        """A socket of this process that lives on `host`: for probes too small to be worth a program.

        It is closed with the laboratory at the latest, because an open socket keeps its namespace alive.
        """
        with inside(self._node(host).netns):
            endpoint = socket.socket(family, kind)
        self._open.append(endpoint)
        return endpoint

    def set_loss(self, percent: float | None = None, *, tcp: float | None = None) -> None:
        """Change the loss of UDP packets, that of TCP packets, or both from now on; 100 is an outage."""
        given = {name: value for name, value in (("loss", percent), ("tcp_loss", tcp)) if value is not None}
        impairment = dataclasses.replace(self._impairment, **given)
        commands = ["flush chain inet natlab impairment",
                    *(f"add rule inet natlab impairment {rule}" for rule in impairment.loss_rules)]
        _check("nft", self.run(self.core, ["nft", "-f", "-"], input="\n".join([*commands, ""]),
                               stderr=subprocess.STDOUT))
        self._impairment = impairment

    def enter_command(self, host: Node | str) -> list[str]:
        """The words to put before a command line to run it on `host` from a shell."""
        return netns.enter_command(self._node(host).netns)

    @property
    def hosts(self) -> dict[str, Node]:
        """Every host of every site by its name, "a.1" and so on."""
        return {node.name: node for nodes in self._topology.hosts.values() for node in nodes}

    def _node(self, host: Node | str) -> Node:
        if isinstance(host, Node):
            return host
        if host == "server":
            return self.server
        return self.hosts[host] if host in self.hosts else self.host(host)

    def _signal(self, program: subprocess.Popen[Any], number: int) -> None:
        # Once reaped, the number may belong to another process; children left over are found by their namespace.
        if program.poll() is not None:
            return
        with suppress(ProcessLookupError):
            if program in self._own_session:
                os.killpg(program.pid, number)
            else:
                program.send_signal(number)


def _check(name: str, finished: subprocess.CompletedProcess[str]) -> None:
    if finished.returncode != 0:
        raise LabError(f"{name}: {finished.stdout.strip() or f'exit status {finished.returncode}'}")


_live_labs: set[Lab] = set()


def handle_signals() -> None:
    """Make SIGTERM, SIGHUP and SIGINT end this process in order.

    Building a laboratory in the main thread does this by itself. Python leaves signals to the main thread, so a
    program that builds its laboratories in other threads calls this first.
    """
    # A handler that somebody else installed stays: it has its own way out, and `atexit` covers that.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    """Turn a deadly signal into an orderly exit, so that `with` blocks and `atexit` do their work."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_IGN)
    # Other threads would go on, and be waited for, until their tests are done; without their laboratories they end
    # soon. One that this thread is building or closing at this very moment is left to the exception.
    for lab in list(_live_labs):
        if lab._builder != threading.get_ident():
            lab.close()
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


@atexit.register
def close_all() -> None:
    """Close every laboratory of this process, for one that ends without running its exit handlers."""
    for lab in list(_live_labs):
        lab.close()
