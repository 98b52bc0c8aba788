"""Sizes of projects: bytes, counted as files come and go, and the limits that some have of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select, update

from conveyor.catalog.statements import Statement
from conveyor.catalog.tables import distributions, projects
from conveyor.domain.project_sizes import ProjectSize

if TYPE_CHECKING:
    from sqlalchemy import Connection


_SIZE = Statement(
    select(projects.c.stored_bytes, projects.c.size_limit_bytes).where(
        projects.c.name == bindparam("project")
    )
)
_ADD_STORED_BYTES = Statement(
    update(projects)
    .where(projects.c.name == bindparam("project"))
    .values(stored_bytes=projects.c.stored_bytes + bindparam("size_bytes"))
)


def project_size(connection: Connection, name: str) -> ProjectSize:
    """How large a project is and may become; one that is not here has nothing."""
    row = _SIZE.first(connection, {"project": name})
    return ProjectSize(0, None) if row is None else ProjectSize(*row)


def add_stored_bytes(connection: Connection, name: str, size_bytes: int) -> None:
    """Count bytes to a project's stored ones; a negative number takes some away."""
    _ADD_STORED_BYTES.run(connection, {"project": name, "size_bytes": size_bytes})


def recount_stored_bytes(connection: Connection, name: str) -> None:
    """Write anew how many bytes a project's distributions have together."""
    files = select(func.coalesce(func.sum(distributions.c.size_bytes), 0)).where(
        distributions.c.project == name
    )
    connection.execute(
        update(projects).where(projects.c.name == name).values(stored_bytes=files.scalar_subquery())
    )


def set_size_limit(connection: Connection, name: str, limit_bytes: int | None) -> None:
    """Write a project's own limit; ``None``: that of the store holds."""
    connection.execute(update(projects).where(projects.c.name == name).values(size_limit_bytes=limit_bytes))
