"""Receivers of messages, and what became of the messages to them.

Only administrators of the whole store come here: a receiver may be told of everything public, and its
address may be what opens a chat room.

Nothing is sent by these endpoints themselves; ``server.notices`` sends what they leave in the outbox. The
secret of a receiver is in the one answer that made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from conveyor.domain.notices.receivers import Delivery, DeliveryState, NewReceiver, Receiver, ReceiverMade
from conveyor.domain.words.records import Count, ShortText
from conveyor.errors import InvalidInput
from conveyor.operations.notices.receivers import (
    add_receiver,
    list_deliveries,
    list_receivers,
    redeliver,
    remove_receiver,
    send_ping,
)
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call

_STATES = ("waiting", "delivered", "failed")


def get_receivers(call: Call) -> Answer:
    """Every receiver of messages, by its URL."""
    return Answer({"receivers": list_receivers(call.store, call.identity)})


def post_receiver(call: Call) -> Answer:
    """Register a receiver; the answer holds the secret that signs its messages, this once."""
    return Answer(add_receiver(call.store, call.identity, call.read(NewReceiver, what="the receiver")), 201)


def delete_receiver(call: Call) -> Answer:
    """Tell a receiver nothing any more."""
    remove_receiver(call.store, call.identity, call.path["receiver"])
    return Answer(None, 204)


def post_ping(call: Call) -> Answer:
    """Send a receiver a message that tells of nothing."""
    return Answer(send_ping(call.store, call.identity, call.path["receiver"]), 202)


def get_deliveries(call: Call) -> Answer:
    """The newest messages to receivers, newest first, and what became of them."""
    state = call.query.get("state")
    if state is not None and state not in _STATES:
        raise InvalidInput(f"a message is {', '.join(_STATES)}, not {state[:100]!r}")
    found = list_deliveries(
        call.store,
        call.identity,
        receiver_id=call.query.get("receiver"),
        state=cast("DeliveryState | None", state),
        limit=call.query_number("limit", default=50),
    )
    return Answer({"deliveries": found})


def post_redelivery(call: Call) -> Answer:
    """Send a message once more, under the same id."""
    return Answer(redeliver(call.store, call.identity, call.path["delivery"]), 202)


ENDPOINTS = (
    Endpoint("GET", "/receivers", get_receivers, right="admin", answers={200: ListOf("receivers", Receiver)}),
    Endpoint(
        "POST",
        "/receivers",
        post_receiver,
        right="admin",
        body=NewReceiver,
        answers={201: ReceiverMade},
    ),
    Endpoint("DELETE", "/receivers/{receiver}", delete_receiver, right="admin", answers={204: None}),
    Endpoint("POST", "/receivers/{receiver}/ping", post_ping, right="admin", answers={202: Delivery}),
    Endpoint(
        "GET",
        "/deliveries",
        get_deliveries,
        right="admin",
        query={"receiver": ShortText, "state": DeliveryState, "limit": Count},
        answers={200: ListOf("deliveries", Delivery)},
    ),
    Endpoint(
        "POST",
        "/deliveries/{delivery}/redelivery",
        post_redelivery,
        right="admin",
        answers={202: Delivery},
    ),
)
