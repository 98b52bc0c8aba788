"""Serials: every change has one, in commit order, and the newest can be read at no cost.

A serial is taken under the lock of the one row of ``serial`` and the lock is held until the commit, so the
order of serials is the order in which changes became visible.

**SerialFile** (SQLite, one node) tells all processes the newest serial through sixteen bytes of shared
memory, so that the hot path compares two integers instead of asking the database. The bytes hold two words:

    announced   the serial that a writer is about to commit; set before the commit, under the write lock
    published   the newest serial that is known to be committed; raised after the commit

A reader that finds both equal knows that nothing has been committed since ``published``. When they differ, a
writer is committing now, or died between commit and publication: the reader asks the database and, if the
change is there, publishes it for everybody. So a writer may be killed at any line:

    killed before the announcement: nothing was committed, the words are equal and right;
    killed after it, before the commit: the words differ, each reader asks the database and gets the old
        serial; slower until the next change (or ``repair``, which every process calls at start), never wrong;
    killed after the commit: the first reader of any process finds the words differ and finds the change.

One published word alone would not suffice: the retry of a client whose server died after the commit is
answered "already here" without a new change, and from then on every process must show the change (rule 3 of
the design). A change that is not announced cannot be missed either: the announcement precedes the commit.

On PostgreSQL, which nodes without common memory share, each change notifies all listeners of its serial when
it is committed: see ``catalog.database.nodes``.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Text, cast, func, literal_column, select, update

from conveyor.catalog.database.connection import reading, writing
from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import serial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

CHANNEL = literal_column("'serial-' || 'serial'::regclass::oid", Text)
"""PostgreSQL: the channel of serials, named by the table's number, as a database may hold several stores."""

_NEWEST = Statement(select(serial.c.newest))

_ANNOUNCED, _PUBLISHED = 0, 1
_SIZE_BYTES = 16


def next_serial(connection: Connection, count: int = 1) -> int:
    """Take the next ``count`` serials and return the first; the row stays locked until this transaction ends.

    On PostgreSQL, listeners on ``CHANNEL`` are notified of the last one once it is committed.
    """
    taking = _taking(count, is_told=connection.dialect.name == "postgresql")
    return int(taking.scalar(connection)) - count + 1


@cache
def _taking(count: int, *, is_told: bool) -> Statement:
    # Not a parameter, for whose cast PostgreSQL would plan the statement anew each time.
    taking = update(serial).values(newest=serial.c.newest + literal_column(str(count)))
    told = [func.pg_notify(CHANNEL, cast(serial.c.newest, Text))] if is_told else []
    return Statement(taking.returning(serial.c.newest, *told))


def newest_serial(connection: Connection) -> int:
    """The serial of the newest change that this transaction sees; 0 in a new store."""
    return int(_NEWEST.scalar(connection))


class NewestSerial(Protocol):
    """Keeps the serial of the newest committed change, by any process."""

    def peek(self) -> int | None:
        """The newest serial, if known without asking the database; ``None``: call ``read``."""

    def read(self) -> int:
        """The newest serial; a page labelled with it is as new as the database was after the call began."""

    def announce(self, newest: int) -> None:
        """Announce that this serial is about to be committed; called inside the write transaction."""

    def publish(self, newest: int) -> None:
        """Publish that this serial is committed; called before the change is acknowledged.

        When it returns, every process of every node sees the change.
        """

    def settle(self) -> None:
        """End without a change; when it returns, every process sees everything committed before the call."""

    def repair(self) -> None:
        """Bring the copy outside the database back in line with it."""

    def close(self) -> None:
        """Release files and memory."""


class SerialFile:
    """The newest serial in sixteen bytes of memory shared by all processes of a node; see the module."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._engine = engine
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < _SIZE_BYTES:
            # Backed by a block: writing into a hole on a full disk would kill the process (SIGBUS).
            os.posix_fallocate(self._file, 0, _SIZE_BYTES)
        self._map = mmap.mmap(self._file, _SIZE_BYTES)
        # Aligned eight-byte words: a load or a store is a single instruction, so that no reader sees half of
        # one.
        self._words = memoryview(self._map).cast("Q")
        self._threads = threading.Lock()

    def peek(self) -> int | None:
        """The newest serial, without a system call; ``None`` while somebody is committing."""
        published = self._words[_PUBLISHED]
        return published if self._words[_ANNOUNCED] == published else None

    def read(self) -> int:
        """The newest serial; asks the database only while somebody is committing."""
        known = self.peek()
        if known is not None:
            return known
        with reading(self._engine) as connection:
            committed = newest_serial(connection)
        self.publish(committed)
        return committed

    def announce(self, newest: int) -> None:
        """Announce that ``newest`` is about to be committed; the caller holds the database's write lock."""
        self._words[_ANNOUNCED] = newest

    def publish(self, newest: int) -> None:
        """Raise the published serial to ``newest``; it never decreases, in whatever order processes call."""
        if newest <= self._words[_PUBLISHED]:
            return
        with self._alone():
            self._words[_PUBLISHED] = max(newest, self._words[_PUBLISHED])

    def settle(self) -> None:
        """Nothing to do: between announcement and publication, all readers ask the database."""

    def repair(self) -> None:
        """Set both words to the database's serial, even if it is lower, as after restoring a backup."""
        with writing(self._engine) as connection:
            committed = newest_serial(connection)
            with self._alone():
                self._words[_ANNOUNCED] = self._words[_PUBLISHED] = committed

    def close(self) -> None:
        """Unmap and close the file."""
        self._words.release()
        self._map.close()
        os.close(self._file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While inside, no other thread or process raises the published serial; death frees the lock too."""
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
