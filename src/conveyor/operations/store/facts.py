"""What is true of the whole store: its id, its upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.database.schema import read_fact
from conveyor.errors import StorageFailed
from conveyor.operations.store.changes import read
from conveyor.settings import Upstream

if TYPE_CHECKING:
    from conveyor.operations.store.store import Store


def store_upstream(store: Store) -> Upstream:
    """The index that mirrors of this store read from."""
    return Upstream.from_json(_fact(store, "upstream"))


def store_id(store: Store) -> str:
    """The id that this store was given when it was initialised."""
    return _fact(store, "store-id")


def _fact(store: Store, key: str) -> str:
    with read(store) as connection:
        value = read_fact(connection, key)
    if value is None:
        raise StorageFailed("this store is not initialised", hint="conveyor store serve --data DIR")
    return value
