"""Rows of projects, and rows that several writers may want to make at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from conveyor.catalog.tables import distributions, projects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Table


def insert_missing(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Write a row unless one with its key is there; whether this call wrote it.

    Another transaction that is writing the same row is waited for.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    # Not by rowcount: with PostgreSQL it is -1 for an insert.
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def insert_project(connection: Connection, name: str, *, display_name: str, created_at: str) -> bool:
    """Write a project unless it is there; whether it is new."""
    return insert_missing(
        connection, projects, {"name": name, "display_name": display_name, "created_at": created_at}
    )


def lock_project(connection: Connection, name: str) -> None:
    """Let no other transaction that locks it change this project until this one ends.

    PostgreSQL holds the row; SQLite's write transactions are alone anyway.
    """
    connection.execute(select(projects.c.name).where(projects.c.name == name).with_for_update())


def project_size(connection: Connection, name: str) -> int:
    """Bytes of all files that were uploaded for a project."""
    total = select(func.sum(distributions.c.size_bytes)).where(distributions.c.project == name)
    return int(connection.scalar(total) or 0)
