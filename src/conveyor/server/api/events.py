"""The audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.operations.store.facts import list_events
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import ANY_OBJECT, COUNT, MOMENT, TEXT, listed, nullable, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


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
        "/events",
        get_events,
        right="admin",
        query={"since": COUNT},
        answers={200: record({"events": listed(_EVENT)})},
    ),
)
