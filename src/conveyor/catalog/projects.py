"""Rows of projects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select, update

from conveyor.catalog.rows import insert_missing
from conveyor.catalog.tables import claims, distributions, projects
from conveyor.domain.policy import ProjectSize
from conveyor.domain.project_status import status_columns

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.domain.project_status import ProjectStatus


@dataclass(frozen=True)
class ProjectRow:
    """A project that something was uploaded for."""

    name: str
    display_name: str
    claimed_by: str | None


def insert_project(connection: Connection, name: str, *, display_name: str, created_at: str) -> bool:
    """Write a project unless it is there; whether it is new."""
    values = {"name": name, "display_name": display_name, "created_at": created_at}
    return insert_missing(connection, projects, values) is not None


_LOCK = select(projects.c.name).where(projects.c.name == bindparam("project")).with_for_update()
_SIZE = select(projects.c.stored_bytes, projects.c.size_limit_bytes).where(
    projects.c.name == bindparam("project")
)
_ADD_STORED_BYTES = (
    update(projects)
    .where(projects.c.name == bindparam("project"))
    .values(stored_bytes=projects.c.stored_bytes + bindparam("size_bytes"))
)


def lock_project(connection: Connection, name: str) -> None:
    """Let no other transaction that locks it change this project until this one ends.

    PostgreSQL holds the row; SQLite's write transactions are alone anyway.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK, {"project": name})


def project_size(connection: Connection, name: str) -> ProjectSize:
    """How large a project is and may become; its bytes are counted as files come and go."""
    row = connection.execute(_SIZE, {"project": name}).first()
    return ProjectSize(0, None) if row is None else ProjectSize(*row)


def add_stored_bytes(connection: Connection, name: str, size_bytes: int) -> None:
    """Count bytes to a project's stored ones; a negative number takes some away."""
    connection.execute(_ADD_STORED_BYTES, {"project": name, "size_bytes": size_bytes})


def recount_stored_bytes(connection: Connection, name: str) -> None:
    """Write anew how many bytes a project's distributions have together."""
    files = select(func.coalesce(func.sum(distributions.c.size_bytes), 0)).where(
        distributions.c.project == name
    )
    connection.execute(
        update(projects).where(projects.c.name == name).values(stored_bytes=files.scalar_subquery())
    )


def set_status(connection: Connection, name: str, status: ProjectStatus) -> None:
    """Write the status of a project."""
    connection.execute(update(projects).where(projects.c.name == name).values(**status_columns(status)))


def set_size_limit(connection: Connection, name: str, limit_bytes: int | None) -> None:
    """Write a project's own limit; ``None``: that of the store holds."""
    connection.execute(update(projects).where(projects.c.name == name).values(size_limit_bytes=limit_bytes))


def find_project(connection: Connection, name: str) -> ProjectRow | None:
    """One project and who claimed its name; ``None`` when nothing was ever uploaded for it."""
    row = connection.execute(
        select(projects.c.name, projects.c.display_name, claims.c.claimed_by)
        .join_from(projects, claims, (claims.c.name == projects.c.name) & ~claims.c.is_prefix, isouter=True)
        .where(projects.c.name == name)
    ).first()
    return None if row is None else ProjectRow(**row._mapping)
