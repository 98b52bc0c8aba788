"""What a jail may use of the machine: by control groups where this process may make some, else by rlimits.

A control group bounds memory and processes of a jail as a whole and counts its CPU time; rlimits bound each
of its processes. Disk, CPU time and time are watched by the keeper, which ends the jail. As root, and below a
delegated group of version 2 (``Delegate=yes`` in a systemd unit), there is a group; else memory is bounded
for each process alone, and CPU time is what its living processes have used, with those that they waited for.

Each limit that ends something is told in one sentence, which names its setting (``exceeded``). Where the
kernel only makes a call fail, as for descriptors, the program's own words are looked at (``suspected``).

Sources: ``cgroups(7)``, the kernel's ``cgroup-v1/memory``, ``cgroup-v1/cpuacct`` and ``cgroup-v2`` documents,
``getrlimit(2)``, ``proc(5)``.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from conveyor.settings import JOB_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from conveyor.settings import JobLimits

GROUP = "conveyor-jail-"
LEFT_AFTER_SECONDS = 3600
MEASURE_SECONDS = 0.25
MEASURE_SHARE = 20
"""A measurement takes at most about one part in so many of the keeper's time…"""
LONGEST_PAUSE_SECONDS = 5.0
"""…but a job that makes it slow, by a million files, gains no more time than this."""
_LARGER_FILE = 2**20
"""How much larger than all of a jail's disk a file may become, so that this is measured before it is felt."""
_MEGABYTE = 2**20


def exceeded(limit: str, limits: JobLimits) -> str:
    """One sentence about a field of ``JobLimits`` that ended a job, with its setting."""
    most = getattr(limits, limit)
    said = {
        "memory_bytes": f"it used up its memory, {most // _MEGABYTE} MB",
        "processes": f"it used up its processes, {most}",
        "cpu_seconds": f"it used up its CPU time, {most} s",
        "seconds": f"it took longer than {most} s",
        "open_files": f"it used up its open files, {most} for each process",
        "disk_bytes": f"it wrote more to disk than the {most // _MEGABYTE} MB that are allowed",
        "log_bytes": f"it wrote more than {most // _MEGABYTE} MB of output",
    }
    return f"{said[limit]} (the worker's {JOB_SETTINGS[limit]})"


_WORDS = {
    "open_files": r"\bToo many open files\b|\bEMFILE\b",
    "memory_bytes": r"\bCannot allocate memory\b|\bMemoryError\b",
    "processes": r"\bResource temporarily unavailable\b|\bcan't start new thread\b",
    "disk_bytes": r"\bFile too large\b",
}
"""Limit → what programs say when the kernel has refused them more."""


def suspected(return_code: int, output: str, limits: JobLimits) -> str | None:
    """The limit that may have made a program fail, by the signal or its own last words; ``None``: none."""
    if return_code == 0:
        return None
    if return_code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
        return exceeded("cpu_seconds", limits)
    if return_code in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ):
        return exceeded("disk_bytes", limits)
    found = next((name for name, words in _WORDS.items() if re.search(words, output)), None)
    return None if found is None else exceeded(found, limits)


def of_each_process(limits: JobLimits, *, has_group: bool) -> dict[str, tuple[int, int]]:
    """The rlimits, soft and hard, by the names that follow ``RLIMIT_``."""
    most = limits.disk_bytes + _LARGER_FILE
    found = {
        "CORE": (0, 0),
        "CPU": (limits.cpu_seconds, limits.cpu_seconds + 5),  # first a signal that says why
        "FSIZE": (most, most),
        "NOFILE": (limits.open_files, limits.open_files),
    }
    if has_group:
        return found
    return found | {
        "NPROC": (limits.processes, limits.processes), "DATA": (limits.memory_bytes, limits.memory_bytes),
    }  # fmt: skip


