"""Network namespaces as a resource: entering them, seeing who is inside, and getting rid of them for certain."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

NETNS_DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
#: Programs that the laboratory runs, in the order in which their absence is reported.
_PROGRAMS = ("ip", "nft", "nsenter", "unshare")
_LEFT_OVER = re.compile(r"hp(\d+)-")


def environment() -> dict[str, str]:
    """The caller's environment with the system directories in PATH, which a plain `su` leaves out."""
    path = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": os.pathsep.join([path, "/usr/sbin", "/sbin"])}


def unavailable() -> str | None:
    """Why the laboratory cannot work here, or None if it can. Meant for a test's skip message."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    env = environment()
    for program in _PROGRAMS:
        if shutil.which(program, path=env["PATH"]) is None:
            return f"program {program!r} not found (Debian: iproute2, nftables, util-linux)"
    # Root in a container may still lack the capability or the kernel module: try both, in a namespace of no name.
    trial = subprocess.run(["unshare", "--net", "nft", "add table ip natlab"], env=env, text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return f"no network namespace with nftables: {trial.stdout.strip()}" if trial.returncode else None


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """Put the calling thread, and no other, into `netns`. A socket made there stays there for good."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(NETNS_DIRECTORY / netns, "rb") as target:
        _set_netns(target.fileno())
        try:
            yield
        finally:
            _set_netns(home.fileno())


def enter_command(netns: str) -> list[str]:
    """The words to put before a command line to run it in `netns`.

    nsenter rather than `ip netns exec`: it changes nothing but the network, so it costs one exec and no mounts.
    """
    return ["nsenter", f"--net={NETNS_DIRECTORY / netns}", "--"]


def names(prefix: str) -> list[str]:
    """The namespaces whose name starts with `prefix`."""
    try:
        return sorted(entry for entry in os.listdir(NETNS_DIRECTORY) if entry.startswith(prefix))
    except FileNotFoundError:
        return []


def destroy(netns_names: Iterable[str]) -> None:
    """End every process inside the namespaces and remove them. Names that are gone already are no error."""
    doomed = list(netns_names)
    end_processes_inside(doomed)
    batch = "".join(f"netns delete {name}\n" for name in doomed if (NETNS_DIRECTORY / name).exists())
    if batch:
        subprocess.run(["ip", "-force", "-batch", "-"], input=batch, env=environment(), text=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def sweep() -> None:
    """Remove what laboratories left behind whose process died without a chance to clean up."""
    left_over = []
    for name in names("hp"):
        match = _LEFT_OVER.match(name)
        if match and not _alive(int(match.group(1))):
            left_over.append(name)
    destroy(left_over)


def end_processes_inside(netns_names: Iterable[str]) -> None:
    """Kill what still runs in the namespaces: a process keeps its namespace alive after the name is gone."""
    identities = _identities(netns_names)
    deadline = time.monotonic() + 2
    while identities and time.monotonic() < deadline:
        remaining = list(_processes_inside(identities))
        if not remaining:
            return
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _identities(netns_names: Iterable[str]) -> set[tuple[int, int]]:
    found = set()
    for name in netns_names:
        with contextlib.suppress(OSError):
            status = os.stat(NETNS_DIRECTORY / name)
            found.add((status.st_dev, status.st_ino))
    # A name that is only a file, because its mount failed, stands for no namespace; ours is never a target.
    own = os.stat("/proc/self/ns/net")
    return {identity for identity in found if identity[0] == own.st_dev and identity != (own.st_dev, own.st_ino)}


def _processes_inside(identities: set[tuple[int, int]]) -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{entry}/ns/net")
                if (status.st_dev, status.st_ino) in identities:
                    yield int(entry)


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The state follows the command's name, which is in parentheses and may itself hold anything.
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def _set_netns(descriptor: int) -> None:
    # os.setns exists from Python 3.12 on.
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot enter the network namespace: {os.strerror(error)}")


_libc = ctypes.CDLL(None, use_errno=True)
