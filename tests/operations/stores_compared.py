"""All that a store holds, to compare one with another: every row of every table, every byte of every blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from conveyor.blobs.inventory import listed_blobs, local_blobs
from conveyor.catalog.database.tables import metadata
from conveyor.operations.store.store import read

if TYPE_CHECKING:
    from conveyor.operations.store.store import Store


def rows_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Rows by table, in an order of their own."""
    with read(store) as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=str)
            for table in metadata.sorted_tables
        }


def contents_of(store: Store) -> dict[str, bytes]:
    """Contents by digest."""
    return {file.name: file.path.read_bytes() for file in listed_blobs(local_blobs(store.blobs))}