@dataclass(frozen=True)
class Group:
    """The control groups of one jail, by controller; on version 2 they are one folder."""

    version: Literal[1, 2]
    folders: dict[str, Path]

    def add(self, processes: Iterable[int]) -> None:
        """Move processes, and whatever they start from now on, into the group."""
        for folder in set(self.folders.values()):
            for one in processes:
                (folder / "cgroup.procs").write_text(f"{one}\n", encoding="ascii")

    def processes(self) -> list[int]:
        """The numbers of its processes."""
        return [int(one) for one in (self.folders["pids"] / "cgroup.procs").read_text("ascii").split()]

    def cpu_seconds(self) -> float | None:
        """CPU time of all processes that were ever in it; ``None`` where it does not count that."""
        if self.version == 1:
            folder = self.folders.get("cpuacct")
            return None if folder is None else int((folder / "cpuacct.usage").read_text("ascii")) / 1e9
        said = (self.folders["memory"] / "cpu.stat").read_text("ascii")
        found = re.search(r"^usage_usec (\d+)", said, re.MULTILINE)
        return int(found[1]) / 1e6 if found else None

    def memory_kills(self) -> int:
        """How many processes the kernel has killed because the group had used up its memory."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        found = re.search(
            r"^oom_kill (\d+)", (self.folders["memory"] / name).read_text("ascii"), re.MULTILINE
        )
        return int(found[1]) if found else 0

    def refused_processes(self) -> int:
        """How often the group refused to start a process because it had its number."""
        found = re.search(
            r"^max (\d+)", (self.folders["pids"] / "pids.events").read_text("ascii"), re.MULTILINE
        )
        return int(found[1]) if found else 0


@contextmanager
def control_group(name: str, limits: JobLimits) -> Iterator[Group | None]:
    """Make the control groups of a jail; ``None`` where this process may not. They are empty at the end."""
    group = _made(name, limits)
    try:
        yield group
    finally:
        for folder in set(group.folders.values()) if group is not None else ():
            with suppress(OSError):  # a process that is being taken apart holds it a moment longer
                folder.rmdir()


def _made(name: str, limits: JobLimits) -> Group | None:
    places = own_groups(
        Path("/proc/self/cgroup").read_text("utf-8"), Path("/proc/self/mountinfo").read_text("utf-8")
    )
    for place in {*places.values()}:
        remove_left(place)
    try:
        if "memory" in places and "pids" in places:
            return _made_v1(name, limits, places)
        if "" in places:
            return _made_v2(name, limits, places[""])
    except OSError:  # not ours to make
        return None
    return None


@lru_cache
def remove_left(place: Path) -> None:
    """Remove the groups that killed keepers have left, old and empty ones; once in each keeper."""
    for folder in place.glob(f"{GROUP}*"):
        with suppress(OSError):  # it is not empty, or somebody else was faster
            if time.time() - folder.stat().st_mtime > LEFT_AFTER_SECONDS:
                folder.rmdir()


def _made_v1(name: str, limits: JobLimits, places: dict[str, Path]) -> Group:
    wanted = ("memory", "pids", "cpuacct") if "cpuacct" in places else ("memory", "pids")
    folders = {one: places[one] / name for one in wanted}
    values: dict[str, dict[str, int]] = {
        "memory": {
            "memory.limit_in_bytes": limits.memory_bytes,
            "memory.memsw.limit_in_bytes": limits.memory_bytes,
        },
        "pids": {"pids.max": limits.processes},
    }
    for one, folder in folders.items():
        folder.mkdir(exist_ok=True)
        for key, value in values.get(one, {}).items():
            if (folder / key).exists():  # a kernel that does not account for swap has no memsw
                (folder / key).write_text(str(value), encoding="ascii")
    return Group(1, folders)


def _made_v2(name: str, limits: JobLimits, own: Path) -> Group:
    # A group that hands controllers on holds no process itself: the keeper moves to a leaf beside its jails.
    leaf = own / "keeper"
    if own.name != "keeper":
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(f"{os.getpid()}\n", encoding="ascii")
    else:
        own = own.parent
    (own / "cgroup.subtree_control").write_text("+memory +pids", encoding="ascii")
    folder = own / name
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(str(limits.memory_bytes), encoding="ascii")
    with suppress(OSError):
        (folder / "memory.swap.max").write_text("0", encoding="ascii")
    (folder / "pids.max").write_text(str(limits.processes), encoding="ascii")
    return Group(2, {"memory": folder, "pids": folder})


def own_groups(groups: str, mounts: str) -> dict[str, Path]:
    """Where this process's control groups are mounted, by controller; version 2 under the empty name.

    Args:
        groups: the content of ``/proc/self/cgroup``.
        mounts: the content of ``/proc/self/mountinfo``.
    """
    mounted: dict[str, tuple[str, Path]] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(maxsplit=2)
        if kind == "cgroup2":
            mounted[""] = (fields[3], Path(fields[4]))
        elif kind == "cgroup":
            mounted |= {one: (fields[3], Path(fields[4])) for one in options.split(",")}
    found = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        for one in controllers.split(","):
            if one in mounted:
                root, at = mounted[one]
                inside = path.removeprefix(root.rstrip("/")) if path.startswith(root) else "/"
                where = at / inside.lstrip("/")
                found[one] = where if where.is_dir() else at
    return found


@contextmanager
def watched(
    folders: Collection[Path], limits: JobLimits, group: Group | None, first: int | None,
    stop: Callable[[str], None],
) -> Iterator[None]:  # fmt: skip
    """Call ``stop`` with a sentence when a jail uses more disk, CPU time or time than it may.

    Args:
        folders: those in which it may write.
        limits: its bounds.
        group: its control groups; ``None``: it has none.
        first: its first process.
        stop: ends the jail; may be called by another thread.
    """
    ended, began = threading.Event(), time.monotonic()

    def fault() -> str | None:
        if time.monotonic() - began > limits.seconds:
            return "seconds"
        processes = processes_of(group, first)
        used = group.cpu_seconds() if group is not None else None
        if (cpu_seconds_of(processes) if used is None else used) > limits.cpu_seconds:
            return "cpu_seconds"
        return "disk_bytes" if disk_of(folders, processes) > limits.disk_bytes else None

    def watch() -> None:
        pause = MEASURE_SECONDS
        while not ended.wait(pause):
            begun = time.monotonic()
            with suppress(OSError):  # a process or its group that ends meanwhile
                if (found := fault()) is not None:
                    stop(exceeded(found, limits))
                    return
            took = time.monotonic() - begun
            pause = min(max(MEASURE_SECONDS, MEASURE_SHARE * took), LONGEST_PAUSE_SECONDS)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def processes_of(group: Group | None, first: int | None) -> list[int]:
    """The processes of a jail, by its control group, or from its first one on."""
    if group is not None:
        return group.processes()
    found, left = [], [first] if first is not None else []
    while left:
        found.append(at := left.pop())
        for listed in Path(f"/proc/{at}/task").glob("*/children"):
            with suppress(OSError):
                left += map(int, listed.read_text(encoding="ascii").split())
    return found


def cpu_seconds_of(processes: Iterable[int]) -> float:
    """CPU time of processes, with that of the ended children that they waited for."""
    ticks = 0
    for one in processes:
        with suppress(OSError):
            # The name of a program, which stands in brackets before, may hold anything.
            fields = Path(f"/proc/{one}/stat").read_text(errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


SMALLEST_ENTRY_BYTES = 4096
"""What each file and folder counts at least: an empty one takes an inode and its name, but no block."""


def disk_of(folders: Iterable[Path], processes: Iterable[int] = ()) -> int:
    """What the files below folders take of the disk, and those that processes keep open without a name."""
    return sum(bytes_in(folder) for folder in folders) + _nameless(processes)


def _nameless(processes: Iterable[int]) -> int:
    found: dict[tuple[int, int], int] = {}
    for one in processes:
        with suppress(OSError), os.scandir(f"/proc/{one}/fd") as opened:
            for entry in opened:
                with suppress(OSError):
                    facts = entry.stat()
                    if not facts.st_nlink:
                        found[facts.st_dev, facts.st_ino] = max(facts.st_blocks * 512, SMALLEST_ENTRY_BYTES)
    return sum(found.values())


def bytes_in(folder: Path) -> int:
    """What the files below a folder take of the disk; one that goes away meanwhile counts nothing."""
    total, left = 0, [str(folder)]
    while left:
        with suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += max(entry.stat(follow_symlinks=False).st_blocks * 512, SMALLEST_ENTRY_BYTES)
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
    return total
