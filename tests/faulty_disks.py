"""Disks that fail, made of real parts: small ones that are full, calls that fail, images to cut the power of.

Mounting needs root. A test that may not mount, or not trace another process, is skipped and says why; CI runs
as root, and skips nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNCS = "fsync,fdatasync,syncfs,sync_file_range"
"""Every call by which a process asks for durability."""


@contextmanager
def mounted(at: Path, *arguments: str | Path) -> Iterator[Path]:
    """Something mounted for the time of a test, as ``mount`` is told."""
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, at], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this user may not mount here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@contextmanager
def small_disk(at: Path, *, size: str) -> Iterator[Path]:
    """A disk of a size such as ``1m``, in memory."""
    with mounted(at, "-t", "tmpfs", "-o", f"size={size}", "conveyor-test"):
        yield at


def enlarge(disk: Path, *, size: str) -> None:
    """Give a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def fill(disk: Path, *, leaving_bytes: int = 0) -> Path:
    """Fill a disk up with one file; removing it makes room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - leaving_bytes)
    return filler


def make_image(path: Path, *, size_bytes: int) -> None:
    """An ext4 file system in a file."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run(["mkfs.ext4", "-q", path], check=True, env={**os.environ, "PATH": _PATH})


@contextmanager
def mounted_image(image: Path, at: Path) -> Iterator[Path]:
    """An image as a disk that writes nothing on its own for half a minute: only what is synced is there."""
    with mounted(at, "-o", "loop,commit=30", image):
        yield at


def cut_power(image: Path, copy: Path, processes: Sequence[int]) -> None:
    """Copy an image as it would be found had the power been cut now.

    Copying takes a moment, a power cut none: the processes that write to the disk stand still meanwhile.
    """
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    for pid in processes:
        _wait_until_stopped(pid)
    try:
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def _wait_until_stopped(pid: int) -> None:
    """Wait until no thread of a process runs: a call to the disk is finished before its thread stops."""
    while any(_state(thread) != "T" for thread in Path(f"/proc/{pid}/task").iterdir()):
        os.sched_yield()


def _state(thread: Path) -> str:
    return (thread / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


@contextmanager
def failing_syncs(pid: int, *, only: Path | None = None, when: str = "1+") -> Iterator[None]:
    """Calls by which a process asks for durability fail with EIO, as on a disk that cannot be written.

    Args:
        pid: a running process.
        only: of this file or folder; else of every one.
        when: which calls of each thread, counted from 1, as strace has it: ``3``, ``1+``.
    """
    tracing = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), *(["-P", str(only)] if only else []), "-e", f"trace={SYNCS}",
         "-e", f"inject={SYNCS}:error=EIO:when={when}", "-o", os.devnull],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert tracing.stderr is not None
    try:
        said = tracing.stderr.readline()
        if "Operation not permitted" in said:
            pytest.skip(f"this user may not trace a process here: {said.strip()}")
        assert "attached" in said, said
        yield
    finally:
        tracing.send_signal(signal.SIGINT)  # it lets go of the process, which runs on
        tracing.communicate()


_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
