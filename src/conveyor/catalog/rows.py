"""Rows that several writers may want to make at once, of any table."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row, Table
    from sqlalchemy.sql.dml import ReturningInsert


def insert_missing(connection: Connection, table: Table, values: Mapping[str, Any]) -> Row[Any] | None:
    """Write a row unless one with its key is there, and return its primary key; ``None`` when one is there.

    Another transaction that is writing the same row is waited for.
    """
    # Not by rowcount: with PostgreSQL it is -1 for an insert.
    return connection.execute(_inserting(table, connection.dialect.name), values).first()


@cache
def _inserting(table: Table, dialect_name: str) -> ReturningInsert[Any]:
    """Built once: that takes longer than SQLite needs to execute it."""
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    statement: ReturningInsert[Any] = (
        dialect.insert(table).on_conflict_do_nothing().returning(*table.primary_key)
    )
    return statement
