"""Rows of distributions: each stored wheel or sdist, the indexes that hold it, and the retired filenames.

A placement says that a distribution is in an index. Promotion moves placements, never bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, func, insert, select, true, tuple_, update

from conveyor.catalog.database.statements import Statement, insert_missing
from conveyor.catalog.database.tables import distributions, placements, retired_filenames
from conveyor.domain.indexes.withdrawals import DeletedFile

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import BindParameter, ColumnElement, Connection, ScalarSelect

    from conveyor.domain.distributions.reading import Distribution

_MOST_PAIRS = 200
"""Releases in one statement: databases limit its parameters."""
_INSERT = Statement(insert(distributions))
_METADATA = Statement(
    select(distributions.c.metadata).where(
        distributions.c.filename == bindparam("filename"), distributions.c.sha256 == bindparam("sha256")
    )
)


def metadata_of(connection: Connection, filename: str, sha256: str) -> bytes | None:
    """The core metadata of a distribution, byte by byte; ``None`` if it is a blob or no row exists."""
    found: bytes | None = _METADATA.scalar(connection, {"filename": filename, "sha256": sha256})
    return found


def insert_distribution(
    connection: Connection,
    distribution: Distribution,
    *,
    uploaded_at: str,
    uploaded_by: str,
    provenance_sha256: str | None = None,
) -> None:
    """Write a new distribution; its project must exist, and its bytes must be stored.

    ``provenance_sha256``: digest of its provenance object (PEP 740), a blob; ``None`` if it has no
    provenance.
    """
    values = {
        "filename": distribution.filename,
        "project": distribution.project,
        "version": distribution.version,
        "packagetype": distribution.packagetype,
        "sha256": distribution.digests.sha256,
        "blake2b_256": distribution.digests.blake2b_256,
        "size_bytes": distribution.size_bytes,
        "requires_python": distribution.requires_python,
        "metadata_sha256": hashlib.sha256(distribution.metadata).hexdigest(),
        "metadata": distribution.metadata,
        "uploaded_at": uploaded_at,
        "uploaded_by": uploaded_by,
        "is_metadata_static": distribution.is_metadata_static,
        "provenance_sha256": provenance_sha256,
    }
    _INSERT.run(connection, values)


def distributions_of(
    connection: Connection, project: str, version: str | None, filename: str | None
) -> list[DeletedFile]:
    """The files of a project that a deletion would remove; ``None`` stands for every version or filename."""
    rows = connection.execute(
        select(
            distributions.c.filename,
            distributions.c.version,
            distributions.c.sha256,
            distributions.c.size_bytes,
        )
        .where(of_project(project, version, filename))
        .order_by(distributions.c.version, distributions.c.filename)
    )
    return [DeletedFile(*row) for row in rows]


def delete_distributions(
    connection: Connection, project: str, version: str | None, filename: str | None
) -> None:
    """Remove the rows of a project's files; no placement may still name them."""
    connection.execute(delete(distributions).where(of_project(project, version, filename)))


def of_project(project: str, version: str | None, filename: str | None) -> ColumnElement[bool]:
    """The condition for the files of a project; ``None`` stands for every version or filename."""
    return and_(
        distributions.c.project == project,
        distributions.c.version == version if version is not None else true(),
        distributions.c.filename == filename if filename is not None else true(),
    )


def retire_filename(connection: Connection, filename: str, *, sha256: str, retired_at: str) -> None:
    """Write that a filename is never used again; a filename that is retired already stays as it is."""
    values = {"filename": filename, "sha256": sha256, "retired_at": retired_at}
    insert_missing(connection, retired_filenames, values)


def digests_retired_since(connection: Connection, moment: str) -> set[str]:
    """The digests of the files that were deleted after a moment."""
    return set(
        connection.scalars(select(retired_filenames.c.sha256).where(retired_filenames.c.retired_at > moment))
    )


def deleted_at(connection: Connection, filename: str, sha256: str) -> str | None:
    """When the file of that name and digest was deleted from the store; ``None`` if it was not."""
    found: str | None = connection.scalar(
        select(retired_filenames.c.retired_at).where(
            retired_filenames.c.filename == filename, retired_filenames.c.sha256 == sha256
        )
    )
    return found


@dataclass(frozen=True)
class PlacedFile:
    """A distribution in an index."""

    index: str
    distribution_id: int
    project: str
    version: str
    filename: str
    packagetype: str
    sha256: str
    size_bytes: int
    requires_python: str | None
    uploaded_at: str
    uploaded_by: str
    is_yanked: bool
    yank_reason: str | None


def id_of_distribution(
    filename: str | BindParameter[str], sha256: str | BindParameter[str]
) -> ScalarSelect[int]:
    """The id of the distribution of that name and digest, for use in another statement."""
    is_it = (distributions.c.filename == filename) & (distributions.c.sha256 == sha256)
    return select(distributions.c.id).where(is_it).scalar_subquery()


_INSERT_PLACEMENT = Statement(
    insert(placements).values(distribution_id=id_of_distribution(bindparam("its_name"), bindparam("sha256")))
)
_OF_FILENAME = Statement(
    select(placements.c.index_name, distributions.c.sha256)
    .join_from(distributions, placements, placements.c.distribution_id == distributions.c.id)
    .where(distributions.c.filename == bindparam("filename"), placements.c.project == bindparam("project"))
)


