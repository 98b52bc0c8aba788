"""Backups: a folder from which an identical store can be made, written while the store serves.

Steps of ``back_up``:

1. locks: one backup at a time into that folder, and no blobs are removed meanwhile (``blobs.exclusion``);
2. the rows, one snapshot, by SQLite's online backup or by pg_dump; **rows first**: bytes are stored before
   their rows, so every blob that the snapshot names is there now, and step 1 keeps it there. Blobs first
   would miss those of the uploads in between;
3. the blobs it names: those already in the folder stay; the others are hard-linked or, on another disk,
   copied and hashed on the way;
4. everything is made durable, then the marker is replaced in one rename: until then the folder still holds
   the whole previous backup;
5. files that only the previous backup needed are removed.

If the process is killed at any line, the folder holds the last finished backup, and the next call continues
from there. A backup contains the catalogue (with users, tokens, upstream) and the blobs. It does not contain
the initial password file, the serial file (a restored store makes a new one) or logs. A hard link protects
against deletion, not against a broken disk.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor import installed_version
from conveyor.blobs.exclusion import file_locked
from conveyor.blobs.filesystem import FilesystemBlobs
from conveyor.blobs.folders import make_durable_folders, storage_errors, sync_folder
from conveyor.blobs.inventory import (
    copy_blob,
    hash_file,
    in_parallel,
    link_blob,
    listed_blobs,
    local_blobs,
    look_at,
    sync_file_system,
)
from conveyor.catalog.care.copies import copied_catalog
from conveyor.catalog.care.named_blobs import named_blobs
from conveyor.catalog.database.connection import is_sqlite
from conveyor.catalog.database.schema import read_fact
from conveyor.catalog.database.serials import newest_serial
from conveyor.domain.care.backups import MARKER, Backup, BackupFile, listing_line, parse_backup
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, InvalidInput, NotFound, StorageFailed
from conveyor.operations.store.facts import store_id
from conveyor.operations.store.store import database_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Literal

    from conveyor.catalog.care.named_blobs import NamedBlob, NamedBlobs
    from conveyor.domain.care.backups import Database
    from conveyor.operations.care.inspection import Progress
    from conveyor.operations.store.store import Store

    How = Literal["kept", "linked", "copied", "absent", "missing", "damaged"]

BLOBS = "blobs"
_LOCK = "lock"
_UNFINISHED_CATALOG, _UNFINISHED_LISTING = "unfinished-catalog", "unfinished-blobs"
ENDINGS: dict[Database, str] = {"sqlite": ".sqlite", "postgresql": ".dump"}
_OUR_NAMES = (MARKER, _LOCK, BLOBS, "catalog-", "unfinished-")
"""Prefixes of the names in a backup; the lists of blobs share theirs with the folder of blobs."""
MOST_NAMED = 10
"""How many digests an error names."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup that has just been made."""

    backup: Backup
    linked: int
    copied: int
    kept: int
    """How many blobs the folder already had."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Facts read from the copied catalogue."""

    serial: int
    schema: int
    named: NamedBlobs
    """The caller closes it."""


@dataclass(frozen=True, slots=True)
class _Brought:
    """The outcome for one blob."""

    sha256: str
    size_bytes: int
    how: How


