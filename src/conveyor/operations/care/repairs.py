"""Repairs (``fsck --repair``): mends the faults that an inspection found, without inventing anything.

- A wrong or unreadable blob is moved to ``blobs/quarantine``, never deleted; after that it counts as missing.
- A missing blob is brought back if the same digest can be read elsewhere: among files set aside earlier, in a
  backup, or, for metadata, from the distribution itself.
- Wrong metadata in the row of a distribution is read from the distribution again.
- A mirrored file that cannot be brought back is marked as not stored; the next request fetches it again.
- A file of our own that cannot be brought back is reported as lost. Its rows stay; uploading the identical
  file brings it back.
- A blob that no row names, older than the grace time, is removed in the same way as by ``gc``.
- A stray file among the blobs is set aside.
- A file beside the shelves that was never meant as a blob only gets a warning: it may be in use, such as a
  catalogue that somebody keeps there.
- The total size of a project's files is counted again. Any other fault between rows is only reported, because
  nobody can tell which row is right.

Each repair is an event of the actor ``fsck``. A blob is set aside only if it is still the file that was found
wrong, and while nobody adds blobs (``blobs.exclusion``). A row is changed before its blob is removed, so a
killed repair leaves at most a blob that no row names, and the next repair finds it. Works while the store
serves.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.blobs.filesystem import blob_path
from conveyor.blobs.inventory import (
    copy_blob,
    hash_file,
    local_blobs,
    look_at,
    quarantined,
    set_aside,
)
from conveyor.catalog.care.consistency import metadata_by_filename, set_metadata
from conveyor.catalog.care.named_blobs import mark_not_stored
from conveyor.catalog.releases.projects import lock_project, recount_stored_bytes
from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.filenames import distribution_filename
from conveyor.domain.distributions.sdists import read_sdist
from conveyor.domain.distributions.wheels import read_wheel
from conveyor.domain.words.faults import Faults
from conveyor.errors import ConveyorError
from conveyor.operations.care.garbage import remove_garbage
from conveyor.operations.care.inspection import Fault, inspect_store, look_again
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conveyor.blobs.filesystem import FilesystemBlobs
    from conveyor.catalog.care.named_blobs import Namer
    from conveyor.catalog.database.events import Change
    from conveyor.operations.care.inspection import Inspection, Progress
    from conveyor.operations.store.store import Store

ACTOR = "fsck"
"""The actor of these changes in the audit log."""

LOST = (
    "lost: upload the identical file again, or give a folder that has it with --from (a backup of this store)"
)


def repair_store(
    store: Store,
    *,
    grace_seconds: float,
    threads: int,
    sources: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Inspection:
    """Inspect a store and mend what can be mended; lost bytes are read from the blob folders ``sources``.

    Raises:
        Conflict: a backup, a collection or another repair is under way.
        StorageFailed, InvalidInput: as ``inspect_store``.
    """
    blobs = local_blobs(store.blobs)
    with blobs.exclusion.alone_removing():
        found = inspect_store(store, grace_seconds=grace_seconds, threads=threads, progress=progress)
        # Files before metadata: lost metadata is read from its file, which may have been lost too.
        order = sorted(found.faults, key=_is_of_metadata)
        mended = {id(fault): _mend(store, blobs, fault, sources) for fault in order}
        found.faults = [mended[id(fault)] for fault in found.faults]
        if any(fault.kind == "unnamed-blob" for fault in found.faults):
            remove_garbage(store, grace_seconds=grace_seconds)
    return found


def _is_of_metadata(fault: Fault) -> bool:
    return fault.kind == "wrong-metadata" or any(namer.role == "metadata" for namer in fault.namers)


def _mend(store: Store, blobs: FilesystemBlobs, fault: Fault, sources: Sequence[Path]) -> Fault:
    if fault.kind in ("missing-blob", "wrong-blob"):
        now = look_again(store, fault)
        if now is None:
            return replace(fault, repair="somebody has stored it again in the meantime", is_mended=True)
        return _mend_blob(store, blobs, now, sources)
    if fault.kind == "unnamed-blob":
        return replace(fault, repair="removed", is_mended=True)
    if fault.kind == "wrong-project-size":
        with record_change(store, actor=ACTOR) as change:
            lock_project(change.connection, fault.subject)
            recount_stored_bytes(change.connection, fault.subject)
            change.event("recount-project", project=fault.subject, detail={"why": fault.what})
        return replace(fault, repair="counted again", is_mended=True)
    if fault.kind == "wrong-metadata":
        return _mend_metadata(store, blobs, fault)
    if fault.kind == "stray-file" and fault.file is not None:
        target = set_aside(blobs, fault.file)
        if target is None:
            return replace(fault, repair="left alone: somebody has changed it in the meantime; look at it")
        _note(store, "set-aside-blobs", {"file": fault.subject, "to": str(target)})
        return replace(fault, repair=f"set aside as {target}", is_mended=True)
    return fault


def _mend_blob(store: Store, blobs: FilesystemBlobs, fault: Fault, sources: Sequence[Path]) -> Fault:
    """Mend a missing or wrong blob, whose fault carries the current rows."""
    sha256 = fault.sha256 or ""
    is_own = any(namer.is_own for namer in fault.namers)
    # 1. can the bytes be read elsewhere?
    source = _source(blobs, sha256, sources) if fault.namers else None
    content = None if source is not None else _metadata_in_file(blobs, fault)
    is_found = source is not None or content is not None
    # 2. rows, then the bad file, with nobody adding
    done: list[str] = []
    with blobs.exclusion.removing():
        if look_at(blobs.path(sha256)) != fault.file:
            return replace(fault, repair="somebody has stored it again in the meantime", is_mended=True)
        with record_change(store, actor=ACTOR) as change:
            if not is_found and _forget(change, fault.namers):
                done.append("marked as not stored: the next request fetches it again")
            if fault.file is not None:
                _tell(change, "set-aside-blob", fault, {"why": fault.what})
        if fault.file is not None:
            done.insert(0, f"set aside as {set_aside(blobs, fault.file)}")
    # 3. the good bytes
    if content is not None:
        with blobs.adding():
            blobs.put(content)
    elif source is not None:
        is_found = copy_blob(source, blobs, sha256)
    if is_found:
        where = str(source) if source is not None else "read out of its distribution"
        with record_change(store, actor=ACTOR) as change:
            _tell(change, "bring-back-blob", fault, {"from": where})
        done.append(f"brought back ({where})")
    if is_own and not is_found:
        done.append(LOST)
    return replace(fault, repair="; ".join(done) or None, is_mended=is_found or not is_own)


def _source(blobs: FilesystemBlobs, sha256: str, sources: Sequence[Path]) -> Path | None:
    """A file that has these bytes; every candidate is read, because names prove nothing."""
    places = [blob_path(folder, sha256) for folder in sources]
    for path in [*quarantined(blobs, sha256), *places]:
        try:
            hashed = hash_file(path)
        except ConveyorError:
            continue
        if hashed is not None and hashed.sha256 == sha256:
            return path
    return None


def _metadata_in_file(blobs: FilesystemBlobs, fault: Fault) -> bytes | None:
    """Lost metadata of our own distribution, read from it again; ``None`` if that fails."""
    for namer in fault.namers:
        if namer.role == "metadata" and namer.file_sha256 is not None:
            content = _metadata_of_file(blobs, namer.filename, namer.file_sha256)
            if content is not None and hashlib.sha256(content).hexdigest() == fault.sha256:
                return content
    return None


def _mend_metadata(store: Store, blobs: FilesystemBlobs, fault: Fault) -> Fault:
    """Rewrite the metadata of distributions whose rows hold something else."""
    with read(store) as connection:
        rows = metadata_by_filename(connection, fault.subject)
    is_mended = True
    for row in rows:
        if hashlib.sha256(row.metadata).hexdigest() == row.metadata_sha256:
            continue
        content = _metadata_of_file(blobs, fault.subject, row.sha256)
        if content is None or hashlib.sha256(content).hexdigest() != row.metadata_sha256:
            is_mended = False
            continue
        with record_change(store, actor=ACTOR) as change:
            set_metadata(change.connection, fault.subject, row.sha256, content)
            detail = {"filename": fault.subject, "sha256": row.sha256}
            change.event("bring-back-metadata", project=row.project, detail=detail)
    if is_mended:
        return replace(fault, repair="read out of its distribution", is_mended=True)
    return replace(
        fault, repair="it cannot be read out of its distribution: bring that back first, then repair again"
    )


def _metadata_of_file(blobs: FilesystemBlobs, filename: str, sha256: str) -> bytes | None:
    """The metadata in a distribution among the blobs; ``None`` if the file is damaged or missing."""
    try:
        hashed = hash_file(blobs.path(sha256))
        if hashed is None or hashed.sha256 != sha256:
            return None
        name = distribution_filename(filename)
        read_inside = read_wheel if name.packagetype == "bdist_wheel" else read_sdist
        with blobs.open(sha256) as stream:
            found = read_inside(
                stream, name, size_bytes=hashed.size_bytes, limits=ArchiveLimits(), faults=Faults()
            )
    except ConveyorError:
        return None
    return None if found is None else found[0]


def _forget(change: Change, namers: Sequence[Namer]) -> bool:
    """Mark each mirrored file as not stored; returns whether there was one."""
    is_any = False
    for namer in namers:
        if namer.role != "mirrored-file" or namer.index is None or namer.file_sha256 is None:
            continue
        if mark_not_stored(change.connection, namer.index, namer.filename, namer.file_sha256):
            detail = {"filename": namer.filename, "sha256": namer.file_sha256}
            change.event("forget-mirrored-bytes", index=namer.index, project=namer.project, detail=detail)
            is_any = True
    return is_any


def _tell(change: Change, action: str, fault: Fault, detail: dict[str, str]) -> None:
    """Write an event for each project concerned, or one without a project, so that caches drop wrong data."""
    detail = {"sha256": fault.sha256 or "", **detail}
    projects = sorted({(namer.project, namer.index) for namer in fault.namers}, key=str)
    for project, index in projects:
        change.event(action, index=index, project=project, detail=detail)
    if not projects:
        change.event(f"{action}s", detail=detail)


def _note(store: Store, action: str, detail: dict[str, str]) -> None:
    with record_change(store, actor=ACTOR) as change:
        change.event(action, detail=detail)
