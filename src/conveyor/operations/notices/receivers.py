"""Receivers of messages: administrators register them, see what became of messages, and have them sent again.

A receiver is told of what happens after it was registered. Its secret is stored as it is, because the store
signs with it, and is shown once; no list holds it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from conveyor.catalog.notices import outbox as rows
from conveyor.domain.notices.messages import ping
from conveyor.domain.notices.receivers import (
    SECRET_BYTES,
    Delivery,
    DeliveryState,
    Receiver,
    ReceiverMade,
    checked_receiver,
    new_secret,
)
from conveyor.domain.people.access import may_administer
from conveyor.errors import Conflict, NotFound
from conveyor.operations.store.facts import last_address
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from conveyor.domain.notices.receivers import NewReceiver
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store

MAX_DELIVERIES_LISTED = 200


def add_receiver(store: Store, identity: Identity, asked: NewReceiver) -> ReceiverMade:
    """Register a receiver; the secret that signs its messages is returned this once.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidInput: the address or a pattern is not allowed; names every fault.
    """
    may_administer(identity)
    wanted = checked_receiver(asked)
    with record_change(store, actor=identity.name) as change:
        receiver = Receiver(
            secrets.token_hex(8), wanted.url, wanted.events, wanted.indexes, wanted.projects,
            wanted.is_local, identity.name, change.at,
        )  # fmt: skip
        secret = None if receiver.is_mail else new_secret(secrets.token_bytes(SECRET_BYTES))
        # The path of a URL may be what opens a chat room, so the log does not hold it.
        detail = {"receiver": receiver.id, "indexes": list(wanted.indexes), "projects": list(wanted.projects)}
        serial = change.event("add-receiver", detail=detail)
        rows.insert_receiver(change.connection, receiver, secret=secret, told_serial=serial)
    return ReceiverMade(receiver, secret)


def list_receivers(store: Store, identity: Identity) -> list[Receiver]:
    """Every receiver, by its URL, without secrets; raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return rows.all_receivers(connection)


def remove_receiver(store: Store, identity: Identity, receiver_id: str) -> None:
    """Tell a receiver nothing any more, not even what waits; raises Unauthorized, Forbidden, NotFound."""
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        if not rows.delete_receiver(change.connection, receiver_id):
            raise _no_receiver()
        change.event("remove-receiver", detail={"receiver": receiver_id})


def send_ping(store: Store, identity: Identity, receiver_id: str) -> Delivery:
    """Send a receiver a message that tells of nothing; raises Unauthorized, Forbidden, NotFound."""
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        if rows.find_receiver(change.connection, receiver_id) is None:
            raise _no_receiver()
        message = ping(at=change.at, by=identity.name, store_url=store_address(store))
        sent = new_message_id()
        rows.insert_delivery(
            change.connection, id_=sent, receiver_id=receiver_id, type_=message.type,
            subject=message.subject, body=message.body, at=change.at,
        )  # fmt: skip
        change.event("ping-receiver", detail={"receiver": receiver_id, "delivery": sent})
        return _delivery(rows.find_delivery(change.connection, sent))


def list_deliveries(
    store: Store,
    identity: Identity,
    *,
    receiver_id: str | None = None,
    state: DeliveryState | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """The newest messages, newest first, at most ``MAX_DELIVERIES_LISTED``; of one receiver, in one state.

    Raises Unauthorized, Forbidden, NotFound.
    """
    may_administer(identity)
    with read(store) as connection:
        if receiver_id is not None and rows.find_receiver(connection, receiver_id) is None:
            raise _no_receiver()
        return rows.newest_deliveries(
            connection,
            limit=min(limit, MAX_DELIVERIES_LISTED),
            receiver_id=receiver_id,
            states=() if state is None else (state,),
        )


def redeliver(store: Store, identity: Identity, delivery_id: str) -> Delivery:
    """Send a message once more, the same under the same id, and try for as long as with a new one.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such message; ended ones are kept for a while.
        Conflict: it waits already.
    """
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        found = _delivery(rows.find_delivery(change.connection, delivery_id))
        if found.state == "waiting" and found.attempts == 0:
            raise Conflict(
                f"{delivery_id} was not sent yet, it waits", hint="see conveyor store notify deliveries"
            )
        rows.ask_again(change.connection, delivery_id, at=change.at)
        change.event("redeliver", detail={"receiver": found.receiver, "delivery": delivery_id})
        return _delivery(rows.find_delivery(change.connection, delivery_id))


def new_message_id() -> str:
    """An id that no other message has, in this store or another; a dot would end it in a signature."""
    return f"msg_{secrets.token_hex(16)}"


def store_address(store: Store) -> str | None:
    """Where messages say that the store is: its public URL, else where it was served last."""
    return store.public_url or last_address(store.data)


def _delivery(found: Delivery | None) -> Delivery:
    if found is None:
        raise NotFound("there is no such message", hint="see conveyor store notify deliveries")
    return found


def _no_receiver() -> NotFound:
    return NotFound("there is no such receiver", hint="see conveyor store notify list")
