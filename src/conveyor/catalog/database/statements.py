"""Statements of hot paths: built with SQLAlchemy, compiled once per database, executed by the driver alone.

SQLAlchemy takes 20 to 60 microseconds around each execution, the driver 3; an upload executes some twelve
statements, eight of them while others wait for its write transaction. The price: rows are plain tuples, and
their values are the driver's own (SQLite has no booleans, but 0 and 1).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from conveyor.domain.words.records import Record, as_json, shape_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from psycopg import Connection as PostgresConnection
    from sqlalchemy import ClauseElement, ColumnElement, Connection, Table
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

Values = dict[str, Any]
R = TypeVar("R", bound=Record)


def is_among(column: ColumnElement[str], name: str, count: int) -> ColumnElement[bool]:
    """The condition that a column holds one of ``count`` values; ``numbered`` makes its parameters."""
    return column.in_([bindparam(f"{name}{number}") for number in range(count)])


def numbered(name: str, values: Sequence[str], count: int | None = None) -> dict[str, str]:
    """Parameters ``name0``, ``name1`` …: the values, with the last one repeated up to ``count``.

    Raises:
        ValueError: there are no values, or more than ``count``: values are never dropped silently.
    """
    if not 0 < len(values) <= (count or len(values)):
        raise ValueError(f"{len(values)} values for {count} parameters {name}0 …")
    last = len(values) - 1
    return {f"{name}{number}": values[min(number, last)] for number in range(count or len(values))}


class Statement:
    """One statement with named parameters; an ``insert`` writes only the columns for which it gets values."""

    def __init__(self, built: ClauseElement) -> None:
        """``built`` must not have parameters that expand to lists: their text depends on the values."""
        self._built = built
        self._compiled: dict[tuple[str, ...], _Compiled] = {}

    def run(self, connection: Connection, values: Values | None = None) -> None:
        """Execute a statement that returns no rows. Raises SQLAlchemyError."""
        self._execute(connection, values or {}, has_rows=False)

    def all(self, connection: Connection, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Every row. Raises SQLAlchemyError."""
        return self._execute(connection, values or {}, has_rows=True)

    def first(self, connection: Connection, values: Values | None = None) -> tuple[Any, ...] | None:
        """The first row; ``None`` if there are no rows. Raises SQLAlchemyError."""
        rows = self.all(connection, values)
        return rows[0] if rows else None

    def scalar(self, connection: Connection, values: Values | None = None) -> Any:  # noqa: ANN401 - a column's
        """The first value of the first row; ``None`` if there are no rows. Raises SQLAlchemyError."""
        row = self.first(connection, values)
        return None if row is None else row[0]

    def _execute(self, connection: Connection, values: Values, *, has_rows: bool) -> list[tuple[Any, ...]]:
        dialect = connection.dialect
        key = (dialect.name, *values)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _Compiled(self._built, dialect, list(values))
        arguments = compiled.arguments(values)
        pooled = connection.connection
        cursor = pooled.cursor()
        try:
            cursor.execute(compiled.text, arguments)
            return list(cursor.fetchall()) if has_rows else []
        except dialect.loaded_dbapi.Error as error:
            raise _wrapped(connection, error, compiled.text, arguments) from error
        finally:
            cursor.close()


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Send the statements inside to PostgreSQL one after the other, without a round trip for each.

    A statement that returns rows waits for them, and for the answers to all statements before it. An error of
    a statement without rows is raised by one that follows, or on leaving. Only for ``Statement``; SQLite
    runs in this process and has nothing to wait for. Raises SQLAlchemyError.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    try:
        with cast("PostgresConnection", connection.connection.driver_connection).pipeline():
            yield
    except connection.dialect.loaded_dbapi.Error as error:
        raise _wrapped(connection, error, "several statements", {}) from error


def _wrapped(
    connection: Connection, error: Exception, statement: str, arguments: Values | list[object]
) -> DBAPIError:
    """An error of the driver, wrapped as SQLAlchemy does; a broken connection is not used again."""
    dialect = connection.dialect
    is_gone = dialect.is_disconnect(error, connection.connection, None)  # type: ignore[arg-type]  # the driver's
    if is_gone:
        connection.invalidate(error)
    found = DBAPIError.instance(
        statement,
        arguments,
        error,
        dialect.loaded_dbapi.Error,
        connection_invalidated=is_gone,
        dialect=dialect,
    )
    return cast("DBAPIError", found)


class _Compiled:
    """The text of a statement for one database, and the order of its parameters."""

    def __init__(self, built: ClauseElement, dialect: Dialect, columns: list[str]) -> None:
        compiled = cast("SQLCompiler", built.compile(dialect=dialect, column_keys=columns))
        self.text = str(compiled)
        self._constants = dict(compiled.params)
        self._order = compiled.positiontup

    def arguments(self, values: Values) -> Values | list[object]:
        named = self._constants | values
        return named if self._order is None else [named[name] for name in self._order]


def insert_missing(connection: Connection, table: Table, values: dict[str, Any]) -> tuple[Any, ...] | None:
    """Write a row unless one with its key exists, and return its primary key; ``None`` if one exists.

    Waits for another transaction that is writing the same row.
    """
    # Not by rowcount: with PostgreSQL it is -1 for an insert.
    return _inserting(table, connection.dialect.name).first(connection, values)


@cache
def _inserting(table: Table, dialect_name: str) -> Statement:
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    return Statement(dialect.insert(table).on_conflict_do_nothing().returning(*table.primary_key))


def columns_of(
    record: type[Record], table: Table, *, without: Collection[str] = (), **named: str
) -> list[ColumnElement[Any]]:
    """The columns that hold a record's fields, each under its field's name; ``named``: field → column.

    ``without``: fields that rows of other tables hold.
    """
    shape = [one for one in shape_of(record) if one.name not in without]
    return [table.c[named.get(one.name, one.name)].label(one.name) for one in shape]


def values_of(
    record: Record, *, without: Collection[str] = (), with_nulls: bool = False, **named: str
) -> Values:
    """A record as values of columns, lists and objects in it as JSON; ``named``: field → column.

    What is null is left out unless ``with_nulls``; ``without``: fields that rows of other tables hold.
    """
    values = {}
    for one in shape_of(type(record)):
        value = getattr(record, one.name)
        if one.name not in without and (with_nulls or value is not None):
            is_json = one.is_compound and value is not None
            text = json.dumps(as_json(value), sort_keys=True) if is_json else value
            values[named.get(one.name, one.name)] = text
    return values


def record_of(record: type[R], row: Sequence[Any], **known: object) -> R:
    """The record in a row of its columns, which ``columns_of`` gave without the fields that are ``known``."""
    fields = dict(known)
    shape = [one for one in shape_of(record) if one.name not in known]
    for one, held in zip(shape, row, strict=True):
        value = json.loads(held) if one.is_compound and held is not None else held
        if value is not None:
            value = tuple(value) if one.is_list else bool(value) if one.is_flag else value
        fields[one.name] = value
    return record(**fields)
