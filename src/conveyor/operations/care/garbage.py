"""Garbage collection: removes blobs that no row names, and files that killed processes left half written.

First, files of open releases that were never published are dropped (``operations.uploads.open_releases``).

Such blobs are left by uploads that were killed or refused at the last moment, and by mirrored files that
upstream withdrew. A blob that an upload stores or reuses at the same moment is never removed, however old it
is: ``blobs.exclusion`` explains why, and this module carries out its steps c1 to c4:

1. list the blobs older than the grace time, each with the identity of its file; the age of a file that was
   deleted through the API counts from its deletion;
2. wait until every upload that has stored its bytes has also written its row;
3. read which digests rows name; blobs with these digests stay;
4. write the event, then remove each file that is still the one of step 1, a batch at a time.

A half-written file is not a blob: it is removed at any age once no process holds it (``blobs.filesystem``).

Safety does not depend on the grace time. It is there for people, who may want deleted files back; for clients
in the middle of a download; and for the one commit that outlives its process (see ``blobs.exclusion``).
If the process is killed, some unnamed blobs remain; the next collection removes them.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from conveyor.blobs.inventory import listed_blobs, local_blobs, remove_listed
from conveyor.catalog.care.named_blobs import named_blobs
from conveyor.catalog.database.connection import is_sqlite
from conveyor.catalog.releases.distributions import digests_retired_since
from conveyor.domain.words.notation import utc_text
from conveyor.operations.store.store import read, record_change
from conveyor.operations.uploads.open_releases import drop_outdated_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.blobs.filesystem import FilesystemBlobs
    from conveyor.blobs.inventory import ListedFile
    from conveyor.catalog.care.named_blobs import NamedBlobs
    from conveyor.operations.store.store import Store

ACTOR = "gc"
"""The actor of these changes in the audit log."""

GRACE_SECONDS = 24 * 3600.0
LEAST_GRACE_SECONDS = 0.1
"""File times advance in ticks of up to 10 ms: a file written in the tick of the listing is left alone."""

LEAST_GRACE_SECONDS_POSTGRESQL = 60.0
"""The database server may finish a commit whose process was killed after sending it."""

REMOVED_AT_ONCE = 200
"""Files removed in one batch, while all uploads wait: about 10 ms."""


@dataclass(frozen=True, slots=True)
class Collected:
    """The files that a collection removed, or would remove."""

    blobs: int
    size_bytes: int
    leftovers: int = 0
    """Half-written files of processes that are gone."""
    leftover_bytes: int = 0


def collect_garbage(store: Store, *, grace_seconds: float = GRACE_SECONDS, is_dry: bool = False) -> Collected:
    """Remove half-written files of killed processes, and blobs without a row older than the grace time.

    With ``is_dry`` they are only counted.

    Raises:
        Conflict: a backup, a repair or another collection is under way.
        StorageFailed: the catalogue cannot be read, or a blob cannot be removed.
        InvalidInput: the blobs are not in a folder of this machine.
    """
    blobs = local_blobs(store.blobs)
    if is_dry:
        collected = _counted(_garbage(store, blobs, grace_seconds))
    else:
        drop_outdated_files(store, actor=ACTOR)
        with blobs.exclusion.alone_removing():
            collected = remove_garbage(store, grace_seconds=grace_seconds)
    left = blobs.remove_leftovers(is_dry=is_dry)
    return replace(collected, leftovers=len(left), leftover_bytes=sum(left))


def remove_garbage(store: Store, *, grace_seconds: float) -> Collected:
    """Remove unnamed blobs older than the grace time; the caller holds ``alone_removing``."""
    blobs = local_blobs(store.blobs)
    # 1. to 3. what may go
    garbage = _garbage(store, blobs, grace_seconds)
    planned = _counted(garbage)
    if not planned.blobs:
        return planned
    # 4. the event first: it also buries what an adder that was killed in its commit has left in the log
    with record_change(store, actor=ACTOR) as change:
        detail = {"blobs": planned.blobs, "size_bytes": planned.size_bytes}
        change.event("collect-blobs", detail=detail)
    removed = size_bytes = 0
    for begin in range(0, len(garbage), REMOVED_AT_ONCE):
        with blobs.exclusion.removing():
            gone = [file for file in garbage[begin : begin + REMOVED_AT_ONCE] if remove_listed(file)]
        removed += len(gone)
        size_bytes += sum(file.size_bytes for file in gone)
    return Collected(removed, size_bytes)


def _garbage(store: Store, blobs: FilesystemBlobs, grace_seconds: float) -> list[ListedFile]:
    """Unnamed files that are old enough: steps 1 to 3. Memory grows with the garbage, not with the store."""
    least = LEAST_GRACE_SECONDS if is_sqlite(store.catalog) else LEAST_GRACE_SECONDS_POSTGRESQL
    oldest = time.time() - max(grace_seconds, least)
    with read(store) as connection:
        since = utc_text(store.clock() - timedelta(seconds=grace_seconds))
        deleted_lately = digests_retired_since(connection, since)
    # 1. list; leaving out blobs that were named a moment ago decides nothing, it only keeps the list short
    with closing(_names(store)) as named:
        listed = [
            file
            for file in listed_blobs(blobs)
            if file.changed_at < oldest and file.name not in named and file.name not in deleted_lately
        ]
    if not listed:
        return []
    # 2. after this, every upload that stored bytes before the listing has committed its row, or never will
    with blobs.exclusion.removing():
        pass
    # 3. digests that rows name
    with closing(_names(store)) as named:
        return [file for file in listed if file.name not in named]


def _names(store: Store) -> NamedBlobs:
    with read(store) as connection:
        return named_blobs(connection)


def _counted(files: Sequence[ListedFile]) -> Collected:
    return Collected(len(files), sum(file.size_bytes for file in files))
