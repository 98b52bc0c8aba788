"""Rows of releases: that a version of a project exists, and whether it is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from conveyor.catalog.projects import insert_missing
from conveyor.catalog.tables import claims, projects, releases

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


@dataclass(frozen=True)
class ReleaseRow:
    """One release."""

    project: str
    version: str
    created_at: str
    closed_at: str | None
    """First promotion; ``None``: files may still be added."""


def find_release(connection: Connection, project: str, version: str) -> ReleaseRow | None:
    """One release; ``None`` when nothing of it was ever uploaded."""
    row = connection.execute(
        select(releases).where(releases.c.project == project, releases.c.version == version)
    ).first()
    return None if row is None else ReleaseRow(**row._mapping)


def insert_release(connection: Connection, project: str, version: str, *, created_at: str) -> bool:
    """Write a release unless it is there; whether it is new."""
    return insert_missing(
        connection, releases, {"project": project, "version": version, "created_at": created_at}
    )


def versions_among(connection: Connection, project: str, versions: Collection[str]) -> list[str]:
    """Those of ``versions`` that the project has a release of."""
    found = select(releases.c.version).where(
        releases.c.project == project, releases.c.version.in_(sorted(versions))
    )
    return list(connection.scalars(found.order_by(releases.c.version)))


def close_release(connection: Connection, project: str, version: str, *, closed_at: str) -> None:
    """Write that a release takes no more files; one that is closed keeps its time."""
    connection.execute(
        update(releases)
        .where(releases.c.project == project, releases.c.version == version, releases.c.closed_at.is_(None))
        .values(closed_at=closed_at)
    )


@dataclass(frozen=True)
class ProjectRow:
    """A project that something was uploaded for."""

    name: str
    display_name: str
    claimed_by: str | None


def find_project(connection: Connection, name: str) -> ProjectRow | None:
    """One project and who claimed its name; ``None`` when nothing was ever uploaded for it."""
    row = connection.execute(
        select(projects.c.name, projects.c.display_name, claims.c.claimed_by)
        .join_from(projects, claims, (claims.c.name == projects.c.name) & ~claims.c.is_prefix, isouter=True)
        .where(projects.c.name == name)
    ).first()
    return None if row is None else ProjectRow(**row._mapping)
