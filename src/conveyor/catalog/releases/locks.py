"""Rows of locks and of the mirrored files that they pin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from conveyor.catalog.database.judging_tables import locks, pinned_files
from conveyor.catalog.database.statements import insert_missing

if TYPE_CHECKING:
    from sqlalchemy import Connection

_pins = pinned_files.c


@dataclass(frozen=True)
class Pin:
    """A file of a mirror that the lock of a release names."""

    project: str
    """Of the release."""
    version: str
    sha256: str
    filename: str
    index_name: str
    """The mirror it is from."""
    file_project: str
    """The project whose file it is."""
    size_bytes: int
    missed_at: str | None = None
    """When it was first served after upstream had removed it."""


def insert_lock(
    connection: Connection,
    project: str,
    version: str,
    *,
    sha256: str,
    content: bytes,
    received_at: str,
    received_from: str,
) -> bool:
    """Write a lock unless it is there; returns whether it is new."""
    values = {
        "project": project,
        "version": version,
        "sha256": sha256,
        "content": content,
        "received_at": received_at,
        "received_from": received_from,
    }
    return insert_missing(connection, locks, values) is not None


def lock_digests(connection: Connection, project: str, version: str) -> set[str]:
    """The digests of all locks of a release."""
    found = select(locks.c.sha256).where(locks.c.project == project, locks.c.version == version)
    return set(connection.scalars(found))


def lock_content(connection: Connection, project: str, version: str, sha256: str) -> bytes | None:
    """A lock of a release, byte by byte; ``None`` if it has no such lock."""
    found: bytes | None = connection.scalar(
        select(locks.c.content).where(
            locks.c.project == project, locks.c.version == version, locks.c.sha256 == sha256
        )
    )
    return found


def insert_pin(connection: Connection, pin: Pin) -> bool:
    """Write a pinned file unless it is there; returns whether it is new."""
    return insert_missing(connection, pinned_files, vars(pin)) is not None


def pins_of_file(connection: Connection, sha256: str, filename: str) -> list[Pin]:
    """The releases whose locks pin a file, by project and version."""
    rows = connection.execute(
        select(*_pins)
        .where(_pins.sha256 == sha256, _pins.filename == filename)
        .order_by(_pins.project, _pins.version)
    )
    return [Pin(**row._mapping) for row in rows]


def note_missed(connection: Connection, sha256: str, filename: str, *, at: str) -> bool:
    """Write that upstream no longer has a pinned file; returns whether that is news."""
    changed = connection.execute(
        update(pinned_files)
        .where(_pins.sha256 == sha256, _pins.filename == filename, _pins.missed_at.is_(None))
        .values(missed_at=at)
    )
    return changed.rowcount > 0
