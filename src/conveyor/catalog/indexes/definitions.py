"""Rows of indexes and their ordered bases."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import insert, select

from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import index_bases, indexes
from conveyor.domain.indexes.definitions import Index, IndexKind, IndexMode

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


_ALL = Statement(
    select(
        indexes.c.name,
        indexes.c.kind,
        indexes.c.mode,
        indexes.c.gates,
        indexes.c.is_private,
        index_bases.c.base_name,
    )
    .join_from(indexes, index_bases, indexes.c.name == index_bases.c.index_name, isouter=True)
    .order_by(indexes.c.name, index_bases.c.position)
)


def all_indexes(connection: Connection) -> dict[str, Index]:
    """Every index, keyed and ordered by name."""
    return {index.name: index for index in _indexes_from(tuple(_ALL.all(connection)))}


@lru_cache(maxsize=4)
def _indexes_from(rows: tuple[tuple[Any, ...], ...]) -> tuple[Index, ...]:
    """Built once for the same rows: indexes hardly ever change, and are asked for with every upload."""
    return tuple(
        Index(
            name=name,
            kind=cast("IndexKind", kind),
            mode=cast("IndexMode", mode),
            bases=tuple(base for *_, base in group if base is not None),
            gates=tuple(json.loads(gates)),
            is_private=bool(is_private),
        )
        for (name, kind, mode, gates, is_private), group in groupby(rows, key=lambda row: row[:5])
    )
