"""The status of projects (PEP 792), in the two columns that keep one.

What this store decided stands with its own rows of projects; what an upstream decided, with ``mirrored``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, update

from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import projects
from conveyor.domain.indexes.projects import ACTIVE, status_from

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.domain.indexes.projects import ProjectStatus


_STATUS = Statement(
    select(projects.c.status, projects.c.status_reason).where(projects.c.name == bindparam("project"))
)


def status_of(connection: Connection, project: str) -> ProjectStatus:
    """The status that this store gave a project; active when it never gave one."""
    row = _STATUS.first(connection, {"project": project})
    return ACTIVE if row is None else status_from(*row)


def status_columns(status: ProjectStatus) -> dict[str, str | None]:
    """The two columns of a status; of an active project both are empty."""
    if status.name == "active":
        return {"status": None, "status_reason": None}
    return {"status": status.name, "status_reason": status.reason}


def set_status(connection: Connection, name: str, status: ProjectStatus) -> None:
    """Write the status of a project."""
    connection.execute(update(projects).where(projects.c.name == name).values(**status_columns(status)))
