"""Mirrored pages and files: decides about upstream's answers and stores them.

Fetching is the shell's work (``server.mirror.mirroring``); nothing here asks upstream. Each function is one
change. An answer that leaves every page as it is (the same page again) is not an event: only the time of
asking is written. No row is written for bytes that are not blobs yet, and a blob stored here is safe from
garbage collection until its row is written (``blobs.adding``). Projects that upstream never had get no row,
because anybody may ask for any name.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name

from conveyor.catalog.indexes.mirrored import (
    delete_mirrored_files,
    first_digests_of,
    insert_mirrored_files,
    mirrored_by_digest,
    mirrored_page_files,
    mirrored_projects_of,
    mirrored_without_digest,
    put_first_digest,
    put_mirrored_project,
    update_mirrored_files,
)
from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.filenames import distribution_filename
from conveyor.domain.distributions.metadata import is_static
from conveyor.domain.distributions.sdists import read_sdist
from conveyor.domain.indexes.mirror import (
    MirroredProject,
    Unchanged,
    address_of,
    merge,
    new_versions,
    with_facts,
)
from conveyor.domain.words.faults import Faults
from conveyor.domain.words.names import version_or_none
from conveyor.errors import InvalidDistribution, UpstreamFailed
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from packaging.utils import NormalizedName

    from conveyor.blobs import Temporary
    from conveyor.catalog.database.events import Change
    from conveyor.domain.indexes.mirror import FileFacts, Hashing, MirroredFile, UpstreamPage
    from conveyor.operations.store.store import Store

ACTOR = "mirror"
"""The actor of these changes in the audit log."""
_CHUNK_BYTES = 1024 * 1024


def store_page(
    store: Store,
    index: str,
    project: NormalizedName,
    page: UpstreamPage | Unchanged | None,
) -> tuple[MirroredFile, ...]:
    """Store upstream's current page of a project (``None`` if it has none); returns its known files.

    All rows of a new project are written in one statement. Files that upstream no longer has are forgotten;
    facts filled in for the others stay (see ``domain.indexes.mirror``).
    """
    if page is None and not _is_remembered(store, index, project):
        return ()
    with record_change(store, actor=ACTOR) as change:
        connection = change.connection
        before = mirrored_projects_of(connection, project, [index]).get(index)
        if isinstance(page, Unchanged):
            known = before or MirroredProject(index, project, True, None, change.at)
            known = replace(known, is_present=True, fetched_at=change.at)
        else:
            known = _as_said(index, project, page, change.at)
        # Before the files are read: of two processes that asked at once, the second now waits for the first.
        put_mirrored_project(connection, known)
        found = mirrored_page_files(connection, project, [index], is_changing=True)
        rows = {file.filename: file for file in found}
        if isinstance(page, Unchanged):
            return tuple(rows.values())
        offered = page.files if page else ()
        addresses = [(address_of(file, project), file.filename) for file in offered]
        firsts = first_digests_of(connection, [(one, name) for one, name in addresses if one is not None])
        difference = merge(
            rows, offered, index=index, project=project, now=store.clock(), first_digests=firsts
        )
        delete_mirrored_files(connection, index, project, difference.removed)
        update_mirrored_files(connection, difference.changed)
        insert_mirrored_files(connection, difference.added)
        is_shown_otherwise = before is not None and (
            (before.is_present, before.status) != (known.is_present, known.status)
        )
        if not difference.is_empty or is_shown_otherwise:
            detail: dict[str, object] = {
                "added": len(difference.added),
                "changed": len(difference.changed),
                "removed": len(difference.removed),
            }
            if before is not None and before.is_present and (new := new_versions(rows, difference.added)):
                detail["new_versions"] = list(new)
            change.event("mirror-page", index=index, project=project, detail=detail)
        rows.update({file.filename: file for file in (*difference.added, *difference.changed)})
        for filename in difference.removed:
            del rows[filename]
        return tuple(rows.values())


def _is_remembered(store: Store, index: str, project: str) -> bool:
    """Whether upstream ever had the project; asked without waiting for writers."""
    with read(store) as connection:
        return index in mirrored_projects_of(connection, project, [index])


def _as_said(index: str, project: str, page: UpstreamPage | None, at: str) -> MirroredProject:
    if page is None:
        return MirroredProject(index, project, False, None, at)
    return MirroredProject(index, project, True, page.etag, at, page.status)


def store_facts(store: Store, index: str, project: NormalizedName, facts: Sequence[FileFacts]) -> None:
    """Fill in sizes and times of a project's files, as stated by their servers."""
    with record_change(store, actor=ACTOR) as change:
        said = {fact.filename: fact for fact in facts}
        rows = mirrored_page_files(change.connection, project, [index], is_changing=True)
        filled = [(row, with_facts(row, said[row.filename])) for row in rows if row.filename in said]
        changed = [after for before, after in filled if after != before]
        update_mirrored_files(change.connection, changed)
        if changed:
            change.event("mirror-sizes", index=index, project=project, detail={"files": len(changed)})