def back_up(
    store: Store,
    destination: Path,
    *,
    threads: int,
    is_verifying: bool = False,
    may_be_incomplete: bool = False,
    progress: Progress | None = None,
) -> BackedUp:
    """Make, or bring up to date, the backup at ``destination``.

    Args:
        store: the store; it may serve meanwhile.
        destination: a folder that is new, empty, or holds a backup of this store.
        threads: files handled at a time.
        is_verifying: read every blob that the folder already has, and replace damaged ones.
        may_be_incomplete: continue without blobs that the store has lost; the backup lists them.
        progress: called as the backup advances.

    Raises:
        InvalidInput: the folder is inside the store's own, or the other way round.
        MissingTool: the catalogue is in PostgreSQL, and pg_dump is not installed.
        Conflict: the folder holds something else, or another backup is being written there.
        StorageFailed: a blob is missing or damaged, or a disk failed (StorageFull: the disk is full); the
            previous backup is still there.
    """
    _check(store, destination)
    database: Database = "sqlite" if is_sqlite(store.catalog) else "postgresql"
    source, target = local_blobs(store.blobs), FilesystemBlobs(destination / BLOBS)
    # 1. locks
    with _alone_in(destination), source.exclusion.keeping():
        # 2. the rows
        copy = destination / _UNFINISHED_CATALOG
        rows = _copy_rows(store, copy)
        with closing(rows.named) as named:
            # 3. the blobs
            brought = _bring_all(source, target, named, threads, is_verifying=is_verifying)
            listing = destination / _UNFINISHED_LISTING
            found = _write_listing(listing, brought, of=len(named), progress=progress)
            if found.lost and not may_be_incomplete:
                raise _lost(found.lost)
            # 4. durable, then valid
            backup = Backup(
                store=store_id(store),
                serial=rows.serial,
                schema=rows.schema,
                database=database,
                made_at=utc_text(store.clock()),
                made_by=installed_version(),
                catalog=_named_by_digest(copy, "catalog", ENDINGS[database]),
                listing=_named_by_digest(listing, "blobs", ".txt"),
                blobs=found.counts["kept"] + found.counts["linked"] + found.counts["copied"],
                size_bytes=found.size_bytes,
                missing=tuple(one.sha256 for one in found.lost),
            )
            _finish(destination, backup)
            # 5. the rest
            _clear(destination, backup, target, named)
    return BackedUp(backup, found.counts["linked"], found.counts["copied"], found.counts["kept"])


def read_backup(folder: Path) -> Backup:
    """The finished backup in a folder.

    Raises:
        NotFound: the folder holds no finished backup.
        InvalidInput, Conflict: as ``parse_backup``.
    """
    try:
        with storage_errors(f"{folder / MARKER} cannot be read"):
            text = (folder / MARKER).read_text(encoding="utf-8", errors="replace")
    except StorageFailed as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise NotFound(
                f"there is no finished backup at {folder}",
                hint=f"{MARKER} is written last; finish it: "
                f"conveyor store backup {shlex.quote(str(folder))} --data DIR",
            ) from error
        raise
    return parse_backup(text)


def _check(store: Store, destination: Path) -> None:
    _refuse_own_folders(store, destination)
    with storage_errors(f"{destination} cannot be used"):
        make_durable_folders(destination)
        strange = [name for name in os.listdir(destination) if not name.startswith(_OUR_NAMES)]  # noqa: PTH208 - names are all that is asked for
    if strange:
        raise Conflict(
            f"{destination} holds something other than a backup: {', '.join(sorted(strange)[:5])}",
            hint="give a new or empty folder, or one that holds a backup of this store",
        )
    if (destination / MARKER).exists():
        theirs, mine = read_backup(destination).store, store_id(store)
        if theirs != mine:
            raise Conflict(
                f"{destination} holds a backup of another store, {theirs}; this one is {mine}",
                hint="give each store a folder of its own",
            )