def insert_placement(
    connection: Connection,
    *,
    index: str,
    project: str,
    filename: str,
    sha256: str,
    added_serial: int,
) -> None:
    """Put the distribution of that name and digest into an index, which must not have that name yet."""
    _INSERT_PLACEMENT.run(
        connection,
        {
            "index_name": index,
            "project": project,
            "filename": filename,
            "its_name": filename,
            "sha256": sha256,
            "added_serial": added_serial,
            "is_yanked": False,
        },
    )


def placements_of_release(connection: Connection, project: str, version: str) -> list[PlacedFile]:
    """Every placement of a release's distributions, by filename, then index."""
    rows = connection.execute(
        select(*_PLACED)
        .join_from(distributions, placements, placements.c.distribution_id == distributions.c.id)
        .where(distributions.c.project == project, distributions.c.version == version)
        .order_by(placements.c.filename, placements.c.index_name)
    )
    return [PlacedFile(**row._mapping) for row in rows]


def placements_of_filename(
    connection: Connection, project: str, filename: str, *, indexes: Collection[str]
) -> dict[str, str]:
    """Index name → SHA-256 of the file of that name in each of ``indexes`` that has one."""
    rows = _OF_FILENAME.all(connection, {"project": project, "filename": filename})
    return {index_name: sha256 for index_name, sha256 in rows if index_name in indexes}


def releases_of_project(connection: Connection, project: str) -> list[tuple[str, str, int]]:
    """(version, index, number of files) of every release of a project in every index it is in."""
    rows = connection.execute(
        select(distributions.c.version, placements.c.index_name, func.count().label("files"))
        .join_from(placements, distributions, placements.c.distribution_id == distributions.c.id)
        .where(placements.c.project == project)
        .group_by(distributions.c.version, placements.c.index_name)
        .order_by(distributions.c.version, placements.c.index_name)
    )
    return [(row.version, row.index_name, row.files) for row in rows]


def all_releases(
    connection: Connection, index: str | None = None, *, with_yanked: bool = True
) -> list[tuple[str, str, str]]:
    """(project, version, index) of every release in every index it is in, or in one.

    ``with_yanked`` ``False``: only those of which a file is not yanked.
    """
    rows = connection.execute(
        select(placements.c.project, distributions.c.version, placements.c.index_name)
        .join_from(placements, distributions, placements.c.distribution_id == distributions.c.id)
        .where(
            placements.c.index_name == index if index is not None else true(),
            true() if with_yanked else placements.c.is_yanked.is_(False),
        )
        .distinct()
        .order_by(placements.c.project, distributions.c.version, placements.c.index_name)
    )
    return [(row.project, row.version, row.index_name) for row in rows]


def newest_metadata(
    connection: Connection, index: str, releases: Collection[tuple[str, str]]
) -> dict[tuple[str, str], bytes]:
    """(project, version) → core metadata of a file of that release in an index, where the row has it."""
    found = {}
    asked = sorted(releases)
    for start in range(0, len(asked), _MOST_PAIRS):
        rows = connection.execute(
            select(distributions.c.project, distributions.c.version, distributions.c.metadata)
            .join_from(placements, distributions, placements.c.distribution_id == distributions.c.id)
            .where(
                placements.c.index_name == index,
                tuple_(distributions.c.project, distributions.c.version).in_(
                    asked[start : start + _MOST_PAIRS]
                ),
                distributions.c.metadata.is_not(None),
            )
            .order_by(
                distributions.c.packagetype.desc()
            )  # wheels last: their requirements are the final ones
        )
        found.update({(row.project, row.version): row.metadata for row in rows})
    return found


def move_placement(
    connection: Connection, *, source: str, target: str, project: str, filename: str, added_serial: int
) -> bool:
    """Move one file from an index to another; returns false if it is not (or no longer) in the source."""
    moved = connection.execute(
        update(placements)
        .where(_is(source, project, filename))
        .values(index_name=target, added_serial=added_serial)
    )
    return moved.rowcount == 1


def set_yanked(
    connection: Connection,
    *,
    index: str,
    project: str,
    filenames: Collection[str],
    is_yanked: bool,
    reason: str | None,
) -> None:
    """Write whether files in an index are yanked, and why."""
    connection.execute(
        update(placements)
        .where(
            placements.c.index_name == index,
            placements.c.project == project,
            placements.c.filename.in_(sorted(filenames)),
        )
        .values(is_yanked=is_yanked, yank_reason=reason)
    )


def delete_placements_of(
    connection: Connection, project: str, version: str | None, filename: str | None
) -> None:
    """Remove files of a project from every index; ``None`` stands for every version or filename."""
    gone = select(distributions.c.id).where(of_project(project, version, filename))
    connection.execute(delete(placements).where(placements.c.distribution_id.in_(gone)))


def delete_placement(connection: Connection, *, index: str, project: str, filename: str) -> None:
    """Remove one file from an index."""
    connection.execute(delete(placements).where(_is(index, project, filename)))


def _is(index: str, project: str, filename: str) -> ColumnElement[bool]:
    return and_(
        placements.c.index_name == index, placements.c.project == project, placements.c.filename == filename
    )


_PLACED = (
    placements.c.index_name.label("index"),
    placements.c.distribution_id,
    distributions.c.project,
    distributions.c.version,
    distributions.c.filename,
    distributions.c.packagetype,
    distributions.c.sha256,
    distributions.c.size_bytes,
    distributions.c.requires_python,
    distributions.c.uploaded_at,
    distributions.c.uploaded_by,
    placements.c.is_yanked,
    placements.c.yank_reason,
)
