"""Restores: an identical store from a backup, in an empty folder.

Same rows, same serials, same bytes: pages are the same to the byte, and tokens and passwords work as before.
Nothing is added to the audit log, so the restored store is identical to the one that was backed up. Steps:

1. the backup: finished, of a format and a schema that this conveyor knows, its two files as the marker says;
2. the folder: empty, or left by an unfinished restore of the same backup; from here on a file marks the
   restore, and no store is opened or made in the folder while that file exists;
3. the blobs, copied and hashed on the way; those already in place are hashed too;
4. the catalogue, durable, in one rename; last, so that no row ever points at missing bytes;
5. the file of step 2 is removed.

If the process is killed at any line, the next call continues. The bytes are copied and not linked, so that
damage to one copy does not damage the other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from conveyor.blobs import blobs_folder, open_blobs
from conveyor.blobs.filesystem import blob_path
from conveyor.blobs.folders import make_durable_folders, storage_errors, sync_folder
from conveyor.blobs.inventory import copy_blob, hash_file, in_parallel, listed_blobs, local_blobs
from conveyor.catalog.care.copies import load_catalog
from conveyor.catalog.database.connection import has_catalog, open_catalog, reading, sqlite_path
from conveyor.catalog.database.schema import read_fact
from conveyor.catalog.database.serials import newest_serial
from conveyor.catalog.database.tables import SCHEMA_VERSION
from conveyor.domain.care.backups import parse_listing_line
from conveyor.errors import Conflict, InvalidInput, StorageFailed
from conveyor.operations.care.backups import BLOBS, MOST_NAMED, read_backup
from conveyor.operations.care.initialisation import alone_in
from conveyor.operations.care.opening import RESTORING_FILE, refuse_places
from conveyor.operations.store.store import database_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.blobs.filesystem import FilesystemBlobs
    from conveyor.domain.care.backups import Backup, BackupFile, Database
    from conveyor.operations.care.inspection import Progress
    from conveyor.settings import StoreSettings


def restore_store(
    source: Path, settings: StoreSettings, *, threads: int, progress: Progress | None = None
) -> Backup:
    """Make the store at ``settings.data`` from the backup at ``source``; returns the restored backup.

    Raises:
        NotFound: there is no finished backup.
        InvalidInput: the backup's marker or list is damaged, or the catalogue or the blobs would go where
            they cannot be, such as into the backup itself.
        MissingTool: the catalogue goes to PostgreSQL, and pg_restore is not installed.
        Conflict: the folder or the database is not empty, or the backup is of a newer conveyor.
        StorageFailed: the backup is damaged, or a disk failed; call again to continue.
    """
    # 1. the backup
    backup = read_backup(source)
    catalog = sqlite_path(settings.database_url)
    if (backup.database == "sqlite") != (catalog is not None):
        raise InvalidInput(
            f"the catalogue of this backup was in {_NAMES[backup.database]}, and cannot go elsewhere",
            hint="CONVEYOR_DATABASE_URL says where the catalogue is; if unset, it is in SQLite",
        )
    if backup.schema > SCHEMA_VERSION:
        raise Conflict(
            f"the backup has schema {backup.schema}, newer than this conveyor's {SCHEMA_VERSION}",
            hint="upgrade conveyor, then try again",
        )
    for file in (backup.catalog, backup.listing):
        _check_file(source, file)
    refuse_places(settings)
    _refuse_within_backup(source, settings)
    # 2. the folder
    with storage_errors(f"{settings.data} cannot be made"):
        make_durable_folders(settings.data)
    with alone_in(settings.data):
        blobs = _begin(settings, backup)
        # 3. the blobs
        _bring_all(source, blobs, backup, threads=threads, progress=progress)
        # 4. the catalogue
        if catalog is not None:
            _place_file(source, backup.catalog, catalog)
        else:
            _load(source, backup, settings.database_url)
        # 5. the folder is a store
        with storage_errors(f"{settings.data} cannot be written"):
            (settings.data / RESTORING_FILE).unlink()
            sync_folder(settings.data)
    return backup


def _check_file(source: Path, file: BackupFile) -> None:
    hashed = hash_file(source / file.name)
    if hashed is None:
        raise StorageFailed(f"the backup at {source} is damaged: {file.name} is missing", hint=_OTHER)
    if hashed.sha256 != file.sha256:
        raise StorageFailed(f"the backup at {source} is damaged: {file.name} has other bytes", hint=_OTHER)


def _refuse_within_backup(source: Path, settings: StoreSettings) -> None:
    """Raise InvalidInput when the store would be inside its backup, in the way of the next backup."""
    catalog = sqlite_path(settings.database_url) or settings.data
    for place in (settings.data, blobs_folder(settings.blobs_url), catalog):
        if place.resolve().is_relative_to(source.resolve()):
            raise InvalidInput(
                f"{place} lies in the backup {source}",
                hint="give a folder outside it, on another disk if possible",
            )


def _begin(settings: StoreSettings, backup: Backup) -> FilesystemBlobs:
    """Refuse folders that are not empty, write that a restore has begun, and return the blobs' folder."""
    note = settings.data / RESTORING_FILE
    unfinished = note.with_name(f"{note.name}.new")
    mine = hashlib.sha256(backup.to_json().encode()).hexdigest()
    with storage_errors(f"{settings.data} cannot be written"):
        if note.exists():
            if note.read_text(encoding="ascii", errors="replace").strip() != mine:
                raise Conflict(
                    f"another backup was being restored to {settings.data}",
                    hint="continue with that one, or empty the folder",
                )
            return local_blobs(open_blobs(settings.blobs_url))
        taken = {path.name for path in settings.data.iterdir() if path != unfinished}
        if taken:
            raise _not_empty(settings, ", ".join(sorted(taken)[:5]))
        if _is_catalog_begun(settings.database_url):
            raise _not_empty(settings, "its database holds a catalogue, or the remains of one")
        with unfinished.open("w", encoding="ascii") as file:
            file.write(mine + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(note)
        sync_folder(settings.data)
        blobs = local_blobs(open_blobs(settings.blobs_url))
        if next(listed_blobs(blobs), None) is not None:  # a folder of blobs elsewhere
            note.unlink()
            raise _not_empty(settings, f"{blobs.root} holds blobs")
    return blobs


def _is_catalog_begun(url: str) -> bool:
    """Whether there is a catalogue, or a log, which SQLite would replay over the restored catalogue."""
    catalog = sqlite_path(url)
    if catalog is None:
        with database_errors("the database cannot be opened"):
            return has_catalog(url)
    return any(catalog.with_name(f"{catalog.name}{ending}").exists() for ending in ("", "-wal", "-journal"))


def _not_empty(settings: StoreSettings, what: str) -> Conflict:
    return Conflict(
        f"{settings.data} is not empty: {what}", hint="restore into a folder that is new or empty"
    )


def _bring_all(
    source: Path, blobs: FilesystemBlobs, backup: Backup, *, threads: int, progress: Progress | None
) -> None:
    def bring(line: tuple[str, int]) -> tuple[str, int, bool]:
        sha256, size_bytes = line
        return sha256, size_bytes, _bring(source, blobs, sha256)

    done = done_bytes = 0
    damaged: list[str] = []
    for sha256, size_bytes, is_here in in_parallel(bring, _listing(source, backup), threads=threads):
        done, done_bytes = done + 1, done_bytes + size_bytes
        if not is_here:
            damaged.append(sha256)
        if progress is not None:
            progress(done, backup.blobs, done_bytes)
    if damaged:
        more = f" and {len(damaged) - MOST_NAMED} more" if len(damaged) > MOST_NAMED else ""
        raise StorageFailed(
            f"the backup at {source} is damaged: blobs are missing or have other bytes:"
            f" {', '.join(damaged[:MOST_NAMED])}{more}",
            hint=_OTHER,
        )


def _bring(source: Path, blobs: FilesystemBlobs, sha256: str) -> bool:
    """Bring one blob into the store; returns whether it is there now with the right bytes."""
    here = hash_file(blobs.path(sha256))  # left by a restore that was killed
    if here is not None and here.sha256 == sha256:
        return True
    return copy_blob(blob_path(source / BLOBS, sha256), blobs, sha256)


def _listing(source: Path, backup: Backup) -> Iterator[tuple[str, int]]:
    with (
        storage_errors(f"{backup.listing.name} cannot be read"),
        (source / backup.listing.name).open(encoding="ascii", errors="replace") as file,
    ):
        for line in file:
            yield parse_listing_line(line)


def _load(source: Path, backup: Backup, url: str) -> None:
    """Load the catalogue's dump, unless an earlier, killed restore has already done so."""
    if not has_catalog(url):
        load_catalog(source / backup.catalog.name, url)
    with database_errors("the restored catalogue cannot be read"):
        engine = open_catalog(url)
        try:
            with reading(engine) as connection:
                found = (read_fact(connection, "store-id"), newest_serial(connection))
        finally:
            engine.dispose()
    if found != (backup.store, backup.serial):
        raise Conflict(
            f"the database holds another catalogue: store {found[0]} at serial {found[1]}",
            hint="name an empty database in CONVEYOR_DATABASE_URL",
        )


def _place_file(source: Path, file: BackupFile, catalog: Path) -> None:
    """Copy the catalogue to a file beside its final path, durable and checked, then rename it."""
    unfinished = catalog.with_name(f"{catalog.name}.restoring")
    with storage_errors(f"{catalog} cannot be written"):
        make_durable_folders(catalog.parent)
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target, (source / file.name).open("rb") as content:
            shutil.copyfileobj(content, target, 1024 * 1024)
            target.flush()
            os.fsync(target.fileno())
        hashed = hash_file(unfinished)
        if hashed is None or hashed.sha256 != file.sha256:
            raise StorageFailed(f"{file.name} changed while it was read", hint="try again")
        unfinished.rename(catalog)
        sync_folder(catalog.parent)


_NAMES: dict[Database, str] = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_OTHER = "repair the backup, or restore another one into another folder: this one is not a store yet"
