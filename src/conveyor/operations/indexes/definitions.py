"""Indexes: list them, look one up, make a new one, change its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes, insert_index, update_settings
from conveyor.catalog.releases.judging import put_tested_due
from conveyor.domain.indexes.definitions import Index, check_new_index, check_settings
from conveyor.domain.indexes.policy import not_here, readable_indexes
from conveyor.domain.people.access import may_administer
from conveyor.domain.releases.gates import GATES
from conveyor.domain.words.records import as_json
from conveyor.errors import Conflict, NotFound
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.domain.indexes.definitions import IndexSettings, NewIndex
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store


def list_indexes(store: Store) -> dict[str, Index]:
    """Every index of the store by name; the caller of this function decides who may see which."""
    with read(store) as connection:
        return all_indexes(connection)


def visible_indexes(store: Store, identity: Identity) -> list[Index]:
    """The indexes that this caller may read, by name."""
    indexes = list_indexes(store)
    return [indexes[name] for name in sorted(readable_indexes(indexes, identity))]


def get_index(store: Store, identity: Identity, name: str) -> Index:
    """One index, of which the caller may read at least a part.

    Raises:
        NotFound: there is no such index, or the caller may not see it.
        Unauthorized: in the same cases, for anonymous callers of a store that has a private index.
    """
    with read(store) as connection:
        return index_in(connection, identity, name)


def index_in(connection: Connection, identity: Identity, name: str) -> Index:
    """One index, as this transaction sees it; raises as ``get_index``."""
    indexes = all_indexes(connection)
    if name not in readable_indexes(indexes, identity):
        error = NotFound(f'there is no index "{name}"', hint="see conveyor store index list")
        raise not_here(error, identity, indexes)
    return indexes[name]


def create_index(store: Store, identity: Identity, asked: NewIndex) -> Index:
    """Make a local index; whether it accepts uploads is fixed from here on.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidName, InvalidInput: the name is not allowed; a base or a gate is unknown.
        Conflict: an index of that name exists.
    """
    # 1. the caller's right
    may_administer(identity)
    wanted = Index(
        asked.name, "local", asked.mode, asked.bases or (), asked.gates or (), asked.is_private,
        asked.pythons or (), asked.isolation or "any",
    )  # fmt: skip
    with record_change(store, actor=identity.name) as change:
        # 2. the existing indexes
        existing = all_indexes(change.connection)
        check_new_index(wanted, existing, known_gates=frozenset(GATES))
        if wanted.name in existing:
            raise Conflict(f'there is already an index "{wanted.name}"', hint="see conveyor store index list")
        # 3. the rows and the event
        insert_index(change.connection, wanted, created_at=change.at)
        detail = as_json(wanted)
        change.event(
            "create-index",
            index=wanted.name,
            detail={
                name: detail[name]
                for name in ("mode", "bases", "gates", "is_private", "pythons", "isolation")
            },
        )
    return wanted


def set_index(store: Store, identity: Identity, asked: IndexSettings) -> Index:
    """Change what is named of an index, and return it; if nothing is named, its Pythons are emptied.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such index.
        InvalidInput: a Python is named twice, or nothing is promoted into the index.
    """
    # 1. the caller's right
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        # 2. the index as it is, and as it is to be
        existing = all_indexes(change.connection)
        if asked.name not in existing:
            raise NotFound(f'there is no index "{asked.name}"', hint="see conveyor store index list")
        before = existing[asked.name]
        pythons = before.pythons if asked.pythons is None and asked.isolation else asked.pythons or ()
        wanted = replace(before, pythons=pythons, isolation=asked.isolation or before.isolation)
        check_settings(wanted)
        # 3. the row and the event, unless nothing changes
        if wanted != before:
            update_settings(change.connection, wanted)
            detail = {"pythons": list(wanted.pythons), "isolation": wanted.isolation}
            change.event("set-index", index=wanted.name, detail=detail)
            before_it = [one.name for one in existing.values() if wanted.name in one.bases]
            put_tested_due(
                change.connection, due_at=change.at, cause=f'settings of "{wanted.name}"', indexes=before_it
            )
    return wanted
