"""Whose turn it is to write: threads and processes of one node queue here before they ask SQLite.

SQLite lets one transaction write at a time, and its own waiting is a poll with growing sleeps: of two
processes that write all the time, one sleeps while nobody writes. Here the kernel wakes who waits. A turn is
two locks, ``next`` and ``turn``: who waits for the turn holds ``next`` already, so whoever had a turn and
wants another one comes after it, and nobody starves.

The order of waiting is advice only: what keeps writers apart is SQLite's own lock, so a writer that knows
nothing of turns, such as the ``sqlite3`` shell, does no harm.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conveyor.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class WriteTurn:
    """The turn to write into one catalogue; one object per process."""

    def __init__(self, catalog: Path) -> None:
        """``catalog``: the file of the catalogue; two empty files beside it stand for the locks."""
        self._threads = threading.Lock()
        self._next = _FileLock(catalog.with_name(f"{catalog.name}-next"))
        self._turn = _FileLock(catalog.with_name(f"{catalog.name}-turn"))

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and hold it; a process that dies gives it back. Raises StorageFailed."""
        with self._threads:
            self._next.take()
            try:
                self._turn.take()
            finally:
                self._next.release()
            try:
                yield
            finally:
                self._turn.release()

    def close(self) -> None:
        """Let go of the files; the next turn opens them again."""
        with self._threads:
            self._next.close()
            self._turn.close()


class _FileLock:
    """A lock between processes: ``flock`` on a file, made when it is taken for the first time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise StorageFailed(
                f"the turn to write the catalogue can not be taken: {self._path}: {error.strerror or error}",
                hint="this process must be allowed to write there, and the file system must know flock",
            ) from error

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
