"""Rows of releases: that a version of a project exists, and whether it is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, select, update

from conveyor.catalog.database.rows import insert_missing
from conveyor.catalog.database.statements import Statement, is_among, numbered
from conveyor.catalog.database.tables import distributions, releases
from conveyor.domain.words.names import MOST_RELEASE_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


@dataclass(frozen=True)
class ReleaseRow:
    """One release."""

    project: str
    version: str
    created_at: str
    closed_at: str | None
    """First promotion; ``None``: files may still be added."""


_FIND = Statement(
    select(releases).where(
        releases.c.project == bindparam("project"), releases.c.version == bindparam("version")
    )
)
MOST_VERSIONS = MOST_RELEASE_NUMBERS + 1
"""As many as there are spellings of one, and a version that is none of these for its many zeros."""
_AMONG = Statement(
    select(releases)
    .where(
        releases.c.project == bindparam("project"),
        is_among(releases.c.version, "version", MOST_VERSIONS),
    )
    .order_by(releases.c.version)
)


def find_release(connection: Connection, project: str, version: str) -> ReleaseRow | None:
    """One release; ``None`` when nothing of it was ever uploaded."""
    row = _FIND.first(connection, {"project": project, "version": version})
    return None if row is None else ReleaseRow(*row)


def insert_release(connection: Connection, project: str, version: str, *, created_at: str) -> bool:
    """Write a release unless it is there; whether it is new."""
    values = {"project": project, "version": version, "created_at": created_at}
    return insert_missing(connection, releases, values) is not None


def releases_among(connection: Connection, project: str, versions: Sequence[str]) -> list[ReleaseRow]:
    """Those releases of a project that have one of these versions, by version.

    Raises:
        ValueError: there are none, or more than ``MOST_VERSIONS``.
    """
    values = {"project": project, **numbered("version", versions, MOST_VERSIONS)}
    return [ReleaseRow(*row) for row in _AMONG.all(connection, values)]


def delete_empty_releases(connection: Connection, project: str) -> None:
    """Remove the releases of a project that have no files; those that were closed stay, and stay closed."""
    has_files = exists().where(
        distributions.c.project == releases.c.project, distributions.c.version == releases.c.version
    )
    connection.execute(
        delete(releases).where(releases.c.project == project, releases.c.closed_at.is_(None), ~has_files)
    )


def close_release(connection: Connection, project: str, version: str, *, closed_at: str) -> None:
    """Write that a release takes no more files; one that is closed keeps its time."""
    connection.execute(
        update(releases)
        .where(releases.c.project == project, releases.c.version == version, releases.c.closed_at.is_(None))
        .values(closed_at=closed_at)
    )
