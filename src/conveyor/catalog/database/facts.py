"""What is true of the whole store: its id, its schema number, its upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, text, update

from conveyor.catalog.database.tables import facts

if TYPE_CHECKING:
    from sqlalchemy import Connection


def read_fact(connection: Connection, key: str) -> str | None:
    """The value of one fact; ``None`` when it was never written."""
    value: str | None = connection.scalar(select(facts.c.value).where(facts.c.key == key))
    return value


def lock_facts(connection: Connection) -> None:
    """Let no other transaction write facts until this one ends; for "if it is not there, write it"."""
    if connection.dialect.name == "postgresql":  # SQLite's write transactions are alone anyway
        connection.execute(text("lock table facts in share row exclusive mode"))


def write_fact(connection: Connection, key: str, value: str) -> None:
    """Write one fact, new or changed."""
    changed = connection.execute(update(facts).where(facts.c.key == key).values(value=value))
    if changed.rowcount == 0:
        connection.execute(insert(facts).values(key=key, value=value))
