"""Locks of releases: taken in from workers, given to readers, and the files that they pin.

A mirrored file that a lock names is fetched and kept while upstream has it. From then on it is served by its
digest to whoever may read the release, even after upstream has removed it: then with a warning, and with an
event at the first time. Quarantine still wins (decision 0037).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.catalog.database.serials import newest_serial
from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.indexes.mirrored import mirrored_by_digest, mirrored_projects_of
from conveyor.catalog.indexes.pages import held_files
from conveyor.catalog.people.signers import is_worker
from conveyor.catalog.releases import locks as rows
from conveyor.catalog.releases.distributions import placements_of_release
from conveyor.catalog.releases.locks import Pin, pins_of_file
from conveyor.catalog.releases.projects import status_of
from conveyor.domain.indexes.policy import readable_indexes
from conveyor.domain.indexes.projects import must_offer_files, shown_status
from conveyor.domain.people.access import may_upload
from conveyor.domain.releases.facts import choose_lock, tested_locks
from conveyor.domain.releases.locks import MAX_LOCK_BYTES, TakenLock, check_lock
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.errors import Forbidden, InvalidInput, StorageFailed, TooLarge
from conveyor.operations.indexes.files import FoundFile
from conveyor.operations.releases.standing import release_in
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.locks import LockedFile
    from conveyor.operations.store.store import Store

    Keep = Callable[[MirroredFile], None]
    """Fetches a mirrored file and keeps it; raises UpstreamFailed, NotFound."""


def add_lock(
    store: Store, identity: Identity, project: str, version: str, content: bytes, *, keep: Keep
) -> TakenLock:
    """Take in the lock of a test, and keep the mirrored files that it names.

    Raises:
        Unauthorized, Forbidden: the caller is no registered worker, or may not upload for the project.
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        TooLarge, InvalidInput: it is no lock, or does not hold the release; names every fault.
        NotFound: there is no such release that the caller may see.
        UpstreamFailed: a file that it names could not be fetched.
    """
    # 1. the caller, and the document
    name, number = project_name(project), canonical_version(version)
    may_upload(identity, project=name)
    if len(content) > MAX_LOCK_BYTES:
        raise TooLarge(f"a lock of {len(content)} bytes is over the limit of {MAX_LOCK_BYTES}")
    lock = check_lock(content)
    if not lock.holds(name, number):
        raise InvalidInput(
            f"the lock is refused: {name} {number} is not in it", faults=[f"it does not hold {name} {number}"]
        )
    with read(store) as connection:
        if not (identity.is_whole_admin or is_worker(connection, identity.name)):
            raise Forbidden(
                "locks count from registered workers only",
                hint="an administrator registers one: conveyor store worker add NAME --credentials FILE",
            )
        release_in(connection, identity, name, number)
        # 2. which of its files are a mirror's
        mirrored = [found for file in lock.files if (found := _mirrored(connection, file)) is not None]
    # 3. their bytes
    for file in mirrored:
        if not file.is_stored:
            keep(file)
    # 4. rows, event
    sha256 = hashlib.sha256(content).hexdigest()
    with store.blobs.adding(), record_change(store, actor=identity.name) as change:
        pins = [_pin(store, name, number, file) for file in mirrored]
        new = [pin for pin in pins if rows.insert_pin(change.connection, pin)]
        is_new = rows.insert_lock(
            change.connection,
            name,
            number,
            sha256=sha256,
            content=content,
            received_at=change.at,
            received_from=identity.name,
        )
        if is_new or new:
            detail = {"sha256": sha256, "pinned": {pin.filename: pin.sha256 for pin in new}}
            change.event("add-lock", project=name, version=number, detail=detail)
    return TakenLock(sha256, len(pins))


def get_lock(
    store: Store,
    identity: Identity,
    project: str,
    version: str,
    *,
    python: str | None = None,
    index: str | None = None,
) -> bytes:
    """The lock of a release, as ``choose_lock`` chooses it.

    Raises:
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound: there is no such release or lock that the caller may see.
        Unauthorized: in the first case, for anonymous callers of a store that has a private index.
    """
    name, number = project_name(project), canonical_version(version)
    with read(store) as connection:
        release = release_in(connection, identity, name, number)
        indexes = all_indexes(connection)
        locks = tested_locks(
            release.evidence,
            stored=rows.lock_digests(connection, name, number),
            readable=readable_indexes(indexes, identity, project=name),
        )
        chosen = choose_lock(locks, indexes, release=f"{name} {number}", python=python, index=index)
        content = rows.lock_content(connection, name, number, chosen.sha256)
    assert content is not None  # noqa: S101 - its digest was listed in the same transaction
    return content


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file that is served only because a release's lock names it."""

    found: FoundFile
    is_noted: bool
    """Whether the audit log says already that upstream has removed it."""


def find_pinned(store: Store, sha256: str, filename: str, *, reader: Identity) -> PinnedFile | None:
    """A file that no index holds any more, if a release that the reader may see pins it.

    Raises:
        Forbidden: the project it belongs to is quarantined.
    """
    with read(store) as connection:
        serial = newest_serial(connection)
        indexes = all_indexes(connection)
        for pin in pins_of_file(connection, sha256, filename):
            seen = readable_indexes(indexes, reader, project=pin.project)
            placed = placements_of_release(connection, pin.project, pin.version)
            showing = tuple(indexes[name] for name in sorted({one.index for one in placed} & seen))
            if not showing:
                continue
            known = mirrored_projects_of(connection, pin.file_project, list(indexes))
            status = shown_status(
                status_of(connection, pin.file_project), (state.status for state in known.values())
            )
            must_offer_files(pin.file_project, status)
            found = FoundFile(
                filename=filename,
                sha256=sha256,
                size_bytes=pin.size_bytes,
                project=pin.project,
                supplied_by=pin.index_name,
                readable_through=showing,
                metadata_sha256=None,
                provenance_sha256=None,
                status=status,
                mirrored=None,
                serial=serial,
                pinned_by=f"{pin.project} {pin.version}",
            )
            return PinnedFile(found, is_noted=pin.missed_at is not None)
    return None


def note_removed(store: Store, identity: Identity, pinned: PinnedFile) -> None:
    """Write once into the audit log that a file is served which upstream has removed."""
    found = pinned.found
    with record_change(store, actor=identity.name or "anonymous") as change:
        if rows.note_missed(change.connection, str(found.sha256), found.filename, at=change.at):
            detail = {"filename": found.filename, "sha256": found.sha256, "release": found.pinned_by}
            change.event("serve-removed", index=found.supplied_by, project=found.project, detail=detail)


def _mirrored(connection: Connection, file: LockedFile) -> MirroredFile | None:
    if held_files(connection, file.sha256, file.filename):
        return None
    return next(iter(mirrored_by_digest(connection, file.sha256, file.filename)), None)


def _pin(store: Store, project: str, version: str, file: MirroredFile) -> Pin:
    sha256 = str(file.sha256)
    if not store.blobs.has(sha256):
        raise StorageFailed(f"{file.filename} was removed while the lock arrived", hint="send the lock again")
    size_bytes = store.blobs.size(sha256)
    return Pin(project, version, sha256, file.filename, file.index, file.project, size_bytes)
