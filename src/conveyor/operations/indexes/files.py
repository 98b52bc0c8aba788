"""Files by digest: where their bytes are, who may read them, which index they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from conveyor.catalog.database.serials import newest_serial
from conveyor.catalog.indexes.definitions import all_indexes, claims_on
from conveyor.catalog.indexes.mirrored import (
    first_digest,
    mirrored_by_digest,
    mirrored_projects_of,
    mirrored_without_digest,
)
from conveyor.catalog.indexes.pages import held_files
from conveyor.catalog.releases.distributions import deleted_at, metadata_of
from conveyor.catalog.releases.projects import status_of
from conveyor.domain.distributions.metadata import read_fields
from conveyor.domain.indexes.definitions import is_claimed, resolution_order
from conveyor.domain.indexes.policy import not_here, readable_indexes
from conveyor.domain.indexes.projects import must_offer_files, shown_status
from conveyor.domain.people.access import ANONYMOUS
from conveyor.domain.words.notation import is_sha256
from conveyor.errors import Gone, NotFound, Unauthorized
from conveyor.operations.store.store import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.domain.indexes.projects import ProjectStatus
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A distribution that an index of this store holds."""

    filename: str
    sha256: str | None
    """``None`` until its first download, for a mirrored file whose upstream states no SHA-256."""
    size_bytes: int | None
    """``None`` if it is not known yet, which only happens for mirrored files."""
    project: str
    supplied_by: str
    """Name of the index that holds it."""
    readable_through: tuple[Index, ...]
    """Indexes whose pages show it: callers that may read one of them may read the file."""
    metadata_sha256: str | None
    """Digest of its core metadata; ``None`` if unknown so far, or if it has no metadata."""
    provenance_sha256: str | None
    """Digest of its provenance object; ``None`` if unknown so far, or if it has no provenance."""
    status: ProjectStatus
    """The project's status: this store's decision, else that of the upstream that has the file."""
    mirrored: MirroredFile | None
    """Set when the file is a mirror's and not our own; its bytes may still be at upstream only."""
    serial: int
    """The catalogue's serial when this was read."""
    pinned_by: str | None = None
    """The release, such as ``demo 1.0``, for whose lock alone it is still here: upstream has removed it."""

    @property
    def is_public(self) -> bool:
        """Whether everybody may read it."""
        return can_read_file(ANONYMOUS, self)


def find_file(store: Store, place: str, filename: str, *, reader: Identity) -> FoundFile:
    """The distribution of that place and name: one of our own, else a mirror's.

    The place is its SHA-256, or, for a mirrored file whose upstream states none, an address such as
    ``md5/HEX``.

    A file that the reader may not see takes as many queries as one that does not exist.

    Raises:
        NotFound: no index that the reader may read shows it, or its name belongs to this store and only a
            mirror has it.
        Gone: it was deleted; only readers of everything are told so.
        Unauthorized: instead of both, for anonymous callers of a store that has a private index.
        Forbidden: its project is quarantined.
    """
    with read(store) as connection:
        serial = newest_serial(connection)
        indexes = all_indexes(connection)
        sha256 = place if is_sha256(place) else first_digest(connection, place, filename)
        own = held_files(connection, place, filename)
        if not _is_shown([(row.index, row.project) for row in own], indexes, reader):
            own = []
        mirrored = mirrored_by_digest(connection, sha256, filename) if sha256 and not own else []
        if not (own or mirrored):
            mirrored = mirrored_without_digest(connection, place, filename)
        if mirrored:
            project = canonicalize_name(mirrored[0].project)
            if is_claimed(project, claims_on(connection, project)):
                mirrored = []
        rows = own or mirrored
        if not rows:
            deleted = deleted_at(connection, filename, place)
            reads_all = len(readable_indexes(indexes, reader)) == len(indexes) and reader.projects is None
            raise not_here(_not_here(filename, deleted if reads_all else None), reader, indexes)
        status = status_of(connection, rows[0].project)
        if mirrored:
            known = mirrored_projects_of(connection, mirrored[0].project, [row.index for row in mirrored])
            status = shown_status(status, (state.status for state in known.values()))
    holders = {row.index for row in rows}
    if not reader.is_whole_admin:
        must_offer_files(rows[0].project, status)
    return FoundFile(
        filename=filename,
        sha256=mirrored[0].sha256 if mirrored else place,
        size_bytes=rows[0].size_bytes,
        project=rows[0].project,
        supplied_by=next(name for name in indexes if name in holders),
        readable_through=_seeing(holders, indexes),
        metadata_sha256=rows[0].metadata_sha256,
        provenance_sha256=rows[0].provenance_sha256,
        status=status,
        mirrored=mirrored[0] if mirrored else None,
        serial=serial,
    )


def _not_here(filename: str, deleted: str | None) -> NotFound:
    if deleted is None:
        return NotFound(f"no index of this store holds {filename} with that digest")
    return Gone(
        f"{filename} was deleted from this store at {deleted}",
        hint="install another version, and lock your requirements again",
    )


def can_read_file(identity: Identity, found: FoundFile) -> bool:
    """Whether this caller may read the file, because they may read an index that shows it.

    Only administrators, who have to examine it, can read a quarantined one.
    """
    showing = {index.name: index for index in found.readable_through}
    is_offered = found.status.offers_files or identity.is_whole_admin
    return is_offered and bool(readable_indexes(showing, identity, project=found.project))


def _is_shown(held: Sequence[tuple[str, str]], indexes: Mapping[str, Index], reader: Identity) -> bool:
    """Whether the reader may read an index that shows one of these pairs of (index, project)."""
    return any(
        not readable_indexes(indexes, reader, project=project).isdisjoint(
            index.name for index in _seeing({holder}, indexes)
        )
        for holder, project in held
    )


def nothing_at(store: Store, identity: Identity, error: NotFound) -> NotFound | Unauthorized:
    """The error of a path that cannot lead to a file; strangers get the same one for every path."""
    with read(store) as connection:
        return not_here(error, identity, all_indexes(connection))


def metadata_in_row(store: Store, found: FoundFile) -> bytes | None:
    """The core metadata of our own distribution; ``None`` if it is a blob, as for every mirrored file."""
    if found.mirrored is not None or found.sha256 is None:
        return None
    with read(store) as connection:
        return metadata_of(connection, found.filename, found.sha256)


def read_core_metadata(store: Store, found: FoundFile, metadata_sha256: str) -> dict[str, Any]:
    """The fields of a file's core metadata by packaging's names, without those that cannot be read."""
    content = metadata_in_row(store, found)
    if content is None:
        with store.blobs.open(metadata_sha256) as stream:
            content = stream.read()
    return read_fields(content)


def _seeing(holders: set[str], indexes: Mapping[str, Index]) -> tuple[Index, ...]:
    """The indexes that hold a file, or that show an index which does."""
    return tuple(
        index for index in indexes.values() if not holders.isdisjoint(resolution_order(index.name, indexes))
    )
