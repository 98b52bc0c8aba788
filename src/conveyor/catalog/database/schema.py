"""The schema of the catalogue: made at once in an empty database, migrated step by step in an older one.

The number of the schema is the fact ``schema``. A new database gets the tables of ``tables.py`` and the
newest number; a database with a lower number runs the migrations after it, one transaction for all. Alembic
is imported only then: it costs a tenth of a second that no ordinary start should pay.

Facts are properties of the whole store: its id, its schema number, its upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import insert, select, text, update

from conveyor.catalog.database import judging_tables as _judging_tables  # noqa: F401 - so that there are all
from conveyor.catalog.database.connection import is_sqlite, reading, writing
from conveyor.catalog.database.tables import SCHEMA_VERSION, facts, metadata, serial
from conveyor.errors import Conflict

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_ADVISORY_LOCK = 0x636F6E76
"""PostgreSQL: one process at a time makes or migrates tables ("conv" as a number)."""


def prepare_schema(engine: Engine) -> None:
    """Make sure the catalogue has the schema this program knows; safe in several processes at once.

    Raises:
        Conflict: the catalogue was made by a newer conveyor.
    """
    if _schema_number(engine) == SCHEMA_VERSION:
        return
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        found = _number_inside(connection)
        if found is None:
            create_schema(connection)
        elif found < SCHEMA_VERSION:
            from conveyor.catalog.migrations import migrate

            migrate(connection, since=found)
            write_fact(connection, "schema", str(SCHEMA_VERSION))


def create_schema(connection: Connection) -> None:
    """Make every table in an empty database, the one row of ``serial`` and the schema's number."""
    metadata.create_all(connection)
    connection.execute(insert(serial).values(id=1, newest=0))
    write_fact(connection, "schema", str(SCHEMA_VERSION))


def _schema_number(engine: Engine) -> int | None:
    with reading(engine) as connection:
        return _number_inside(connection)


def _number_inside(connection: Connection) -> int | None:
    if not sqlalchemy.inspect(connection).has_table("facts"):
        return None
    found = int(read_fact(connection, "schema") or 0)
    if found > SCHEMA_VERSION:
        raise Conflict(
            f"the catalogue has schema {found}, newer than the {SCHEMA_VERSION} that this conveyor knows",
            hint="upgrade conveyor, or restore a backup that was made before the upgrade",
        )
    return found


def read_fact(connection: Connection, key: str) -> str | None:
    """The value of one fact; ``None`` if it was never written."""
    value: str | None = connection.scalar(select(facts.c.value).where(facts.c.key == key))
    return value


def lock_facts(connection: Connection) -> None:
    """Let no other transaction write facts until this one ends, so that a missing fact is written once."""
    if connection.dialect.name == "postgresql":  # SQLite runs one write transaction at a time anyway
        connection.execute(text("lock table facts in share row exclusive mode"))


def write_fact(connection: Connection, key: str, value: str) -> None:
    """Write one fact, new or changed."""
    changed = connection.execute(update(facts).where(facts.c.key == key).values(value=value))
    if changed.rowcount == 0:
        connection.execute(insert(facts).values(key=key, value=value))