def store_metadata(store: Store, file: MirroredFile, content: bytes) -> str:
    """Keep the metadata of a mirrored file; pages carry its digest from now on. Returns the digest."""
    with store.blobs.adding():
        digest = store.blobs.put(content)
        _change_rows(
            store,
            file,
            lambda row: replace(row, metadata_sha256=digest, is_metadata_unreadable=False),
            action="mirror-metadata",
            detail={"metadata_sha256": digest},
        )
    return digest


def store_unreadable(store: Store, file: MirroredFile) -> None:
    """Note that the metadata of a mirrored file cannot be read: pages no longer announce it."""
    _change_rows(
        store,
        file,
        lambda row: replace(row, is_metadata_unreadable=True),
        action="mirror-metadata",
        detail={"is_metadata_unreadable": True},
    )


def store_provenance(store: Store, file: MirroredFile, content: bytes) -> str:
    """Keep the provenance object of a mirrored file, as upstream has it. Returns its digest."""
    with store.blobs.adding():
        digest = store.blobs.put(content)
        _change_rows(
            store,
            file,
            lambda row: replace(row, provenance_sha256=digest),
            action="mirror-provenance",
            detail={"provenance_sha256": digest},
        )
    return digest


def static_metadata(store: Store, file: MirroredFile) -> bytes | None:
    """The metadata in a stored sdist's PKG-INFO; ``None`` if building may change it or it is unreadable.

    Raises:
        NotFound, StorageFailed: the sdist is not among the blobs, or cannot be read.
    """
    faults = Faults()
    if file.sha256 is None:
        return None
    try:
        filename = distribution_filename(file.filename)
    except InvalidDistribution:
        return None
    size_bytes = store.blobs.size(file.sha256)
    with store.blobs.open(file.sha256) as stream:
        found = read_sdist(stream, filename, size_bytes=size_bytes, limits=ArchiveLimits(), faults=faults)
    if found is None or faults:
        return None
    content, _ = found
    fields, _ = parse_email(content)
    is_of_file = version_or_none(fields.get("version", "")) == filename.version
    is_of_file &= canonicalize_name(fields.get("name", "")) == filename.project
    return content if is_of_file and is_static(dict(fields)) else None


def keep_file(store: Store, hashing: Hashing, temporary: Temporary, *, size_bytes: int) -> MirroredFile:
    """Keep a mirrored file that was received whole; returns it with all facts known now.

    If upstream states no SHA-256, the file's address stands permanently for the SHA-256 of these bytes.
    A page's statement of the size counts only if it has no hash; an archive without one must be whole.

    Raises:
        UpstreamFailed: the bytes are not the file that upstream's page named, or that came from this address
            before; nothing is stored.
    """
    file = hashing.file
    # 1. the right bytes
    sha256 = hashing.sha256()
    if not hashing.is_checked and (fault := _fault(file, temporary.file, size_bytes)):
        _forget_size(store, file)
        raise UpstreamFailed(
            f"upstream sent {size_bytes:,} bytes for {file.filename}, {fault}",
            hint="nothing was stored; is a proxy in between, or was the file replaced?",
        )
    with store.blobs.adding():
        # 2. durable
        store.blobs.adopt(temporary, sha256)
        # 3. the rows
        with record_change(store, actor=ACTOR) as change:
            rows = mirrored_by_digest(change.connection, sha256, file.filename, is_changing=True)
            if file.sha256 is None and file.address is not None:
                _fix_digest(change, file.address, file.filename, sha256)
                rows += mirrored_without_digest(
                    change.connection, file.address, file.filename, is_changing=True
                )
            missing = [row for row in rows if not row.is_stored or row.size_bytes != size_bytes]
            update_mirrored_files(
                change.connection,
                [replace(row, sha256=sha256, is_stored=True, size_bytes=size_bytes) for row in missing],
            )
            for row in missing:
                detail = {"filename": row.filename, "sha256": sha256, "size_bytes": size_bytes}
                change.event("mirror-file", index=row.index, project=row.project, detail=detail)
                if row.sha256 is None:
                    detail = {"filename": row.filename, "sha256": sha256}
                    change.event("mirror-digest", index=row.index, project=row.project, detail=detail)
                elif row.size_bytes != size_bytes:
                    change.event("mirror-sizes", index=row.index, project=row.project, detail={"files": 1})
    return replace(file, sha256=sha256, is_stored=True, size_bytes=size_bytes)


