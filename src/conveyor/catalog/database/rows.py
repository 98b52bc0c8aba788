"""Rows that several writers may want to make at once, of any table."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

from conveyor.catalog.database.statements import Statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table


def insert_missing(connection: Connection, table: Table, values: dict[str, Any]) -> tuple[Any, ...] | None:
    """Write a row unless one with its key is there, and return its primary key; ``None`` when one is there.

    Another transaction that is writing the same row is waited for.
    """
    # Not by rowcount: with PostgreSQL it is -1 for an insert.
    return _inserting(table, connection.dialect.name).first(connection, values)


@cache
def _inserting(table: Table, dialect_name: str) -> Statement:
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    return Statement(dialect.insert(table).on_conflict_do_nothing().returning(*table.primary_key))
