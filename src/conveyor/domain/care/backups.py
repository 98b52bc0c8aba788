"""Descriptions of backups: the marker, and the lines of the list of blobs.

A backup is a folder. ``backup.json`` is its marker, written last: without it the folder is not a backup. It
names the two other files by their digests. ``catalog-….sqlite`` (on PostgreSQL ``catalog-….dump``) is the
catalogue at one moment, ``blobs-….txt`` has a line for each blob that the catalogue names, and ``blobs/``
holds them as a store does.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Literal

from conveyor.errors import Conflict, InvalidInput

MARKER = "backup.json"
FORMAT = 1
"""Raised when an older conveyor could not restore what a newer one writes."""

Database = Literal["sqlite", "postgresql"]
"""The kind of database of the catalogue; it can be restored only into the same kind."""

_LINE = re.compile(r"([0-9a-f]{64}) (\d+)\n")


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file of a backup."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup."""

    store: str
    """Id of the store."""
    serial: int
    """Serial of the newest change in it."""
    schema: int
    database: Database
    made_at: str
    made_by: str
    """Version of the conveyor that made it."""
    catalog: BackupFile
    listing: BackupFile
    """The list of blobs."""
    blobs: int
    size_bytes: int
    """Total size of all blobs."""
    missing: tuple[str, ...] = ()
    """Digests that rows name but whose bytes were already lost when the backup was made."""

    def to_json(self) -> str:
        """The text of the marker."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def parse_backup(text: str) -> Backup:
    """Read a marker.

    Raises:
        Conflict: a newer conveyor made the backup.
        InvalidInput: the text is not a marker, or is damaged.
    """
    try:
        values = json.loads(text)
        made_in = int(values.pop("format"))
        if made_in > FORMAT:
            raise Conflict(
                f"the backup has format {made_in}, newer than the {FORMAT} that this conveyor knows",
                hint="upgrade conveyor, then try again",
            )
        return Backup(
            catalog=BackupFile(**values.pop("catalog")),
            listing=BackupFile(**values.pop("listing")),
            missing=tuple(values.pop("missing")),
            **values,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(
            f"{MARKER} is damaged, or is not the marker of a backup: {error}",
            hint="use another folder: this one cannot be trusted as a backup",
        ) from error


def listing_line(sha256: str, size_bytes: int) -> str:
    """One line of the list of blobs."""
    return f"{sha256} {size_bytes}\n"


def parse_listing_line(line: str) -> tuple[str, int]:
    """(SHA-256, size in bytes); raises InvalidInput."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise InvalidInput(f"the list of blobs has a line that cannot be read: {line[:100]!r}")
    return found[1], int(found[2])
