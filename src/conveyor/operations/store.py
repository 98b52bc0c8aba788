"""A store: opened as one value that every operation is handed, and initialised once.

``initialise_store`` may run in several processes at once and may be killed at any line; running it again
completes it. Its steps, in this order:

1. the folder, durable, no half restored one, and a catalogue file for its owner only;
2. the blobs' folder, and the catalogue's tables in one transaction;
3. the password of ``admin``: chosen, written to its file and fsynced *before* step 4 commits, so that no
   store exists whose password nobody knows;
4. store id, upstream, default indexes and ``admin`` in one transaction: all of it, or none.

All but the making of the folder happens under an advisory lock on it, held for as long as it takes and freed
by the death of its holder; it guards initialising and restoring only. On PostgreSQL other nodes may do the
same at the same time with folders of their own: the row of the store id lets one win, the others find it and
stop there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conveyor.blobs import BlobStore, open_blobs
from conveyor.blobs.errors import storage_errors
from conveyor.blobs.folders import make_durable_folders, sync_folder
from conveyor.catalog.connection import has_catalog, is_sqlite, open_catalog, sqlite_path
from conveyor.catalog.facts import lock_facts, read_fact, write_fact
from conveyor.catalog.indexes import insert_index
from conveyor.catalog.schema import prepare_schema
from conveyor.catalog.serials import NewestSerial, SerialFile, SerialQuery
from conveyor.catalog.users import insert_user
from conveyor.domain.access import SCOPES
from conveyor.domain.indexes import DEFAULT_INDEXES
from conveyor.errors import Conflict, NotFound, StorageFailed
from conveyor.operations.changes import database_errors, read, record_change
from conveyor.settings import Upstream, upstream_of_this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from conveyor.settings import StoreSettings

ADMIN = "admin"
PASSWORD_FILE = "initial-admin-password"  # noqa: S105 - the name of a file, not a password
RESTORING_FILE = "unfinished-restore"
"""Lies in a folder that a backup is being restored into, or was until somebody pulled the plug."""
SERIAL_FILE = "serial"
"""Sixteen bytes of shared memory beside the catalogue; see ``catalog.serials``."""


@dataclass(frozen=True)
class Store:
    """All that an operation needs; made by ``open_store``, ended by ``close_store``."""

    catalog: Engine
    blobs: BlobStore
    newest: NewestSerial
    clock: Callable[[], datetime]


@dataclass(frozen=True)
class InitialState:
    """What initialising found or made."""

    store_id: str
    is_new: bool
    """Whether this call made the store."""
    upstream: Upstream
    password_file: Path | None
    """Where the random password of ``admin`` was written by this call, if it was."""


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def open_store(settings: StoreSettings) -> Store:
    """Open an initialised store; once per process, after any fork.

    Raises:
        StorageFailed: the database or the folder can not be used.
        Conflict: the catalogue belongs to a newer conveyor, or restoring it was not finished.
    """
    _refuse_half_restored(settings)
    catalog = open_catalog(settings.database_url)
    try:
        with database_errors("the catalogue can not be opened"):
            prepare_schema(catalog)
        newest: NewestSerial
        if is_sqlite(catalog):
            with storage_errors("the serial file can not be opened"):
                newest = SerialFile(settings.data / SERIAL_FILE, catalog)
        else:
            newest = SerialQuery(catalog)
        with database_errors("the newest serial can not be read"):
            newest.repair()
        return Store(catalog=catalog, blobs=open_blobs(settings.blobs_url), newest=newest, clock=now)
    except BaseException:
        catalog.dispose()
        raise


def close_store(store: Store) -> None:
    """Close connections and files; the value must not be used afterwards."""
    store.newest.close()
    store.catalog.dispose()


@contextmanager
def opened_store(settings: StoreSettings) -> Iterator[Store]:
    """The store at ``settings.data`` for the time of one command; it makes none.

    Raises:
        NotFound: there is no store, or one that was left half made.
        StorageFailed, Conflict: as ``open_store``.
    """
    _refuse_half_restored(settings)
    with database_errors("the catalogue can not be opened"):
        is_there = has_catalog(settings.database_url)
    if not is_there:
        raise _no_store(settings)
    store = open_store(settings)
    try:
        with read(store) as connection:
            if read_fact(connection, "store-id") is None:
                raise _no_store(settings)
        yield store
    finally:
        close_store(store)


def _no_store(settings: StoreSettings) -> NotFound:
    return NotFound(
        f"there is no store at {settings.data}",
        hint=f"make one: conveyor store serve --data {shlex.quote(str(settings.data))}",
    )


def initialise_store(settings: StoreSettings) -> InitialState:
    """Make the store at ``settings.data`` if it is not there, or complete one that was left half made.

    Raises:
        StorageFailed: the folder, the database or the blobs can not be written.
        InvalidInput: this machine's pip configuration names no index that can be mirrored.
        Conflict: the catalogue belongs to a newer conveyor.
    """
    # 1. the folder
    with storage_errors(f"the store's folder {settings.data} can not be made"):
        make_durable_folders(settings.data)
    with alone_in(settings.data):
        _refuse_half_restored(settings)
        with storage_errors("the catalogue can not be made"):
            _make_private(sqlite_path(settings.database_url))
        # 2. blobs and tables
        store = open_store(settings)
        try:
            store.blobs.remove_leftovers()
            with read(store) as connection:
                store_id = read_fact(connection, "store-id")
                upstream = read_fact(connection, "upstream")
            if store_id is not None and upstream is not None:
                return InitialState(store_id, False, Upstream.from_json(upstream), None)
            return _fill(store, settings)
        finally:
            close_store(store)


def store_upstream(store: Store) -> Upstream:
    """The index that mirrors of this store read from."""
    with read(store) as connection:
        text = read_fact(connection, "upstream")
    if text is None:
        raise StorageFailed("this store is not initialised", hint="conveyor store serve --data DIR")
    return Upstream.from_json(text)


def store_id(store: Store) -> str:
    """The id that this store was given when it was initialised."""
    with read(store) as connection:
        text = read_fact(connection, "store-id")
    if text is None:
        raise StorageFailed("this store is not initialised", hint="conveyor store serve --data DIR")
    return text


def _fill(store: Store, settings: StoreSettings) -> InitialState:
    from argon2 import PasswordHasher

    upstream = settings.upstream or upstream_of_this_machine()
    # 3. the password, durable before the user is
    password, password_file = _admin_password(settings)
    password_hash = PasswordHasher().hash(password)
    # 4. all rows, or none
    with record_change(store, actor=ADMIN) as change:
        connection = change.connection
        lock_facts(connection)
        winner = read_fact(connection, "store-id")
        if winner is None:
            made = str(uuid.uuid4())
            write_fact(connection, "store-id", made)
            write_fact(connection, "upstream", upstream.to_json())
            for index in DEFAULT_INDEXES:
                insert_index(connection, index, created_at=change.at)
            insert_user(
                connection, name=ADMIN, password_hash=password_hash, scopes=SCOPES, created_at=change.at
            )
            change.event("initialise", detail={"store": made, "upstream": upstream.redacted_url})
            return InitialState(made, True, upstream, password_file)
        found = Upstream.from_json(read_fact(connection, "upstream") or "{}")
    # Another node with a folder of its own was faster: its password holds, not ours.
    if password_file is not None:
        password_file.unlink()
    return InitialState(winner, False, found, None)


def _admin_password(settings: StoreSettings) -> tuple[str, Path | None]:
    """The password to give ``admin``, and the file it was durably written to, when it is a random one."""
    path = settings.data / PASSWORD_FILE
    with storage_errors(f"{path} can not be written"):
        if settings.admin_password is not None:
            path.unlink(missing_ok=True)  # left by an initialisation that was killed
            return settings.admin_password, None
        password = secrets.token_urlsafe(18)
        unfinished = path.with_name(f"{path.name}.new")  # one name: a killed one is written over
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(password + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    return password, path


def _make_private(catalog: Path | None) -> None:
    """Make an empty catalogue file that its owner alone may read: it holds hashes and upstream's password.

    Only if there is none: closing a second descriptor of a SQLite file frees the locks of the first.
    """
    if catalog is not None:
        with suppress(FileExistsError):
            os.close(os.open(catalog, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _refuse_half_restored(settings: StoreSettings) -> None:
    if (settings.data / RESTORING_FILE).exists():
        raise Conflict(
            f"a backup was being restored to {settings.data}, and that was not finished",
            hint=f"conveyor store restore SOURCE --data {settings.data} goes on with it",
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One process at a time initialises or restores this folder; a killed one frees the lock."""
    with storage_errors(f"{folder} can not be written"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)
