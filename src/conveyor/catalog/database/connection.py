"""Opens the catalogue: SQLite (one node) or PostgreSQL (any number of nodes), behind one SQLAlchemy engine.

Two kinds of transaction, and no others; ``asking`` is for a single statement, which needs none:

``reading``   one snapshot: every statement inside sees the same state. SQLite: a deferred ``BEGIN`` in WAL
              mode; PostgreSQL: ``REPEATABLE READ, READ ONLY``.
``writing``   SQLite: ``BEGIN IMMEDIATE``, so that a writer waits at the start instead of failing in the
middle; PostgreSQL: ``READ COMMITTED``, ordered by the row lock of ``serials.next_serial``.

The sqlite3 driver's own implicit ``BEGIN`` is turned off: it would begin no transaction for a read and a
deferred one for a write, which fails with "database is locked" under load.

No other module of the product knows which of the two databases it speaks to. Errors of the driver pass
through ``reading`` and ``writing`` as they are; ``operations.store.store`` turns them into ours.

Whose turn it is to write: SQLite lets one transaction write at a time, and its own waiting is a poll with
growing sleeps: of two processes that write all the time, one sleeps while nobody writes. So threads and
processes of one node queue here first, where the kernel wakes the next one. A turn is two locks, ``next`` and
``turn``: a writer that waits for the turn holds ``next`` already, so one that has had a turn and wants
another comes after it, and nobody starves. The order of waiting is advisory: SQLite's own lock keeps writers
apart, so a writer that does not take turns, such as the ``sqlite3`` shell, does no harm.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.pool import QueuePool

from conveyor.catalog.database.statements import Statement
from conveyor.errors import InvalidInput, StorageFailed, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection as PostgresConnection
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, IsolationLevel
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a writer waits for another process's write lock before it gives up."""

_BEGIN, _BEGIN_IMMEDIATE = Statement(sqlalchemy.text("BEGIN")), Statement(sqlalchemy.text("BEGIN IMMEDIATE"))

LOCK_MILLISECONDS = 100
"""How long a transaction that was told to waits for a lock; PostgreSQL looks for deadlocks after a second."""
LOST_SECONDS = 20
"""A connection to PostgreSQL counts as lost when the network has acknowledged nothing for about so long."""

_WAIT_BRIEFLY = Statement(sqlalchemy.text(f"set local lock_timeout = {LOCK_MILLISECONDS}"))

POOL_SIZE = 16
"""Connections kept open per process; more are opened while more threads need one at once."""


