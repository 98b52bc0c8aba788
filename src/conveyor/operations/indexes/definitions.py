"""Indexes: list them, look one up, make a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes, insert_index
from conveyor.domain.indexes.definitions import Index, check_new_index
from conveyor.domain.people.access import can_read, may_administer
from conveyor.domain.releases.gates import GATES
from conveyor.errors import Conflict, NotFound
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.domain.indexes.definitions import IndexMode
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store


def list_indexes(store: Store) -> dict[str, Index]:
    """Every index of the store by name; who may see which is for the caller to decide."""
    with read(store) as connection:
        return all_indexes(connection)


def visible_indexes(store: Store, identity: Identity) -> list[Index]:
    """The indexes that this caller may read, by name."""
    return [
        index
        for index in list_indexes(store).values()
        if can_read(identity, index.name, is_private=index.is_private)
    ]


def get_index(store: Store, name: str) -> Index:
    """One index; raises NotFound."""
    index = list_indexes(store).get(name)
    if index is None:
        raise NotFound(f'there is no index "{name}"', hint="see conveyor store index list")
    return index


def create_index(
    store: Store,
    identity: Identity,
    name: str,
    *,
    mode: IndexMode,
    bases: Sequence[str] = (),
    gates: Sequence[str] = (),
    is_private: bool = False,
) -> Index:
    """Make a local index; whether it accepts uploads is fixed from here on.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidName, InvalidInput: the name is not allowed; a base or a gate is unknown.
        Conflict: an index of that name exists.
    """
    # 1. who asks
    may_administer(identity)
    wanted = Index(name, "local", mode, bases=tuple(bases), gates=tuple(gates), is_private=is_private)
    with record_change(store, actor=identity.name) as change:
        # 2. what is there
        existing = all_indexes(change.connection)
        check_new_index(wanted, existing, known_gates=frozenset(GATES))
        if name in existing:
            raise Conflict(f'there is an index "{name}" already', hint="see conveyor store index list")
        # 3. the rows and the event
        insert_index(change.connection, wanted, created_at=change.at)
        change.event(
            "create-index",
            index=name,
            detail={"mode": mode, "bases": list(bases), "gates": list(gates), "is_private": is_private},
        )
    return wanted
