"""The store as a whole: which one it is, how new, and its audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import installed_version
from conveyor.operations.store.facts import list_events, store_id
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import ANY_OBJECT, COUNT, MOMENT, TEXT, listed, nullable, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_status(call: Call) -> Answer:
    """The version of the product, the id of the store, the serial of its newest change."""
    return Answer(
        {
            "version": installed_version(),
            "store": store_id(call.store),
            "serial": call.store.newest.read(),
        }
    )


def get_events(call: Call) -> Answer:
    """The changes after a serial, oldest first, a thousand at most."""
    since = call.query_number("since", default=0)
    return Answer(
        {
            "events": [
                {
                    "serial": event.serial,
                    "at": event.at,
                    "actor": event.actor,
                    "action": event.action,
                    "index": event.index,
                    "project": event.project,
                    "version": event.version,
                    "detail": dict(event.detail),
                }
                for event in list_events(call.store, call.identity, since=since)
            ]
        }
    )


_EVENT = record(
    {
        "serial": COUNT,
        "at": MOMENT,
        "actor": TEXT,
        "action": TEXT,
        "index": nullable(TEXT),
        "project": nullable(TEXT),
        "version": nullable(TEXT),
        "detail": ANY_OBJECT,
    }
)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/status",
        get_status,
        right=None,
        answers={200: record({"version": TEXT, "store": TEXT, "serial": COUNT})},
    ),
    Endpoint(
        "GET",
        "/events",
        get_events,
        right="admin",
        query={"since": COUNT},
        answers={200: record({"events": listed(_EVENT)})},
    ),
)
