"""Rows of indexes and their ordered bases."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from sqlalchemy import insert, select

from conveyor.catalog.tables import index_bases, indexes
from conveyor.domain.indexes import Index, IndexKind, IndexMode

if TYPE_CHECKING:
    from sqlalchemy import Connection


def insert_index(connection: Connection, index: Index, *, created_at: str) -> None:
    """Write a new index and its bases; the bases must exist."""
    connection.execute(
        insert(indexes).values(
            name=index.name,
            kind=index.kind,
            mode=index.mode,
            is_private=index.is_private,
            gates=json.dumps(list(index.gates)),
            created_at=created_at,
        )
    )
    for position, base in enumerate(index.bases):
        connection.execute(
            insert(index_bases).values(index_name=index.name, position=position, base_name=base)
        )


def all_indexes(connection: Connection) -> dict[str, Index]:
    """Every index, keyed and ordered by name."""
    bases: dict[str, list[str]] = {}
    for row in connection.execute(
        select(index_bases).order_by(index_bases.c.index_name, index_bases.c.position)
    ):
        bases.setdefault(row.index_name, []).append(row.base_name)
    rows = connection.execute(select(indexes).order_by(indexes.c.name))
    return {
        row.name: Index(
            name=row.name,
            kind=cast("IndexKind", row.kind),
            mode=cast("IndexMode", row.mode),
            bases=tuple(bases.get(row.name, ())),
            gates=tuple(json.loads(row.gates)),
            is_private=row.is_private,
        )
        for row in rows
    }
