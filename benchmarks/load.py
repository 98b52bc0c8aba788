"""Load on servers: ``wrk`` with one thread and 32 connections, in short rounds that take turns."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONNECTIONS = 32
ROUNDS = 7
"""Rounds per server; the median counts, so that a busy neighbour spoils a round and not the figure."""
SECONDS = 1
"""Length of each round. Many short rounds in turn are more alike than a few long ones."""

USER_AGENT = "pip/26.0"
HOW_TO_INSTALL = "make bench installs it; by hand, on Debian: apt-get install"
PACKAGES = {"wrk": "wrk", "nginx": "nginx-light"}

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}


class MissingProgram(SystemExit):
    """A program that the benchmarks need is not installed."""


def program(name: str) -> str:
    """The path of a program; raises MissingProgram, which says how to install it."""
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    if path is None:
        raise MissingProgram(f"the benchmarks need {name}: {HOW_TO_INSTALL} {PACKAGES[name]}")
    return path


@dataclass(frozen=True)
class Target:
    """A URL to request, with the processes that answer it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    process_ids: tuple[int, ...] = ()
    """The processes that answer, to count their CPU time."""


@dataclass(frozen=True)
class Rate:
    """The result of one round on a server."""

    requests_per_second: float
    bytes_per_second: float
    cpu_microseconds: float
    """CPU time per request, of all processes of the target together."""


def rates_in_turn(*targets: Target, rounds: int = ROUNDS, seconds: int = SECONDS) -> list[Rate]:
    """The median rate of each target; the first round of each is a warm-up and does not count."""
    taken: list[list[Rate]] = [[] for _ in targets]
    for number in range(rounds + 1):
        for rates, target in zip(taken, targets, strict=True):
            rate = _one_round(target, seconds)
            if number > 0:
                rates.append(rate)
    return [
        Rate(
            statistics.median(rate.requests_per_second for rate in rates),
            statistics.median(rate.bytes_per_second for rate in rates),
            statistics.median(rate.cpu_microseconds for rate in rates),
        )
        for rates in taken
    ]


def _one_round(target: Target, seconds: int) -> Rate:
    headers = [f"{name}: {value}" for name, value in {"User-Agent": USER_AGENT, **target.headers}.items()]
    command = [
        *(program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"),
        *(argument for header in headers for argument in ("-H", header)),
        target.url,
    ]
    before = cpu_seconds_of(target.process_ids)
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu_seconds = cpu_seconds_of(target.process_ids) - before
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{target.url} was not answered as it should be:\n{said}")
    requests = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    answered = re.search(r"(\d+) requests in", said)
    transfer = re.search(r"Transfer/sec:\s+([0-9.]+)([KMG]?)B", said)
    if requests is None or answered is None or transfer is None:
        raise RuntimeError(f"wrk said something unexpected:\n{said}")
    return Rate(
        float(requests[1]), float(transfer[1]) * _UNITS[transfer[2]], cpu_seconds / int(answered[1]) * 1e6
    )


def cpu_seconds_of(process_ids: Iterable[int]) -> float:
    """The CPU time of these processes so far."""
    ticks = 0
    for process_id in process_ids:
        fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_trees(roots: Iterable[int]) -> float:
    """The CPU time so far of these processes and of all that descend from them, ended ones included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (
                (folder / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            )
        except OSError:  # it has ended; its parent counts it
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = sum(map(int, fields[11:15]))  # its own, and of children that it waited for
    wanted = set(roots)
    while more := {child for child, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    return sum(ticks.get(process, 0) for process in wanted) / os.sysconf("SC_CLK_TCK")


_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Let this process get what its descendants leave behind, so that its time is not lost (``prctl(2)``).

    The first process of a jail is such an orphan: bubblewrap ends as soon as it has been told the exit code.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the orphans of this process cannot be adopted")


def children() -> set[int]:
    """The children of this process, adopted ones included, that nobody has waited for."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii")
    return set(map(int, listed.split()))


def cpu_seconds_of_orphans(own: set[int]) -> float:
    """Wait for children that have ended, but those in ``own``; their CPU time, with what they waited for."""
    seconds = 0.0
    for child in children() - own:
        ended, _, usage = os.wait4(child, os.WNOHANG)
        if ended:
            seconds += usage.ru_utime + usage.ru_stime
    return seconds
