"""What came from an upstream: decided and stored. Fetching is the shell's work (``server.mirroring``).

Each function is one change. What leaves every page as it is (the same page again) is no event: only the time
of asking is written. Nothing here asks upstream, and no row is written for bytes that are not blobs yet; what
is stored here and its row are one piece for garbage collection (``blobs.adding``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conveyor.catalog.mirrored import (
    delete_mirrored_files,
    insert_mirrored_files,
    mirrored_by_digest,
    mirrored_page_files,
    mirrored_projects_of,
    put_mirrored_project,
    update_mirrored_files,
)
from conveyor.domain.mirror import MirroredProject, Unchanged, merge, with_facts
from conveyor.errors import UpstreamFailed
from conveyor.operations.changes import record_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.utils import NormalizedName

    from conveyor.blobs import Temporary
    from conveyor.domain.mirror import FileFacts, MirroredFile, UpstreamPage
    from conveyor.operations.store import Store

ACTOR = "mirror"
"""Who makes these changes, in the audit log."""


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A project of a mirror after upstream was asked."""

    known: MirroredProject
    files: tuple[MirroredFile, ...]


def store_page(
    store: Store,
    index: str,
    project: NormalizedName,
    page: UpstreamPage | Unchanged | None,
) -> StoredPage:
    """Store what upstream says of a project now; ``None``: it has none.

    All rows of a new project are written in one statement. Files that upstream no longer has are forgotten;
    what was filled in for the others stays (see ``domain.mirror``).
    """
    with record_change(store, actor=ACTOR) as change:
        connection = change.connection
        before = mirrored_projects_of(connection, project, [index]).get(index)
        rows = {file.filename: file for file in mirrored_page_files(connection, project, [index])}
        if isinstance(page, Unchanged):
            known = MirroredProject(index, project, True, before.etag if before else None, change.at)
            put_mirrored_project(connection, known)
            return StoredPage(known, tuple(rows.values()))
        known = MirroredProject(index, project, page is not None, page.etag if page else None, change.at)
        put_mirrored_project(connection, known)
        difference = merge(rows, page.files if page else (), index=index, project=project, now=store.clock())
        delete_mirrored_files(connection, index, project, difference.removed)
        update_mirrored_files(connection, difference.changed)
        insert_mirrored_files(connection, difference.added)
        if not difference.is_empty or (before is not None and before.is_present != known.is_present):
            detail = {
                "added": len(difference.added),
                "changed": len(difference.changed),
                "removed": len(difference.removed),
            }
            change.event("mirror-page", index=index, project=project, detail=detail)
        rows.update({file.filename: file for file in (*difference.added, *difference.changed)})
        for filename in difference.removed:
            del rows[filename]
        return StoredPage(known, tuple(rows.values()))


def store_facts(store: Store, index: str, project: NormalizedName, facts: Sequence[FileFacts]) -> None:
    """Fill in sizes and times of a project's files, as their servers said."""
    with record_change(store, actor=ACTOR) as change:
        said = {fact.filename: fact for fact in facts}
        rows = mirrored_page_files(change.connection, project, [index])
        filled = [(row, with_facts(row, said[row.filename])) for row in rows if row.filename in said]
        changed = [after for before, after in filled if after != before]
        update_mirrored_files(change.connection, changed)
        if changed:
            change.event("mirror-sizes", index=index, project=project, detail={"files": len(changed)})


def store_metadata(store: Store, file: MirroredFile, content: bytes) -> str:
    """Keep the metadata of a mirrored file; pages carry its digest from now on. Returns the digest."""
    with store.blobs.adding():
        # 1. the bytes, durable
        digest = store.blobs.put(content)
        # 2. the rows of every mirror that has the file
        with record_change(store, actor=ACTOR) as change:
            rows = mirrored_by_digest(change.connection, file.sha256, file.filename)
            changed = [replace(row, metadata_sha256=digest) for row in rows if row.metadata_sha256 != digest]
            update_mirrored_files(change.connection, changed)
            for row in changed:
                detail = {"filename": row.filename, "metadata_sha256": digest}
                change.event("mirror-metadata", index=row.index, project=row.project, detail=detail)
    return digest


def keep_file(
    store: Store, file: MirroredFile, temporary: Temporary, *, sha256: str, size_bytes: int
) -> None:
    """Keep a mirrored file that was received whole; ``sha256`` and ``size_bytes`` are those of its bytes.

    Raises:
        UpstreamFailed: the bytes are not the file that upstream's page named; nothing is stored.
    """
    # 1. are these the bytes?
    if sha256 != file.sha256:
        raise UpstreamFailed(
            f"upstream sent other bytes for {file.filename}: SHA-256 {sha256}, its page says {file.sha256}",
            hint="nothing was stored; is a proxy in between?",
        )
    if file.size_bytes not in (None, size_bytes):
        raise UpstreamFailed(
            f"upstream sent {size_bytes} bytes for {file.filename}, {file.size_bytes} were announced"
        )
    with store.blobs.adding():
        # 2. durable
        store.blobs.adopt(temporary, sha256)
        # 3. the rows
        with record_change(store, actor=ACTOR) as change:
            rows = mirrored_by_digest(change.connection, file.sha256, file.filename)
            missing = [row for row in rows if not row.is_stored]
            update_mirrored_files(
                change.connection, [replace(row, is_stored=True, size_bytes=size_bytes) for row in missing]
            )
            for row in missing:
                detail = {"filename": row.filename, "sha256": sha256, "size_bytes": size_bytes}
                change.event("mirror-file", index=row.index, project=row.project, detail=detail)
                if row.size_bytes is None:
                    change.event("mirror-sizes", index=row.index, project=row.project, detail={"files": 1})
