"""Rows that several writers may want to make at once, of any table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row, Table


def insert_missing(connection: Connection, table: Table, values: Mapping[str, Any]) -> Row[Any] | None:
    """Write a row unless one with its key is there, and return its primary key; ``None`` when one is there.

    Another transaction that is writing the same row is waited for.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    # Not by rowcount: with PostgreSQL it is -1 for an insert.
    return connection.execute(statement.returning(*table.primary_key)).first()
