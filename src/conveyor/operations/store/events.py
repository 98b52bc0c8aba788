"""The audit log, read by administrators: every change in serial order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.database.events import events_since
from conveyor.domain.people.access import Identity, may_administer
from conveyor.operations.store.changes import read

if TYPE_CHECKING:
    from conveyor.catalog.database.events import Event
    from conveyor.operations.store.store import Store

MAX_EVENTS_LISTED = 1000


def list_events(store: Store, identity: Identity, *, since: int = 0) -> list[Event]:
    """The events after serial ``since``, oldest first, at most ``MAX_EVENTS_LISTED``.

    Who wants more asks again with the last serial that came.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
    """
    may_administer(identity)
    with read(store) as connection:
        return events_since(connection, since, limit=MAX_EVENTS_LISTED)
