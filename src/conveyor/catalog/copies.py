"""Copies of a SQLite catalogue: made from a live one, and read without changing a byte of them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.pool import NullPool

from conveyor.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def copy_catalog(engine: sqlalchemy.Engine, target: Path) -> None:
    """Write the catalogue as it is at one moment into a new file, durable, for its owner only.

    SQLite's own online backup, in a single step: one snapshot, and nobody who writes has to wait. The copy is
    one file, without the log that a catalogue in use has beside it.

    Raises:
        StorageFailed: the catalogue is damaged, or the file can not be written.
    """
    target.unlink(missing_ok=True)
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.close(descriptor)  # before SQLite opens it: a later close would free SQLite's locks
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            source = engine.raw_connection()
            try:
                cast("sqlite3.Connection", source.driver_connection).backup(copy)
            finally:
                source.close()
            copy.execute("pragma journal_mode=delete")
            (said,) = copy.execute("pragma quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise StorageFailed(f"the catalogue can not be copied: {error}", hint="look at the disk") from error
    if said != "ok":
        raise StorageFailed(
            f"the catalogue is damaged: {said}", hint="restore an older backup; this one would be worthless"
        )
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def reading_copy(path: Path) -> Iterator[sqlalchemy.Connection]:
    """A connection to a copy that nobody writes to."""
    address = f"file:{quote(str(path))}?mode=ro&immutable=1"
    engine = sqlalchemy.create_engine(
        "sqlite+pysqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
