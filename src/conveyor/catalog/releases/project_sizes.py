"""Sizes of projects: bytes, counted as files come and go, and the limits that some have of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, case, func, select, update

from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import distributions, projects
from conveyor.domain.indexes.projects import ProjectSize

if TYPE_CHECKING:
    from sqlalchemy import Connection


_SIZE = Statement(
    select(projects.c.stored_bytes, projects.c.size_limit_bytes).where(
        projects.c.name == bindparam("project")
    )
)
_ADD_FILE = Statement(
    update(projects)
    .where(projects.c.name == bindparam("project"))
    .values(
        stored_bytes=projects.c.stored_bytes + bindparam("size_bytes"),
        # In the same statement, so that no upload pays one for what concerns the first: no file has 0 bytes.
        display_name=case(
            (projects.c.stored_bytes == 0, bindparam("display_name", type_=projects.c.display_name.type)),
            else_=projects.c.display_name,
        ),
    )
)
_TAKE_STORED_BYTES = Statement(
    update(projects)
    .where(projects.c.name == bindparam("project"))
    .values(stored_bytes=projects.c.stored_bytes - bindparam("size_bytes"))
)


def project_size(connection: Connection, name: str) -> ProjectSize:
    """How large a project is and may become; one that is not here has nothing."""
    row = _SIZE.first(connection, {"project": name})
    return ProjectSize(0, None) if row is None else ProjectSize(*row)


def count_file(connection: Connection, name: str, size_bytes: int, *, display_name: str) -> None:
    """Count a new file's bytes to a project's stored ones.

    The first file says how the project's name is spelled: an administrator who gave the project a limit or a
    status beforehand only typed it.
    """
    _ADD_FILE.run(connection, {"project": name, "size_bytes": size_bytes, "display_name": display_name})


def take_stored_bytes(connection: Connection, name: str, size_bytes: int) -> None:
    """Take the bytes of deleted files from a project's stored ones."""
    _TAKE_STORED_BYTES.run(connection, {"project": name, "size_bytes": size_bytes})


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
