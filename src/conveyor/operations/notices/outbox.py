"""The outbox: events become messages to receivers, and messages are taken, sent and settled.

1. ``write_messages`` reads the events that a receiver was not told of and writes its messages, in one
   transaction with the place up to which it has read: each event becomes a message once, whatever process is
   killed.
2. ``take_due`` gives a process the messages that it sends now, for ``LEASE_SECONDS``: per receiver a few, and
   per receiver and release the oldest that was not delivered, so that they arrive in order.
3. ``settle`` says what became of one: delivered, to be tried again, or given up.

All processes of all nodes do this; none depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from conveyor.catalog.database.events import events_of_actions, indexes_of_release_ever
from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.notices import outbox as rows
from conveyor.catalog.releases.distributions import placements_of_release
from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.catalog.runs.queue import find_run, projects_of
from conveyor.domain.notices.messages import TOLD_ACTIONS, Told, message_for
from conveyor.domain.notices.receivers import pause_seconds
from conveyor.domain.people.access import STORE
from conveyor.domain.runs.repositories import canonical_url
from conveyor.domain.words.notation import from_utc_text, utc_text
from conveyor.operations.notices.receivers import new_message_id, store_address
from conveyor.operations.store.store import newest_change, read, record_change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.notices.receivers import TakenMessage
    from conveyor.domain.words.notation import Event
    from conveyor.operations.store.store import Store

LEASE_SECONDS = 60
"""Longer than any attempt: a message that is not settled by then is sent by another process."""
MOST_EVENTS = 200
"""That one transaction makes messages of."""
MOST_AT_ONCE = 4
"""Messages that one process sends to one receiver at a time."""
KEPT = timedelta(days=30)
"""For how long messages are kept that were delivered or given up."""
_MOST_DROPPED = 500


@dataclass(frozen=True)
class DeliveryOutcome:
    """What an attempt met with."""

    is_delivered: bool
    text: str
    """One line for people: ``204``, or why there was no answer."""
    is_final: bool = False
    """Whether it makes no sense to try again."""


def write_messages(store: Store) -> int:
    """Make messages of the events that receivers were not told of; returns how many this process wrote."""
    with read(store) as connection:
        told = rows.told_serials(connection)
    written = 0
    newest = newest_change(store) if told else 0
    for receiver_id, since in told.items():
        while since < newest:
            done, since = _write_for(store, receiver_id, since)  # noqa: PLW2901 - on it goes from there
            written += done
            if since == 0:
                break
    return written


def _write_for(store: Store, receiver_id: str, since: int) -> tuple[int, int]:
    """One transaction: (messages written, serial up to which they are; 0 if another process was first)."""
    with read(store) as connection:
        events, until = events_of_actions(connection, since, actions=TOLD_ACTIONS, limit=MOST_EVENTS)
        indexes = all_indexes(connection)
        found = [_told(connection, event, indexes) for event in events]
        receiver = rows.find_receiver(connection, receiver_id)
    if receiver is None or until == since:
        return 0, 0
    address = store_address(store)
    made = [
        message for one in found if (message := message_for(receiver, one, store_url=address)) is not None
    ]
    with record_change(store, actor=STORE) as change:
        if not rows.move_told_serial(change.connection, receiver_id, before=since, after=until):
            return 0, 0
        for message in made:
            rows.insert_delivery(
                change.connection, id_=new_message_id(), receiver_id=receiver_id, type_=message.type,
                subject=message.subject, body=message.body, at=change.at,
            )  # fmt: skip
        before = utc_text(store.clock() - KEPT)
        rows.delete_deliveries_ended_before(change.connection, before, most=_MOST_DROPPED)
    return len(made), until


def _told(connection: Connection, event: Event, indexes: Mapping[str, Index]) -> Told:
    """An event, and what is to be known before it is told."""
    run = None
    facts: dict[str, Any] = {}
    projects = [] if event.project is None else [event.project]
    names = {event.index} if event.index else set[str]()
    if "run" in event.detail and event.project is None:
        run = find_run(connection, int(event.detail["run"]))
        if run is not None:
            names = {run.index}
            registered = projects_of(connection, canonical_url(run.repository))
            projects = [run.project] if run.project is not None else list(registered)
    elif event.project is not None and event.version is not None and not names:
        placed = placements_of_release(connection, event.project, event.version)
        names = {file.index for file in placed}
        if not names:  # a deleted one
            names = set(indexes_of_release_ever(connection, event.project, event.version))
        if event.action == "add-evidence":
            facts = _counts(connection, event)
    places = {name: indexes[name].is_private for name in names if name in indexes}
    private = frozenset(name for name, index in indexes.items() if index.is_private)
    return Told(event, places, private, projects, run, facts)


def _counts(connection: Connection, event: Event) -> dict[str, Any]:
    """The counts of the tests that an event tells of."""
    for one in evidence_of_release(connection, str(event.project), str(event.version)):
        told = ("tests", event.detail.get("sha256"), event.detail.get("signed_by"), event.at)
        if (one.kind, one.sha256, one.signed_by, one.received_at) == told:
            named = ("passed", "failed", "errors", "skipped")
            return {"tests": {name: one.predicate.get(name) for name in named}}
    return {}


def take_due(store: Store, *, busy: Mapping[str, int]) -> tuple[list[TakenMessage], str | None]:
    """The messages that this process is to send now, and when the next will be due (``None``: nobody knows).

    ``busy``: receiver → how many messages this process is sending to it.
    """
    now = utc_text(store.clock())
    with read(store) as connection:
        room = {one: MOST_AT_ONCE - busy.get(one, 0) for one in rows.receivers_due(connection, now)}
        found = {
            one: rows.first_due(connection, one, now=now, most=most) for one, most in room.items() if most > 0
        }
        following = rows.next_due(connection, now)
    if not any(found.values()):  # what waits for an earlier message costs no write transaction
        return [], following
    until = utc_text(store.clock() + timedelta(seconds=LEASE_SECONDS))
    taken = []
    with record_change(store, actor=STORE) as change:
        for receiver_id, messages in found.items():
            taken += rows.take_messages(change.connection, receiver_id, messages, until=until)
    return taken, following


def settle(store: Store, taken: TakenMessage, answer: DeliveryOutcome) -> str | None:
    """Write what became of an attempt; returns when it is tried again, ``None`` if it is not."""
    now = store.clock()
    age = (now - from_utc_text(taken.asked_at)).total_seconds()
    pause = None if answer.is_delivered or answer.is_final else pause_seconds(taken.attempts, age)
    following = None if pause is None else utc_text(now + timedelta(seconds=pause))
    state = "delivered" if answer.is_delivered else "waiting" if following else "failed"
    values = {
        "state": state,
        "next_at": following,
        "finished_at": None if following else utc_text(now),
        "answer": answer.text[:300],
    }
    with record_change(store, actor=STORE) as change:
        rows.settle_delivery(change.connection, taken, values)
    return following


def give_back(store: Store, taken: TakenMessage) -> None:
    """Have a message sent by somebody else, now: this process ends, and nobody knows whether it arrived."""
    with record_change(store, actor=STORE) as change:
        rows.settle_delivery(change.connection, taken, {"next_at": utc_text(store.clock())})
