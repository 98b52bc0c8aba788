"""Rows of receivers, and of messages on their way to them.

The audit log is the outbox: an event is written with the change that it tells of. ``told_serial`` of a
receiver says up to which event messages were made for it, and moves in the transaction that writes them, so
each event becomes a message once, whatever process reads it.

A message is taken by moving ``next_at`` ahead: whoever changes the row has it until then. If that process
dies, the message is due again, and is sent twice rather than never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, func, insert, select, update

from conveyor.catalog.database.statements import Statement, columns_of, record_of, values_of
from conveyor.catalog.database.tables import deliveries, receivers
from conveyor.domain.notices.receivers import Delivery, Receiver, TakenMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

_RECEIVERS = select(*columns_of(Receiver, receivers))
_DELIVERIES = select(*columns_of(Delivery, deliveries, receiver="receiver_id"))
_of = deliveries.c


def insert_receiver(
    connection: Connection, receiver: Receiver, *, secret: str | None, told_serial: int
) -> None:
    """Write a new receiver; it is told of what comes after ``told_serial``."""
    values = {**values_of(receiver), "secret": secret, "told_serial": told_serial}
    connection.execute(insert(receivers).values(values))


def all_receivers(connection: Connection) -> list[Receiver]:
    """Every receiver, by its URL."""
    rows = connection.execute(_RECEIVERS.order_by(receivers.c.url, receivers.c.id))
    return [record_of(Receiver, row) for row in rows]


def find_receiver(connection: Connection, receiver_id: str) -> Receiver | None:
    """One receiver; ``None`` if there is none."""
    row = connection.execute(_RECEIVERS.where(receivers.c.id == receiver_id)).first()
    return None if row is None else record_of(Receiver, row)


def delete_receiver(connection: Connection, receiver_id: str) -> bool:
    """Remove a receiver with its messages; returns whether it existed."""
    connection.execute(delete(deliveries).where(_of.receiver_id == receiver_id))
    return connection.execute(delete(receivers).where(receivers.c.id == receiver_id)).rowcount > 0


_TOLD = Statement(select(receivers.c.id, receivers.c.told_serial))


def told_serials(connection: Connection) -> dict[str, int]:
    """Receiver → the event up to which messages were made for it."""
    return {str(one): int(told) for one, told in _TOLD.all(connection)}


def move_told_serial(connection: Connection, receiver_id: str, *, before: int, after: int) -> bool:
    """Say up to which event messages are made; returns whether no other process has said so meanwhile."""
    moved = (
        update(receivers)
        .where(receivers.c.id == receiver_id, receivers.c.told_serial == before)
        .values(told_serial=after)
    )
    return connection.execute(moved).rowcount > 0


def insert_delivery(
    connection: Connection, *, id_: str, receiver_id: str, type_: str, subject: str, body: str, at: str
) -> None:
    """Write a message that is due at once, behind those of the same subject."""
    connection.execute(
        insert(deliveries).values(
            id=id_, receiver_id=receiver_id, type=type_, subject=subject, body=body,
            state="waiting", attempts=0, created_at=at, asked_at=at, next_at=at,
        )
    )  # fmt: skip


_earlier = deliveries.alias("earlier")
_IS_FIRST = ~exists().where(
    _earlier.c.receiver_id == _of.receiver_id,
    _earlier.c.subject == _of.subject,
    _earlier.c.state == "waiting",
    _earlier.c.number < _of.number,
)
_DUE_RECEIVERS = Statement(
    select(_of.receiver_id).where(_of.state == "waiting", _of.next_at <= bindparam("now")).distinct()
)
_NEXT = Statement(select(func.min(_of.next_at)).where(_of.state == "waiting", _of.next_at > bindparam("now")))


def receivers_due(connection: Connection, now: str) -> list[str]:
    """The receivers with a message that is due."""
    return [str(one) for (one,) in _DUE_RECEIVERS.all(connection, {"now": now})]


def next_due(connection: Connection, now: str) -> str | None:
    """When the next message will be due that is not yet; ``None``: none is waiting."""
    found: str | None = _NEXT.scalar(connection, {"now": now})
    return found


def first_due(connection: Connection, receiver_id: str, *, now: str, most: int) -> list[tuple[int, str]]:
    """(number, since when) of a receiver's first messages that are due, at most one for each subject."""
    first = (
        select(_of.number, _of.next_at)
        .where(_of.receiver_id == receiver_id, _of.state == "waiting", _of.next_at <= now, _IS_FIRST)
        .order_by(_of.next_at, _of.number)
        .limit(most)
    )
    return [(int(number), str(due)) for number, due in connection.execute(first)]


def take_messages(
    connection: Connection, receiver_id: str, found: Collection[tuple[int, str]], *, until: str
) -> list[TakenMessage]:
    """Take those of a receiver's messages that no other process took since they were found.

    They are due again at ``until``, unless ``settle_delivery`` says before what became of them.
    """
    receiver = find_receiver(connection, receiver_id)
    if receiver is None:
        return []
    secret = connection.scalar(select(receivers.c.secret).where(receivers.c.id == receiver_id))
    taken = []
    for number, due in found:
        row = connection.execute(
            update(deliveries)
            .where(_of.number == number, _of.state == "waiting", _of.next_at == due)
            .values(next_at=until, attempts=_of.attempts + 1)
            .returning(_of.id, _of.subject, _of.body, _of.attempts, _of.asked_at)
        ).first()
        if row is not None:
            taken.append(
                TakenMessage(
                    row.id, receiver, secret, row.subject, row.body, row.attempts, row.asked_at, until
                )
            )
    return taken


def settle_delivery(connection: Connection, taken: TakenMessage, values: Mapping[str, str | None]) -> bool:
    """Write what became of an attempt, unless another has begun; returns whether it was written."""
    settled = (
        update(deliveries)
        .where(_of.id == taken.id, _of.next_at == taken.until, _of.state == "waiting")
        .values(**values)
    )
    return connection.execute(settled).rowcount > 0


def find_delivery(connection: Connection, delivery_id: str) -> Delivery | None:
    """One message; ``None`` if there is none."""
    row = connection.execute(_DELIVERIES.where(_of.id == delivery_id)).first()
    return None if row is None else record_of(Delivery, row)


def newest_deliveries(
    connection: Connection, *, limit: int, receiver_id: str | None = None, states: Collection[str] = ()
) -> list[Delivery]:
    """The newest messages, newest first; those of one receiver, or in some states."""
    asked = _DELIVERIES.order_by(_of.number.desc()).limit(limit)
    if receiver_id is not None:
        asked = asked.where(_of.receiver_id == receiver_id)
    if states:
        asked = asked.where(_of.state.in_(sorted(states)))
    return [record_of(Delivery, row) for row in connection.execute(asked)]


def ask_again(connection: Connection, delivery_id: str, *, at: str) -> None:
    """Have a message sent again, as if it were new; it keeps its place among those of its subject."""
    values = {"state": "waiting", "attempts": 0, "asked_at": at, "next_at": at, "finished_at": None}
    connection.execute(update(deliveries).where(_of.id == delivery_id).values(values))


def delete_deliveries_ended_before(connection: Connection, before: str, *, most: int) -> int:
    """Remove the oldest messages that ended before a time; returns how many were removed."""
    ended = (
        select(_of.number)
        .where(_of.state != "waiting", _of.finished_at < before)
        .order_by(_of.number)
        .limit(most)
    )
    return connection.execute(delete(deliveries).where(_of.number.in_(ended))).rowcount
