"""Repairs (``fsck --repair``): mends what an inspection found, as far as that needs no invention.

- A wrong or unreadable blob is set aside into ``blobs/quarantine``, never deleted; it is missing then.
- A missing blob is brought back if the same digest can be read elsewhere: among what was set aside earlier,
  in a backup, and, for metadata, out of the distribution itself.
- Wrong metadata in the row of a distribution is read out of the distribution again.
- Else, of a mirrored file: its row says that it is not stored, and the next request fetches it again.
- Else, of our own: it is reported as lost. Its rows stay; uploading the identical file brings it back.
- A blob that no row names, older than the grace time, is removed as ``gc`` does it.
- A stray file among the blobs is set aside.
- What lies beside the shelves and was never meant as a blob is warned of only: it may be in use, such as a
  catalogue that somebody keeps there.
- What a project's files count together is counted anew. Anything else that is wrong between rows is reported
  only: which row is right, nobody can tell by looking.

Each repair is an event of the actor ``fsck``. A blob is set aside only while it is the file that was found
wrong, with nobody adding (``blobs.exclusion``); a row is changed before its blob goes, so that a repair that
is killed leaves at most a blob that no row names, which the next one finds. Works while the store serves.
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
"""Who makes these changes, in the audit log."""

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
    """Inspect a store and mend what can be mended; ``sources``: folders of blobs to read lost bytes from.

    Raises:
        Conflict: a backup, a collection or another repair is under way.
        StorageFailed, InvalidInput: as ``inspect_store``.
    """
    blobs = local_blobs(store.blobs)
    with blobs.exclusion.alone_removing():
        found = inspect_store(store, grace_seconds=grace_seconds, threads=threads, progress=progress)
        # Files before metadata: lost metadata is read out of its file, which may have been lost too.
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
    """A missing or wrong blob; its fault has the rows of now."""
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
    """A file that has these bytes: every one is read, none is believed."""
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
    """Lost metadata of a distribution of our own, read out of it again; ``None``: that does not give it."""
    for namer in fault.namers:
        if namer.role == "metadata" and namer.file_sha256 is not None:
            content = _metadata_of_file(blobs, namer.filename, namer.file_sha256)
            if content is not None and hashlib.sha256(content).hexdigest() == fault.sha256:
                return content
    return None


def _mend_metadata(store: Store, blobs: FilesystemBlobs, fault: Fault) -> Fault:
    """Write the metadata of distributions anew whose rows hold something else."""
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
    """What a distribution among the blobs says of itself; ``None``: it is damaged, or not here."""
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
    """Write of each mirrored file that its bytes are not here; whether there was one."""
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
    """One event for each project concerned, so that no cache keeps what was wrong; else one without any."""
    detail = {"sha256": fault.sha256 or "", **detail}
    projects = sorted({(namer.project, namer.index) for namer in fault.namers}, key=str)
    for project, index in projects:
        change.event(action, index=index, project=project, detail=detail)
    if not projects:
        change.event(f"{action}s", detail=detail)


def _note(store: Store, action: str, detail: dict[str, str]) -> None:
    with record_change(store, actor=ACTOR) as change:
        change.event(action, detail=detail)
