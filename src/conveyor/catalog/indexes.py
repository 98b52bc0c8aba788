"""Rows of indexes and their ordered bases."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from sqlalchemy import insert, select

from conveyor.catalog.statements import Statement
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


_ALL_BASES = Statement(
    select(index_bases.c.index_name, index_bases.c.base_name).order_by(
        index_bases.c.index_name, index_bases.c.position
    )
)
_ALL = Statement(
    select(indexes.c.name, indexes.c.kind, indexes.c.mode, indexes.c.gates, indexes.c.is_private).order_by(
        indexes.c.name
    )
)


def all_indexes(connection: Connection) -> dict[str, Index]:
    """Every index, keyed and ordered by name."""
    bases: dict[str, list[str]] = {}
    for index_name, base_name in _ALL_BASES.all(connection):
        bases.setdefault(index_name, []).append(base_name)
    return {
        name: Index(
            name=name,
            kind=cast("IndexKind", kind),
            mode=cast("IndexMode", mode),
            bases=tuple(bases.get(name, ())),
            gates=tuple(json.loads(gates)),
            is_private=bool(is_private),
        )
        for name, kind, mode, gates, is_private in _ALL.all(connection)
    }
