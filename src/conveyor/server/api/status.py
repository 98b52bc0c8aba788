"""Status: which store this is, and how new."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import installed_version
from conveyor.operations.store.facts import store_id
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import COUNT, TEXT, record

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


ENDPOINTS = (
    Endpoint(
        "GET",
        "/status",
        get_status,
        right=None,
        answers={200: record({"version": TEXT, "store": TEXT, "serial": COUNT})},
    ),
)