def _refuse_own_folders(store: Store, destination: Path) -> None:
    """Raise InvalidInput when the backup would be inside the store, or the store inside the backup.

    Removing or losing one would take the other with it; and the store's own blobs would be mistaken for
    those of the backup and cleared away.
    """
    folder = destination.resolve()
    for own in (store.data, local_blobs(store.blobs).root):
        real = own.resolve()
        if folder.is_relative_to(real) or real.is_relative_to(folder):
            which = "lies in" if folder.is_relative_to(real) else "holds"
            raise InvalidInput(
                f"{destination} {which} the store's own folder {own}",
                hint="give a folder outside it, on another disk if possible",
            )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Allow one backup at a time into a folder; the death of its process frees the lock."""
    with ExitStack() as held:
        with storage_errors(f"{folder} cannot be written"):
            try:
                held.enter_context(file_locked(folder / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise Conflict(
                    f"another backup is being written to {folder}",
                    hint="wait until it has ended, then try again",
                ) from error
        yield


def _copy_rows(store: Store, copy: Path) -> _Rows:
    with (
        storage_errors(f"{copy} cannot be written"),
        database_errors("the catalogue cannot be copied"),
        copied_catalog(store.catalog, copy) as connection,
    ):
        schema = int(read_fact(connection, "schema") or 0)
        return _Rows(newest_serial(connection), schema, named_blobs(connection))


def _bring_all(
    source: FilesystemBlobs, target: FilesystemBlobs, named: NamedBlobs, threads: int, *, is_verifying: bool
) -> Iterator[_Brought]:
    def bring(blob: NamedBlob) -> _Brought:
        return _bring(source, target, blob, is_verifying=is_verifying)

    return in_parallel(bring, named, threads=threads)


def _bring(
    source: FilesystemBlobs, target: FilesystemBlobs, blob: NamedBlob, *, is_verifying: bool
) -> _Brought:
    """Make sure that the backup has one blob."""
    sha256 = blob.sha256
    here, there = look_at(source.path(sha256)), look_at(target.path(sha256))
    is_whole = here is not None and not blob.sizes - {here.size_bytes}
    # 1. the backup has it; the store may have lost the blob, so any doubtful copy is read
    if there is not None:
        is_alike = here is not None and there.size_bytes == here.size_bytes
        if is_whole and is_alike and not is_verifying:
            return _Brought(sha256, there.size_bytes, "kept")
        hashed = hash_file(there.path)
        if hashed is not None and hashed.sha256 == sha256:
            return _Brought(sha256, hashed.size_bytes, "kept")
        if here is not None and there.identity[:2] == here.identity[:2]:  # two names of one damaged file
            return _Brought(sha256, here.size_bytes, "damaged")
    # 2. the store has it
    if here is None:
        return _Brought(sha256, 0, "missing" if blob.must_be_here else "absent")
    if not is_whole:
        return _Brought(sha256, here.size_bytes, "damaged")
    if link_blob(here.path, target, sha256):
        return _Brought(sha256, here.size_bytes, "linked")
    is_right = copy_blob(here.path, target, sha256)
    return _Brought(sha256, here.size_bytes, "copied" if is_right else "damaged")


@dataclass(frozen=True, slots=True)
class _Found:
    """The entries that the list of blobs is written from."""

    counts: Counter[How]
    size_bytes: int
    lost: list[_Brought]


def _write_listing(path: Path, brought: Iterator[_Brought], *, of: int, progress: Progress | None) -> _Found:
    counts: Counter[How] = Counter()
    lost: list[_Brought] = []
    size_bytes = 0
    with storage_errors(f"{path} cannot be written"), path.open("w", encoding="ascii") as file:
        for one in brought:
            counts[one.how] += 1
            if one.how in ("missing", "damaged"):
                lost.append(one)
            elif one.how != "absent":
                size_bytes += one.size_bytes
                file.write(listing_line(one.sha256, one.size_bytes))
            if progress is not None:
                progress(counts.total(), of, size_bytes)
        file.flush()
        os.fsync(file.fileno())
    return _Found(counts, size_bytes, lost)


def _lost(lost: list[_Brought]) -> StorageFailed:
    named = ", ".join(f"{one.sha256} ({one.how})" for one in lost[:MOST_NAMED])
    more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
    return StorageFailed(
        f"no backup was made: the store has lost the bytes of {named}{more}",
        hint="go on without them with --incomplete, or mend them first: "
        "conveyor store fsck --repair --data DIR",
    )


def _named_by_digest(path: Path, stem: str, ending: str) -> BackupFile:
    hashed = hash_file(path)
    if hashed is None:
        raise StorageFailed(f"{path} is gone", hint="is somebody else working in that folder?")
    return BackupFile(f"{stem}-{hashed.sha256[:16]}{ending}", hashed.sha256, hashed.size_bytes)


def _finish(destination: Path, backup: Backup) -> None:
    """Make everything durable, then replace the marker."""
    with storage_errors(f"{destination} cannot be written"):
        (destination / _UNFINISHED_CATALOG).rename(destination / backup.catalog.name)
        (destination / _UNFINISHED_LISTING).rename(destination / backup.listing.name)
        sync_file_system(destination)
        unfinished = destination / f"unfinished-{MARKER}"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(backup.to_json())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(destination / MARKER)
        sync_folder(destination)


def _clear(destination: Path, backup: Backup, target: FilesystemBlobs, named: NamedBlobs) -> None:
    """Remove files that this backup does not need."""
    with storage_errors(f"{destination} cannot be cleared"):
        for path in destination.iterdir():
            is_needed = path.name in (MARKER, _LOCK, BLOBS, backup.catalog.name, backup.listing.name)
            if path.is_file() and not is_needed:
                path.unlink()
        for listed in listed_blobs(target):
            if listed.name not in named:
                listed.path.unlink()
    target.remove_leftovers()
