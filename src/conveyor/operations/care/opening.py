"""Opening an existing store, for a process or for one command, and closing it again.

``operations.care.initialisation`` makes one in an empty folder.
"""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from conveyor.blobs import blobs_folder, open_blobs
from conveyor.blobs.folders import storage_errors
from conveyor.catalog.database.connection import has_catalog, is_sqlite, open_catalog, sqlite_path
from conveyor.catalog.database.nodes import NodeMemory, NodeSerials
from conveyor.catalog.database.schema import prepare_schema, read_fact
from conveyor.catalog.database.serials import NewestSerial, SerialFile
from conveyor.domain.care.backups import MARKER
from conveyor.errors import Conflict, NotFound
from conveyor.operations.store.store import Store, database_errors, now, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.settings import StoreSettings

RESTORING_FILE = "unfinished-restore"
"""Marks a folder into which a backup is being restored, or was when the restore was interrupted."""
SERIAL_FILE = "serial"
"""Sixteen bytes of shared memory beside the catalogue; see ``catalog.database.serials``."""
PASSWORD_FILE = "initial-admin-password"  # noqa: S105 - the name of a file, not a password
_OUR_NAMES = ("blobs", "catalog.sqlite", SERIAL_FILE, PASSWORD_FILE, "lost+found")
"""Prefixes of names that a folder without a store may hold: left by a killed call, or by mkfs."""


def opener_of_node(settings: StoreSettings) -> Callable[[], Store]:
    """The function that opens the store in each server process; made before the fork, to share memory."""
    is_on_file = sqlite_path(settings.database_url) is not None
    return partial(open_store, settings, None if is_on_file else NodeMemory())


def open_store(settings: StoreSettings, memory: NodeMemory | None = None) -> Store:
    """Open an initialised store; once per process, after any fork.

    ``memory`` makes this process one of a server's, which answer from memory as long as nothing has changed;
    a process that lacks it asks the database.

    Raises:
        StorageFailed: the database or the folder cannot be used.
        Conflict: the catalogue belongs to a newer conveyor, or its restore was not finished.
    """
    refuse_half_restored(settings)
    catalog = open_catalog(settings.database_url)
    try:
        with database_errors("the catalogue cannot be opened"):
            prepare_schema(catalog)
        blobs = open_blobs(settings.blobs_url)
        newest: NewestSerial
        if is_sqlite(catalog):
            with storage_errors("the serial file cannot be opened"):
                newest = SerialFile(settings.data / SERIAL_FILE, catalog)
        else:
            newest = NodeSerials(catalog, memory)
        with database_errors("the newest serial cannot be read"):
            newest.repair()
        return Store(
            data=settings.data,
            catalog=catalog,
            blobs=blobs,
            newest=newest,
            clock=now,
            public_url=settings.public_url,
        )
    except BaseException:
        catalog.dispose()
        raise


def close_store(store: Store) -> None:
    """Close connections and files; the store must not be used afterwards."""
    store.descriptions.close()
    store.newest.close()
    store.catalog.dispose()


@contextmanager
def opened_store(settings: StoreSettings) -> Iterator[Store]:
    """The store at ``settings.data`` for the time of one command; it must already exist.

    Raises:
        NotFound: there is no store, or it was left half made.
        Conflict: as ``open_store``; or the folder holds something other than a store, such as a backup.
        StorageFailed: as ``open_store``.
    """
    refuse_half_restored(settings)
    with database_errors("the catalogue cannot be opened"):
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


def _no_store(settings: StoreSettings) -> Conflict | NotFound:
    """The error for a place without a store: Conflict when its folder holds something else.

    A store made inside a backup would treat the backup's blobs as garbage. Raises StorageFailed.
    """
    strange: list[str] = []
    if settings.data.is_dir():
        with storage_errors(f"the store's folder {settings.data} cannot be read"):
            strange = sorted(
                path.name
                for path in settings.data.iterdir()
                if not path.name.startswith(_OUR_NAMES) and path != settings.access_log
            )
    if MARKER in strange:
        source = shlex.quote(str(settings.data))
        return Conflict(
            f"{settings.data} is a backup, not a store",
            hint=f"make a store of it elsewhere: conveyor store restore {source} --data NEW",
        )
    if strange:
        return Conflict(
            f"there is no store at {settings.data}, but something else: {', '.join(strange[:5])}",
            hint="give the folder of a store; a new one is made by: conveyor store serve --data NEW",
        )
    return NotFound(
        f"there is no store at {settings.data}",
        hint=f"make one: conveyor store serve --data {shlex.quote(str(settings.data))}",
    )


def refuse_places(settings: StoreSettings) -> None:
    """Raise InvalidInput when the catalogue or the blobs cannot be where the settings put them."""
    open_catalog(settings.database_url).dispose()
    blobs_folder(settings.blobs_url)


def refuse_half_restored(settings: StoreSettings) -> None:
    """Raise Conflict when a restore into the store's folder was begun but not finished."""
    if (settings.data / RESTORING_FILE).exists():
        raise Conflict(
            f"a backup was being restored to {settings.data}, and that was not finished",
            hint="continue it from the same backup: "
            f"conveyor store restore BACKUP --data {shlex.quote(str(settings.data))}",
        )