def open_catalog(url: str) -> sqlalchemy.Engine:
    """An engine for ``sqlite:///PATH`` or ``postgresql+psycopg://…``; nothing is connected or created yet.

    Raises:
        InvalidInput: the text is not a database URL, or names a database that is not supported.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        return _open_postgresql(parsed)
    raise InvalidInput(f'the catalogue cannot live in "{parsed.get_backend_name()}"', hint=_URL_HINT)


def _parsed(url: str) -> sqlalchemy.URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise InvalidInput("the database URL cannot be read", hint=_URL_HINT) from error


_URL_HINT = "use sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite catalogue; ``None`` for another database."""
    parsed = _parsed(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def has_catalog(url: str) -> bool:
    """Whether a catalogue was ever made at this URL; the check does not create one."""
    path = sqlite_path(url)
    if path is not None:
        return path.is_file()
    engine = open_catalog(url)
    try:
        with engine.connect() as connection:
            return sqlalchemy.inspect(connection).has_table("facts")
    finally:
        engine.dispose()


@contextmanager
def reading(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """A read transaction on an ``open_catalog`` engine: one consistent snapshot for all statements inside."""
    readers: sqlalchemy.Engine = engine.get_execution_options()["readers"]
    with readers.begin() as connection:
        yield connection


@contextmanager
def asking(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """A connection of an ``open_catalog`` engine for one ``Statement`` that reads: it is its own snapshot."""
    askers: sqlalchemy.Engine = engine.get_execution_options()["askers"]
    with askers.connect() as connection:
        yield connection


@contextmanager
def writing(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """A write transaction on an ``open_catalog`` engine, committed on leaving, rolled back by any exception.

    Raises:
        StorageFailed: the turn to write cannot be taken.
    """
    options = engine.get_execution_options()
    turn: WriteTurn | None = options["write_turn"]
    writers: sqlalchemy.Engine = options["writers"]
    with turn.taken() if turn else nullcontext(), writers.begin() as connection:
        yield connection


def wait_briefly(connection: sqlalchemy.Connection) -> None:
    """Let this write transaction fail when it waits longer than ``LOCK_MILLISECONDS`` for another's lock.

    On SQLite a write transaction has no other beside it.
    """
    if connection.dialect.name == "postgresql":
        _WAIT_BRIEFLY.run(connection)


def is_full_disk(reason: str) -> bool:
    """Whether an error of SQLite, PostgreSQL or one of their programs says that no space is left."""
    return "disk is full" in reason or "No space left" in reason


def storage_error(what: str, reason: str, *, hint: str) -> StorageFailed:
    """The error to raise when a database could not do something; StorageFull, with a hint of its own."""
    if is_full_disk(reason):
        return StorageFull(f"{what}: the disk is full", hint="free some space, then try again")
    return StorageFailed(f"{what}: {reason}", hint=hint)


def is_sqlite(engine: sqlalchemy.Engine) -> bool:
    """Whether the catalogue is a SQLite file (else it is PostgreSQL)."""
    return engine.dialect.name == "sqlite"


def _open_sqlite(url: sqlalchemy.URL) -> sqlalchemy.Engine:
    if not url.database or url.database == ":memory:":
        raise InvalidInput("the catalogue needs a file", hint=_URL_HINT)
    turn = WriteTurn(Path(url.database))
    engine = sqlalchemy.create_engine(
        url.set(drivername="sqlite+pysqlite"),
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=-1,
        connect_args={
            "check_same_thread": False,
            "isolation_level": None,
            "timeout": BUSY_TIMEOUT_SECONDS,
            "cached_statements": 512,
        },
    )
    writers = engine.execution_options(sqlite_begin=_BEGIN_IMMEDIATE)
    engine.update_execution_options(readers=engine, askers=engine, writers=writers, write_turn=turn)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "engine_disposed", lambda _: turn.close())
    return engine


def _prepare_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Durable before it is acknowledged (``synchronous=FULL``), readers never blocked (WAL)."""
    del record
    cursor = connection.cursor()
    try:
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA temp_store=MEMORY")
        # mmap_size is not set: every connection of the pool would map the file again. With a catalogue of a
        # million # files that took 700 MB of resident memory per process, and pages were no faster.
    finally:
        cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """Two processes that open an empty file at once: SQLite answers one of them "locked" without waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: sqlalchemy.Connection) -> None:
    begin: Statement = connection.get_execution_options().get("sqlite_begin", _BEGIN)
    begin.run(connection)


def _open_postgresql(url: sqlalchemy.URL) -> sqlalchemy.Engine:
    engine = _postgresql_pool(url, "READ COMMITTED")
    readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    # Connections of their own: to switch one to autocommit and back takes as long as a question.
    askers = _postgresql_pool(url, "AUTOCOMMIT")
    event.listen(engine, "engine_disposed", lambda _: askers.dispose())
    engine.update_execution_options(readers=readers, askers=askers, writers=engine, write_turn=None)
    return engine


def _postgresql_pool(url: sqlalchemy.URL, isolation_level: IsolationLevel) -> sqlalchemy.Engine:
    pool = sqlalchemy.create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level=isolation_level,
        pool_size=POOL_SIZE,
        max_overflow=2 * POOL_SIZE,
        connect_args={
            "connect_timeout": 10,
            "application_name": "conveyor",
            # Without these, a question that a dead network swallowed is waited for by the kernel's defaults:
            # a quarter of an hour while something is being sent, hours while only an answer is awaited.
            "keepalives_idle": LOST_SECONDS // 2,
            "keepalives_interval": LOST_SECONDS // 4,
            "keepalives_count": 2,
            "tcp_user_timeout": LOST_SECONDS * 1000,
        },
    )
    event.listen(pool, "checkout", _refuse_ended)
    return pool


def _refuse_ended(connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: object) -> None:
    """Have the pool reconnect when the server has ended this connection: its final message waits to be read.

    Asking the kernel takes microseconds; asking the server, as SQLAlchemy can, takes a round trip each time.
    """
    del record, proxy
    poll = select.poll()
    poll.register(cast("PostgresConnection", connection).fileno(), select.POLLIN)
    if poll.poll(0):
        raise InvalidatePoolError("the server has ended this connection")


class WriteTurn:
    """The turn to write into one catalogue; one object per process."""

    def __init__(self, catalog: Path) -> None:
        """``catalog``: the file of the catalogue; two empty files beside it serve as the locks."""
        self._threads = threading.Lock()
        self._next = _FileLock(catalog.with_name(f"{catalog.name}-next"))
        self._turn = _FileLock(catalog.with_name(f"{catalog.name}-turn"))

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and hold it; a process that dies releases it. Raises StorageFailed."""
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
        """Close the files; the next turn opens them again."""
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
                f"the turn to write the catalogue cannot be taken: {self._path}: {error.strerror or error}",
                hint="this process must be able to write there, and the file system must support flock",
            ) from error

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
