"""Rows of projects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from conveyor.catalog.database.rows import insert_missing
from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import claims, projects

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class ProjectRow:
    """A project that something was uploaded for, or that an administrator gave a status or a limit."""

    name: str
    display_name: str
    claimed_by: str | None


def insert_project(connection: Connection, name: str, *, display_name: str, created_at: str) -> bool:
    """Write a project unless it is there; whether it is new.

    ``display_name`` holds until the first file says how the name is spelled (``project_sizes.count_file``).
    """
    values = {"name": name, "display_name": display_name, "created_at": created_at}
    return insert_missing(connection, projects, values) is not None


_LOCK = Statement(select(projects.c.name).where(projects.c.name == bindparam("project")).with_for_update())


def lock_project(connection: Connection, name: str) -> None:
    """Let no other transaction that locks it change this project until this one ends.

    PostgreSQL holds the row; SQLite's write transactions are alone anyway.
    """
    if connection.dialect.name != "sqlite":
        _LOCK.first(connection, {"project": name})


def find_project(connection: Connection, name: str) -> ProjectRow | None:
    """One project and who claimed its name; ``None`` when this store has nothing of its own about it."""
    row = connection.execute(
        select(projects.c.name, projects.c.display_name, claims.c.claimed_by)
        .join_from(projects, claims, (claims.c.name == projects.c.name) & ~claims.c.is_prefix, isouter=True)
        .where(projects.c.name == name)
    ).first()
    return None if row is None else ProjectRow(**row._mapping)
