"""The store as a whole: its id, its newest serial, and its audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import installed_version
from conveyor.domain.words.notation import Event, StoreStatus
from conveyor.domain.words.records import Count
from conveyor.operations.store.facts import list_events, store_id
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_status(call: Call) -> Answer:
    """The version of the product, the id of the store, the serial of its newest change."""
    return Answer(StoreStatus(installed_version(), store_id(call.store), call.store.newest.read()))


def get_events(call: Call) -> Answer:
    """The changes after a serial, oldest first, a thousand at most."""
    since = call.query_number("since", default=0)
    return Answer({"events": list_events(call.store, call.identity, since=since)})


ENDPOINTS = (
    Endpoint("GET", "/status", get_status, right=None, answers={200: StoreStatus}),
    Endpoint(
        "GET",
        "/events",
        get_events,
        right="admin",
        query={"since": Count},
        answers={200: ListOf("events", Event)},
    ),
)
