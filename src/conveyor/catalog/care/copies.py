"""Copies of a catalogue: made of a live one as it is at one moment.

The copy of a SQLite file is a SQLite file, that of a PostgreSQL database a dump (``catalog.care.dumps``).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.pool import NullPool

from conveyor.catalog.care.dumps import dump_catalog
from conveyor.catalog.database.connection import is_sqlite, reading, storage_error
from conveyor.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def copied_catalog(engine: sqlalchemy.Engine, target: Path) -> Iterator[sqlalchemy.Connection]:
    """Write the catalogue as it is at one moment into a new file, for its owner only.

    Gives a connection that sees that very moment. The file is not durable before its file system is synced.

    Raises:
        StorageFailed: the catalogue is damaged, or the file can not be written (StorageFull: has no room).
        MissingTool: there is no pg_dump.
    """
    if is_sqlite(engine):
        _copy_file(engine, target)
        with _reading_copy(target) as connection:
            yield connection
    else:
        with reading(engine) as connection:
            dump_catalog(connection, target)
            yield connection


def _copy_file(engine: sqlalchemy.Engine, target: Path) -> None:
    """SQLite's own online backup, in a single step: one snapshot, and nobody who writes has to wait.

    The copy is one file, without the log that a catalogue in use has beside it.
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
        what = "the catalogue can not be copied"
        raise storage_error(what, str(error), hint="look at the disk") from error
    if said != "ok":
        raise StorageFailed(
            f"the catalogue is damaged: {said}", hint="restore an older backup; this one would be worthless"
        )


@contextmanager
def _reading_copy(path: Path) -> Iterator[sqlalchemy.Connection]:
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
