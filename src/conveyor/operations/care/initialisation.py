"""Initialisation: makes a store in an empty folder, once, in steps that survive being killed.

``initialise_store`` may run in several processes at once and may be killed at any line; running it again
completes it. Its steps, in this order:

1. everything that can be refused is refused before anything is made: a database that does not answer, a place
   that cannot hold blobs, an index that cannot be mirrored, a folder in other use, a password too short;
2. the folder, made durable (a half-restored one is refused), and a catalogue file for its owner only;
3. the blobs' folder, and the catalogue's tables in one transaction;
4. the password of ``admin``: chosen, written to its file and fsynced *before* step 5 commits, so that no
   store exists whose password nobody knows;
5. store id, upstream, default indexes and ``admin`` in one transaction: all of it, or none.

Once the folder exists, an advisory lock on it is held; the death of its holder frees it, and it guards only
initialising and restoring. On PostgreSQL other nodes may do the same at the same time with folders of their
own: the row of the store id lets one win, and the others find it and stop.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.blobs.exclusion import folder_locked
from conveyor.blobs.folders import make_durable_folders, storage_errors, sync_folder
from conveyor.catalog.database.connection import sqlite_path
from conveyor.catalog.database.schema import lock_facts, read_fact, write_fact
from conveyor.catalog.indexes.definitions import insert_index
from conveyor.catalog.people.users import insert_user
from conveyor.domain.indexes.definitions import DEFAULT_INDEXES
from conveyor.domain.people.access import SCOPES
from conveyor.domain.people.passwords import check_password
from conveyor.errors import InvalidInput, NotFound
from conveyor.operations.care.opening import (
    PASSWORD_FILE,
    close_store,
    open_store,
    opened_store,
    refuse_half_restored,
    refuse_places,
)
from conveyor.operations.people.users import hash_password
from conveyor.operations.store.facts import store_id, store_upstream
from conveyor.operations.store.store import ADMIN, read, record_change
from conveyor.settings import UpstreamSettings, upstream_of_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from conveyor.settings import StoreSettings


@dataclass(frozen=True)
class InitialState:
    """The store that initialising found or made."""

    store_id: str
    is_new: bool
    """Whether this call made the store."""
    upstream: UpstreamSettings
    password_file: Path | None
    """The file to which this call wrote the random password of ``admin``; ``None`` if it wrote none."""


def initialise_store(settings: StoreSettings) -> InitialState:
    """Make the store at ``settings.data`` if it does not exist, or complete one that was left half made.

    Raises:
        StorageFailed: the folder, the database or the blobs cannot be written.
        InvalidInput: as ``planned_upstream``; nothing was made.
        Conflict: the catalogue belongs to a newer conveyor, a restore into the folder has not finished, or
            the folder holds something else, such as a backup.
    """
    # 1. refusals, before anything is made
    upstream = planned_upstream(settings)
    # 2. the folder
    with storage_errors(f"the store's folder {settings.data} cannot be made"):
        make_durable_folders(settings.data)
    with alone_in(settings.data):
        refuse_half_restored(settings)
        with storage_errors("the catalogue cannot be made"):
            _make_private(sqlite_path(settings.database_url))
        # 3. blobs and tables
        store = open_store(settings)
        try:
            store.blobs.remove_leftovers()
            with read(store) as connection:
                is_there = read_fact(connection, "store-id") is not None
            if is_there:
                return InitialState(store_id(store), False, store_upstream(store), None)
            return _fill(store, settings, upstream)
        finally:
            close_store(store)


def planned_upstream(settings: StoreSettings) -> UpstreamSettings:
    """The index that the store reads from, or would read from if it existed; makes nothing.

    Raises:
        InvalidInput: this machine's pip configuration names no index that can be mirrored, or the settings
            put catalogue or blobs where they cannot be, or give ``admin`` a password that is not allowed.
        StorageFailed, Conflict: as ``open_store``; or the folder holds something other than a store.
    """
    try:
        with opened_store(settings) as store:
            return store_upstream(store)
    except NotFound:
        refuse_places(settings)
        _refuse_missing_folder(settings)
        _refuse_password(settings)
        return settings.upstream or upstream_of_this_machine()


def _refuse_password(settings: StoreSettings) -> None:
    """Raise InvalidInput when the password chosen for ``admin`` is not one that a user may have."""
    if settings.admin_password is not None:
        try:
            check_password(settings.admin_password)
        except InvalidInput as error:
            raise InvalidInput(
                f"CONVEYOR_ADMIN_PASSWORD cannot be used: {error.message}",
                hint="set another one, or unset it: a random one then goes into the store's folder",
            ) from error


def _refuse_missing_folder(settings: StoreSettings) -> None:
    """Raise InvalidInput when the catalogue is to go into another folder, which does not exist."""
    catalog = sqlite_path(settings.database_url)
    if catalog is not None and catalog.parent != settings.data and not catalog.parent.is_dir():
        raise InvalidInput(
            f"the catalogue cannot be made: there is no folder {catalog.parent}",
            hint="make it, or give another file in CONVEYOR_DATABASE_URL",
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Allow one process at a time to initialise or restore this folder; its death frees the lock."""
    with ExitStack() as held:
        with storage_errors(f"{folder} cannot be locked"):
            held.enter_context(folder_locked(folder, fcntl.LOCK_EX))
        yield


def _fill(store: Store, settings: StoreSettings, upstream: UpstreamSettings) -> InitialState:
    # 4. the password, durable before the user's row
    password, password_file = _admin_password(settings)
    password_hash = hash_password(password)
    # 5. all rows, or none
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
        found = UpstreamSettings.from_json(read_fact(connection, "upstream") or "{}")
    # Another node with a folder of its own was faster: its password holds, not ours.
    if password_file is not None:
        password_file.unlink()
    return InitialState(winner, False, found, None)


def _admin_password(settings: StoreSettings) -> tuple[str, Path | None]:
    """The password for ``admin``, and, if it is a random one, the file to which it was durably written."""
    path = settings.data / PASSWORD_FILE
    with storage_errors(f"{path} cannot be written"):
        if settings.admin_password is not None:
            path.unlink(missing_ok=True)  # left by an initialisation that was killed
            return settings.admin_password, None
        password = secrets.token_urlsafe(18)
        unfinished = path.with_name(f"{path.name}.new")  # one name: the next call overwrites it
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(password + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    return password, path


def forget_initial_password(folder: Path) -> None:
    """Remove the file with the first password of ``admin``, if it exists: that password no longer counts."""
    path = folder / PASSWORD_FILE
    with storage_errors(f"{path} cannot be removed"):
        path.unlink(missing_ok=True)


def _make_private(catalog: Path | None) -> None:
    """Make an empty catalogue file that only its owner can read: it holds hashes and upstream's password.

    An existing file is left alone: closing a second descriptor of a SQLite file frees the locks of the first.
    """
    if catalog is not None:
        with suppress(FileExistsError):
            os.close(os.open(catalog, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
