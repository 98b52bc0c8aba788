"""What a jail may use of the machine: by control groups where this process may make some, else by rlimits.

A control group bounds a jail as a whole, rlimits bound each of its processes, and disk and log are measured
by the keeper. As root, and below a delegated group of version 2 (``Delegate=yes`` in a systemd unit), there
is a group; else memory is bounded for each process alone.

Sources: ``cgroups(7)``, the kernel's ``cgroup-v1/memory`` and ``cgroup-v2`` documents, ``getrlimit(2)``.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MEASURE_SECONDS = 0.25
GiB = 2**30


@dataclass(frozen=True)
class Limits:
    """The bounds of one jail."""

    memory_bytes: int = 8 * GiB
    """Of all its processes together, files in its memory included; without a control group, of each."""
    processes: int = 1024
    """Processes and threads at a time."""
    cpu_seconds: int = 6 * 3600
    """CPU time of each process."""
    file_bytes: int = 64 * GiB
    """The largest file."""
    open_files: int = 8192
    """Descriptors of each process."""
    disk_bytes: int = 32 * GiB
    """Of all the folders that it may write in."""

    def of_each_process(self, *, has_group: bool) -> dict[str, int]:
        """The rlimits, by the names that follow ``RLIMIT_``."""
        limits = {
            "CORE": 0, "CPU": self.cpu_seconds, "FSIZE": self.file_bytes, "NOFILE": self.open_files,
        }  # fmt: skip
        return limits if has_group else limits | {"NPROC": self.processes, "DATA": self.memory_bytes}


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
def control_group(name: str, limits: Limits) -> Iterator[Group | None]:
    """Make the control groups of a jail; ``None`` where this process may not. They are empty at the end."""
    group = _made(name, limits)
    try:
        yield group
    finally:
        for folder in set(group.folders.values()) if group is not None else ():
            with suppress(OSError):  # a process that is being taken apart holds it a moment longer
                folder.rmdir()


def _made(name: str, limits: Limits) -> Group | None:
    places = own_groups(
        Path("/proc/self/cgroup").read_text("utf-8"), Path("/proc/self/mountinfo").read_text("utf-8")
    )
    try:
        if "memory" in places and "pids" in places:
            return _made_v1(name, limits, places)
        if "" in places:
            return _made_v2(name, limits, places[""])
    except OSError:  # not ours to make
        return None
    return None


def _made_v1(name: str, limits: Limits, places: dict[str, Path]) -> Group:
    folders = {one: places[one] / name for one in ("memory", "pids")}
    values = {
        "memory": {
            "memory.limit_in_bytes": limits.memory_bytes,
            "memory.memsw.limit_in_bytes": limits.memory_bytes,
        },
        "pids": {"pids.max": limits.processes},
    }
    for one, folder in folders.items():
        folder.mkdir(exist_ok=True)
        for key, value in values[one].items():
            if (folder / key).exists():  # a kernel that does not account for swap has no memsw
                (folder / key).write_text(str(value), encoding="ascii")
    return Group(1, folders)


def _made_v2(name: str, limits: Limits, own: Path) -> Group:
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
def measured(folders: Iterable[Path], largest: int, stop: Callable[[str], None]) -> Iterator[None]:
    """Call ``stop`` with a sentence when the folders together hold more than ``largest`` bytes."""
    ended = threading.Event()

    def measure() -> None:
        while not ended.wait(MEASURE_SECONDS):
            if (used := sum(bytes_in(folder) for folder in folders)) > largest:
                stop(f"it wrote {used // 2**20} MB where {largest // 2**20} MB are allowed")
                return

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def bytes_in(folder: Path) -> int:
    """What the files below a folder take of the disk; one that goes away meanwhile counts nothing."""
    total, left = 0, [str(folder)]
    while left:
        with suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
    return total