def _fault(file: MirroredFile, content: BinaryIO, size_bytes: int) -> str | None:
    """Why bytes without a hash cannot be the whole file, as the end of a sentence; such as an error page.

    They would stand for the file permanently. What is in an archive is not judged: installers read more than
    is accepted as an upload.
    """
    if file.size_bytes not in (None, size_bytes):
        return f"but announced {file.size_bytes:,}"
    suffix = file.filename.lower().rpartition(".")[2]
    content.seek(0)
    if suffix in _COMPRESSED:
        with _COMPRESSED[suffix](content) as stream:
            is_whole = _has_end(stream, size_bytes)
        is_whole = is_whole or zipfile.is_zipfile(content)  # some are zips; older pips unpack them as such
    elif suffix in ("whl", "zip", "egg"):
        is_whole = zipfile.is_zipfile(content)
    elif suffix == "exe":  # of other programs nobody can say where they end
        is_whole = content.read(2) == b"MZ"
    else:
        is_whole = size_bytes > 0
    return None if is_whole else "which are not a whole archive"


_COMPRESSED: Mapping[str, Callable[[BinaryIO], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    "gz": gzip.open,
    "tgz": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
}
"""How to read the archives that are not zips."""


def _forget_size(store: Store, file: MirroredFile) -> None:
    """Have the size of a file without a hash asked for again: upstream may mend it."""
    if file.size_bytes is None:
        return
    with record_change(store, actor=ACTOR) as change:
        found = mirrored_without_digest(change.connection, file.place, file.filename, is_changing=True)
        rows = [row for row in found if row.size_bytes is not None]
        update_mirrored_files(change.connection, [replace(row, size_bytes=None) for row in rows])
        for row in rows:
            change.event("mirror-sizes", index=row.index, project=row.project, detail={"files": 1})


def _has_end(stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, size_bytes: int) -> bool:
    """Whether a compressed stream can be read to its end; a bomb is not read any further.

    As for tarfile, which installers use, whatever follows the end does not matter.
    """
    limits, expanded_bytes = ArchiveLimits(), 0
    try:
        while chunk := stream.read1(_CHUNK_BYTES):
            expanded_bytes += len(chunk)
            if limits.bomb_fault(expanded_bytes, size_bytes):
                break
    except gzip.BadGzipFile as error:
        return expanded_bytes > 0 and "Not a gzipped file" in str(error)  # else a checksum that is wrong
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        return False
    return expanded_bytes > 0


def _fix_digest(change: Change, address: str, filename: str, sha256: str) -> None:
    """Tie an address to these bytes; raises UpstreamFailed if it is tied to others."""
    counts = put_first_digest(change.connection, address, filename, sha256, computed_at=change.at)
    if counts != sha256:
        raise UpstreamFailed(
            f"upstream sent other bytes for {filename}: SHA-256 {sha256}, its first download had {counts}",
            hint="nothing was stored; a published file never changes: ask its publisher for a new version",
        )


def _change_rows(
    store: Store,
    file: MirroredFile,
    changed: Callable[[MirroredFile], MirroredFile],
    *,
    action: str,
    detail: Mapping[str, object],
) -> None:
    """Write the known facts into the rows of every mirror that has the file, with one event for each."""
    with record_change(store, actor=ACTOR) as change:
        rows = mirrored_by_digest(change.connection, file.place, file.filename, is_changing=True)
        after = [changed(row) for row in rows if changed(row) != row]
        update_mirrored_files(change.connection, after)
        for row in after:
            told = {"filename": row.filename, **detail}
            change.event(action, index=row.index, project=row.project, detail=told)
