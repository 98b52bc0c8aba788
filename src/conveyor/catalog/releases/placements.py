"""Rows of placements: which distribution is in which index. Promotion moves rows, never bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import distributions, placements
from conveyor.catalog.releases.distributions import of_project

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection


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


_INSERT = Statement(insert(placements))
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
    distribution_id: int,
    added_serial: int,
) -> None:
    """Put a distribution into an index; the database refuses a filename that is there already."""
    _INSERT.run(
        connection,
        {
            "index_name": index,
            "project": project,
            "filename": filename,
            "distribution_id": distribution_id,
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


def move_placement(
    connection: Connection, *, source: str, target: str, project: str, filename: str, added_serial: int
) -> bool:
    """Move one file from an index to another; false when it is not in the source (any more)."""
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
    """Write of files in an index whether they are yanked, and why."""
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
    """Take files of a project out of every index; ``None`` stands for every version or filename."""
    gone = select(distributions.c.id).where(of_project(project, version, filename))
    connection.execute(delete(placements).where(placements.c.distribution_id.in_(gone)))


def delete_placement(connection: Connection, *, index: str, project: str, filename: str) -> None:
    """Take one file out of an index."""
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
