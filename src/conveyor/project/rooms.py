"""Build rooms: folders whose path depends on what is built there alone.

Compilers write the path of a source into what they compile, so that a folder of random name makes two builds
of one commit differ. A room belongs to one build at a time, by an advisory lock on it (flock(2)), which the
programs of the build inherit: what a killed build has left running keeps the room until it has ended.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TELL_AFTER_SECONDS = 3.0
"""Two builds of one commit that meet by chance are not worth a line."""
WAIT_SECONDS = 3600.0
POLL_SECONDS = 0.05
_ROOM = re.compile(r"conveyor-build-[0-9a-f]{16}")


@dataclass(frozen=True)
class BuildRoom:
    """A folder for one build."""

    path: Path
    lock: int
    """The descriptor that holds it, which the programs of the build inherit."""


@contextmanager
def build_room(
    key: str, *, on_wait: Callable[[str], None] | None = None, wait_seconds: float = WAIT_SECONDS
) -> Iterator[BuildRoom]:
    """An empty folder whose path depends on ``key`` alone, held until the block ends; others wait for it.

    It lies in the machine's temporary folder. What killed builds left there is removed, as soon as the
    programs of those builds have ended.

    Args:
        key: what is built.
        on_wait: told in one line who is waited for, once that takes more than three seconds.
        wait_seconds: how long others may keep the room.

    Raises:
        ProjectError: another user of this machine has a folder of that name, or others kept it too long.
    """
    room = Path(tempfile.gettempdir(), f"conveyor-build-{sha256(key.encode()).hexdigest()[:16]}")
    lock = _hold(room, on_wait, wait_seconds)
    try:
        _remove_left(room.parent)
        for left in room.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield BuildRoom(room, lock)
    finally:
        shutil.rmtree(room, ignore_errors=True)
        fcntl.flock(lock, fcntl.LOCK_UN)  # for every process that has inherited it
        os.close(lock)


def _hold(room: Path, on_wait: Callable[[str], None] | None, wait_seconds: float) -> int:
    """Make the folder if it is not there and lock it; gives the descriptor that holds the lock."""
    began = time.monotonic()
    while True:
        room.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # whoever held it has just removed it
            continue
        except OSError as error:
            raise ProjectError(f"{room} cannot be used for a build: {error.strerror}") from error
        if os.fstat(lock).st_uid != os.geteuid():  # its owner could change what is built there
            os.close(lock)
            raise ProjectError(f"{room} belongs to another user", hint="let that user remove it")
        try:
            _lock(lock, room, on_wait, began, wait_seconds)
            if os.fstat(lock).st_ino == room.stat().st_ino:
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # it was removed while this process waited for it


def _lock(
    lock: int, room: Path, on_wait: Callable[[str], None] | None, began: float, wait_seconds: float
) -> None:
    is_told = False
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        waited = time.monotonic() - began
        if waited > wait_seconds:
            holders = _holders(room)
            raise ProjectError(
                f"other builds of the same have kept {room} for {wait_seconds:.0f} s: {_named(holders)}",
                hint="wait for their end and build again; what a killed build has left running is ended by: "
                f"kill {' '.join(map(str, holders)) or 'PID'}",
            )
        if waited > TELL_AFTER_SECONDS and not is_told and on_wait is not None:
            is_told = True
            on_wait(f"waiting for another build of the same: {_named(_holders(room))}")
        time.sleep(POLL_SECONDS)


def _named(holders: dict[int, str]) -> str:
    told = (f"process {pid} ({name})" for pid, name in holders.items())
    return ", ".join(told) or "a process of another user"


def _holders(room: Path) -> dict[int, str]:
    """The other processes that keep the room open: id → name of the program (Linux)."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if int(process.name) != os.getpid() and any(
                one.readlink() == room for one in (process / "fd").iterdir()
            ):
                found[int(process.name)] = (process / "comm").read_text().strip()
    return found


def _remove_left(folder: Path) -> None:
    """Remove the rooms of this user that no process holds any more."""
    for room in folder.iterdir():
        if not _ROOM.fullmatch(room.name):
            continue
        with suppress(OSError):
            lock = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(room, ignore_errors=True)
            finally:
                os.close(lock)
