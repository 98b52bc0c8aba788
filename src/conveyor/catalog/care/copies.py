"""Copies of a live catalogue, as it is at one moment.

The copy of a SQLite file is a SQLite file, that of a PostgreSQL database a dump, by PostgreSQL's own
``pg_dump`` and ``pg_restore``. A dump holds the whole database, which belongs to the store alone, including
the schemas and extensions that the tables depend on. Owners and rights are left out, so that it can be
restored as another user.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from conveyor.catalog.database.connection import is_full_disk, is_sqlite, reading, storage_error
from conveyor.errors import MissingTool, StorageFailed, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def copied_catalog(engine: sqlalchemy.Engine, target: Path) -> Iterator[sqlalchemy.Connection]:
    """Write the catalogue as it is at one moment into a new file, for its owner only.

    Yields a connection that sees that very moment. The file is not durable before its file system is synced.

    Raises:
        StorageFailed: the catalogue is damaged, or the file cannot be written (StorageFull: no space left).
        MissingTool: pg_dump is not on the PATH.
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
    """SQLite's own online backup, in a single step: one snapshot, and no writer has to wait.

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
        what = "the catalogue cannot be copied"
        raise storage_error(what, str(error), hint="look at the disk") from error
    if said != "ok":
        raise StorageFailed(
            f"the catalogue is damaged: {said}", hint="restore an older backup; this one would be worthless"
        )


@contextmanager
def _reading_copy(path: Path) -> Iterator[sqlalchemy.Connection]:
    """A connection to a copy, which nobody writes to."""
    address = f"file:{quote(str(path))}?mode=ro&immutable=1"
    engine = sqlalchemy.create_engine(
        "sqlite+pysqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def dump_catalog(connection: sqlalchemy.Connection, target: Path) -> None:
    """Write the state that this connection's read transaction sees into a new file; nobody has to wait.

    Raises:
        MissingTool: pg_dump is not on the PATH.
        StorageFailed: pg_dump failed; its own words are in the message (StorageFull: the disk is full).
    """
    snapshot = connection.execute(text("select pg_export_snapshot()")).scalar_one()
    url = connection.engine.url
    target.unlink(missing_ok=True)
    target.touch(0o600)
    _run(
        *("pg_dump", url, "--format=custom", *_PLAIN, f"--snapshot={snapshot}", f"--file={target}"),
        "--exclude-table-data=nodes",  # servers of this moment, which a restored store does not have
    )


def load_catalog(source: Path, url: str) -> None:
    """Restore a dump into an empty database: all of it or, if interrupted, nothing.

    Raises:
        MissingTool: pg_restore is not on the PATH.
        StorageFailed: pg_restore failed, as when the database is not empty; its own words are in the message.
    """
    _run("pg_restore", make_url(url), "--single-transaction", "--exit-on-error", *_PLAIN, str(source))


def _run(program: str, url: sqlalchemy.URL, *arguments: str) -> None:
    found = shutil.which(program)
    if found is None:
        raise MissingTool(
            f"{program} is not on the PATH",
            hint="install PostgreSQL's client programs, as new as the server (Debian: postgresql-client)",
        )
    # As libpq knows it, and without the password: everybody may read the arguments of a process.
    address = sqlalchemy.URL.create(
        "postgresql", url.username, None, url.host, url.port, url.database, url.query
    )
    environment = {**os.environ, "PGPASSWORD": str(url.password)} if url.password else None
    ended = subprocess.run(
        [found, f"--dbname={address.render_as_string()}", "--no-password", *arguments],
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if ended.returncode != 0:
        said = f"{program} failed: {ended.stderr.strip() or ended.returncode}"
        if is_full_disk(said):
            raise StorageFull(said, hint="free some space, then try again")
        raise StorageFailed(said, hint="look at the database and the disk, then try again")


_PLAIN = ("--no-owner", "--no-privileges")
