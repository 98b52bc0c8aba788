"""Makers of damage: what disks, hands and killed processes do to the folder of a store."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from sqlalchemy import text

from conveyor.blobs.inventory import local_blobs
from conveyor.catalog.database.connection import writing
from conveyor.catalog.database.events import events_since
from conveyor.domain.indexes.mirror import Hashing, MirroredFile, UpstreamFile, UpstreamPage
from conveyor.operations.indexes.mirror import keep_file, store_page
from conveyor.operations.store.store import read

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.words.notation import Event
    from conveyor.operations.store.store import Store
    from distributions_made import Made

DAY_SECONDS = 24 * 3600.0


def blob_path(store: Store, sha256: str) -> Path:
    """Where a blob is, or would be."""
    return local_blobs(store.blobs).path(sha256)


def make_older(path: Path, seconds: float) -> None:
    """Make a file look as if it had been written so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def damage(path: Path) -> bytes:
    """Change one byte of a file, its length and times left as they are; returns what it holds then."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    return bytes(content)


def put_garbage(store: Store, content: bytes, *, age_seconds: float = 2 * DAY_SECONDS) -> str:
    """A blob that no row names; returns its digest."""
    sha256 = store.blobs.put(content)
    make_older(blob_path(store, sha256), age_seconds)
    return sha256


def make_metadata_blobs(store: Store) -> list[str]:
    """Have metadata lie among the blobs, as stores below schema 5 have it; returns the digests."""
    with writing(store.catalog) as connection:
        rows = connection.execute(text("select metadata from distributions")).all()
        connection.execute(text("update distributions set metadata = null"))
    return [store.blobs.put(row.metadata) for row in rows]


def mirror(store: Store, made: Made, *, is_hashed: bool = True) -> MirroredFile:
    """A mirrored file whose bytes are stored, as after somebody has downloaded it.

    ``is_hashed``: whether upstream names its digest.
    """
    project = canonicalize_name(made.filename.partition("-")[0])
    sha256 = made.sha256 if is_hashed else None
    offered = UpstreamFile(made.filename, f"http://127.0.0.1:9/{made.filename}", sha256)
    (file,) = store_page(store, "pypi", project, UpstreamPage((offered,), etag="1"))
    with store.blobs.new_temporary() as temporary:
        temporary.write(made.content)
        hashing = Hashing(file)
        hashing.update(made.content)
        keep_file(store, hashing, temporary, size_bytes=len(made.content))
    return file


def execute(store: Store, statement: str, **values: object) -> None:
    """Change rows behind the store's back."""
    with writing(store.catalog) as connection:
        connection.execute(text(statement), values)


def events_of(store: Store, actor: str) -> list[Event]:
    """What stands in the audit log of somebody."""
    with read(store) as connection:
        return [event for event in events_since(connection, 0, limit=1_000_000) if event.actor == actor]
