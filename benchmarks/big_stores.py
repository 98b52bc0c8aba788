"""A store of a hundred thousand projects and a million files, as a large house has after ten years.

It is written as rows, because uploading it would take a day. Its files have no bytes; pages do not need them.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from conveyor.catalog.database.connection import is_sqlite, writing
from conveyor.catalog.database.tables import (
    claims,
    distributions,
    events,
    placements,
    projects,
    releases,
    serial,
)
from conveyor.domain.words.notation import utc_text
from conveyor.operations.care.opening import close_store, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table

    from conveyor.settings import StoreSettings

INDEX = "unstable"
SMALL_PROJECTS, SMALL_RELEASES = 100_000, 10
MIDDLE_PROJECTS, MIDDLE_RELEASES = 20, 50
LARGE_PROJECTS, LARGE_RELEASES = 5, 2_000
AT_ONCE = 2_000
"""Number of projects that one statement per table writes."""

_METADATA = "\n".join(
    [
        "Metadata-Version: 2.1",
        "Summary: A synthetic package with a summary of the usual length, written to measure stores with",
        *(f"Requires-Dist: dependency-{number}>=1.{number}" for number in range(12)),
    ]
).encode()


def small_name(number: int) -> str:
    """The name of a project of ``SMALL_RELEASES``."""
    return f"small-{number:06d}"


def middle_name(number: int) -> str:
    """The name of a project of ``MIDDLE_RELEASES``."""
    return f"middle-{number:02d}"


def large_name(number: int) -> str:
    """The name of a project of ``LARGE_RELEASES``."""
    return f"large-{number}"


@dataclass(frozen=True, slots=True)
class _File:
    """One wheel of the store, the only file of its release."""

    id: int
    """Also the serial of its upload."""
    project: str
    version: str
    filename: str
    sha256: str


def fill(settings: StoreSettings, *, small_projects: int = SMALL_PROJECTS) -> int:
    """Write the rows into an initialised, empty store; returns the number of its files."""
    store = open_store(settings)
    try:
        with writing(store.catalog) as connection:
            return _write(connection, utc_text(store.clock()), small_projects)
    finally:
        store.newest.repair()
        close_store(store)


def _write(connection: Connection, at: str, small_projects: int) -> int:
    if is_sqlite(connection.engine):
        connection.exec_driver_sql("PRAGMA cache_size=-500000")
    names = itertools.chain(
        ((large_name(number), LARGE_RELEASES) for number in range(LARGE_PROJECTS)),
        ((middle_name(number), MIDDLE_RELEASES) for number in range(MIDDLE_PROJECTS)),
        ((small_name(number), SMALL_RELEASES) for number in range(small_projects)),
    )
    first = int(connection.execute(select(serial.c.newest)).scalar_one()) + 1
    ids = itertools.count(first)
    while batch := list(itertools.islice(names, AT_ONCE)):
        files = [_file(next(ids), name, number) for name, count in batch for number in range(count)]
        _write_projects(connection, at, [name for name, _ in batch])
        _write_files(connection, at, files)
    count = next(ids) - first
    connection.execute(update(serial).values(newest=first + count - 1))
    return count


def _file(number: int, project: str, release: int) -> _File:
    version = f"{release // 10}.{release % 10}.0"
    filename = f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
    return _File(number, project, version, filename, hashlib.sha256(filename.encode()).hexdigest())


def _write_projects(connection: Connection, at: str, names: Sequence[str]) -> None:
    columns = ("name", "display_name", "created_at", "stored_bytes")
    _insert(connection, projects, columns, [(name, name, at, 0) for name in names])
    columns = ("name", "is_prefix", "claimed_by", "claimed_at")
    _insert(connection, claims, columns, [(name, False, "bench", at) for name in names])


def _write_files(connection: Connection, at: str, files: Sequence[_File]) -> None:
    _insert(
        connection,
        releases,
        ("project", "version", "created_at"),
        [(file.project, file.version, at) for file in files],
    )
    described = {
        "id": [file.id for file in files],
        "filename": [file.filename for file in files],
        "project": [file.project for file in files],
        "version": [file.version for file in files],
        "packagetype": itertools.repeat("bdist_wheel"),
        "sha256": [file.sha256 for file in files],
        "blake2b_256": [file.sha256 for file in files],
        "size_bytes": itertools.repeat(20_000),
        "requires_python": itertools.repeat(">=3.8"),
        "metadata_sha256": itertools.repeat(hashlib.sha256(_METADATA).hexdigest()),
        "metadata": itertools.repeat(_METADATA),
        "uploaded_at": itertools.repeat(at),
        "uploaded_by": itertools.repeat("bench"),
        "is_metadata_static": itertools.repeat(True),
    }
    rows = list(zip(*described.values(), strict=False))  # the lists end the endless iterators
    _insert(connection, distributions, tuple(described), rows)
    _insert(
        connection,
        placements,
        ("index_name", "project", "filename", "distribution_id", "added_serial", "is_yanked"),
        [(INDEX, file.project, file.filename, file.id, file.id, False) for file in files],
    )
    _insert(
        connection,
        events,
        ("serial", "at", "actor", "action", "index_name", "project", "version", "detail"),
        [(file.id, at, "bench", "upload", INDEX, file.project, file.version, "{}") for file in files],
    )


def _insert(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Pass rows to the driver as they are: for millions of rows, a statement built for each takes longer."""
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(columns))
    statement = f"insert into {table.name} ({', '.join(columns)}) values ({marks})"  # noqa: S608 - names of ours
    connection.exec_driver_sql(statement, list(rows))
