"""A store of a hundred thousand projects and a million files: what a large house has after ten years.

It is written as rows, not uploaded: that would take a day. No file of it has bytes; pages need none.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from conveyor.catalog.connection import writing
from conveyor.catalog.tables import claims, distributions, events, placements, projects, releases, serial
from conveyor.domain.times import utc_text
from conveyor.operations.store import close_store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from conveyor.settings import StoreSettings

PROJECTS = 100_000
FILES_PER_PROJECT = 10
LARGE_PROJECT, LARGE_RELEASES = "many-versions", 2_000
MIDDLE_PROJECTS, MIDDLE_RELEASES = 20, 50
"""``middle-00`` and so on, each with so many releases."""
AT_ONCE = 2_000
"""Projects written by one statement."""

_SUMMARY = "A synthetic package with a summary of the usual length, written to measure stores with"
_REQUIRES = [f"dependency-{number}>=1.{number}" for number in range(12)]


def project_name(number: int) -> str:
    """The name of one of the small projects."""
    return f"project-{number:06d}"


def middle_name(number: int) -> str:
    """The name of one of the middle projects."""
    return f"middle-{number:02d}"


def fill(settings: StoreSettings, *, small_projects: int = PROJECTS) -> int:
    """Write the rows into an initialised, empty store; returns how many files it has then."""
    store = open_store(settings)
    try:
        with writing(store.catalog) as connection:
            return _write(connection, utc_text(store.clock()), small_projects)
    finally:
        store.newest.repair()
        close_store(store)


def _write(connection: Connection, at: str, small_projects: int) -> int:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA cache_size=-500000")
    names = itertools.chain(
        [(LARGE_PROJECT, LARGE_RELEASES)],
        ((middle_name(number), MIDDLE_RELEASES) for number in range(MIDDLE_PROJECTS)),
        ((project_name(number), FILES_PER_PROJECT) for number in range(small_projects)),
    )
    newest = int(connection.execute(select(serial.c.newest)).scalar_one())
    numbers = itertools.count(newest + 1)
    for batch in _batches(names):
        files = [_file(name, number, next(numbers), at) for name, count in batch for number in range(count)]
        connection.execute(
            insert(projects), [{"name": name, "display_name": name, "created_at": at} for name, _ in batch]
        )
        connection.execute(insert(claims), [_claim(name, at) for name, _ in batch])
        connection.execute(
            insert(releases), [_chosen(file, "project", "version", "created_at") for file in files]
        )
        connection.execute(insert(distributions), [_distribution(file, at) for file in files])
        connection.execute(insert(placements), [_placement(file) for file in files])
        connection.execute(insert(events), [_event(file, at) for file in files])
    last = next(numbers) - 1
    connection.execute(update(serial).values(newest=last))
    return last - newest


def _batches(names: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    while batch := list(itertools.islice(names, AT_ONCE)):
        yield batch


def _file(project: str, number: int, serial_number: int, at: str) -> dict[str, Any]:
    version = f"{number // 10}.{number % 10}.0"
    filename = f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
    return {
        "id": serial_number,
        "project": project,
        "version": version,
        "created_at": at,
        "filename": filename,
        "sha256": hashlib.sha256(filename.encode()).hexdigest(),
    }


def _chosen(file: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: file[name] for name in names}


def _claim(project: str, at: str) -> dict[str, Any]:
    return {"name": project, "is_prefix": False, "claimed_by": "bench", "claimed_at": at}


def _distribution(file: dict[str, Any], at: str) -> dict[str, Any]:
    metadata = {
        "metadata_version": "2.1",
        "name": file["project"],
        "version": file["version"],
        "summary": _SUMMARY,
        "requires_dist": _REQUIRES,
    }
    return {
        **_chosen(file, "id", "filename", "project", "version", "sha256"),
        "packagetype": "bdist_wheel",
        "blake2b_256": file["sha256"],
        "size_bytes": 18_000 + file["id"] % 5_000,
        "requires_python": ">=3.8",
        "metadata_sha256": file["sha256"][::-1],
        "core_metadata": json.dumps(metadata),
        "uploaded_at": at,
        "uploaded_by": "bench",
        "is_metadata_static": True,
    }


def _placement(file: dict[str, Any]) -> dict[str, Any]:
    return {
        "index_name": "unstable",
        **_chosen(file, "project", "filename"),
        "distribution_id": file["id"],
        "added_serial": file["id"],
        "is_yanked": False,
    }


def _event(file: dict[str, Any], at: str) -> dict[str, Any]:
    return {
        "serial": file["id"],
        "at": at,
        "actor": "bench",
        "action": "upload",
        "index_name": "unstable",
        "project": file["project"],
        "version": file["version"],
        "detail": json.dumps({"filename": file["filename"], "sha256": file["sha256"]}),
    }
