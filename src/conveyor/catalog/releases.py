"""Rows of releases: that a version of a project exists, and whether it is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from conveyor.catalog.tables import releases

if TYPE_CHECKING:
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


def close_release(connection: Connection, project: str, version: str, *, closed_at: str) -> None:
    """Write that a release takes no more files; one that is closed keeps its time."""
    connection.execute(
        update(releases)
        .where(releases.c.project == project, releases.c.version == version, releases.c.closed_at.is_(None))
        .values(closed_at=closed_at)
    )
