"""The audit log: every change, in serial order, written in the transaction of the change itself.

A ``Change`` holds what its write transaction knows of it: the serial, and the events that it records.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, select, union_all

from conveyor.catalog.database.serials import next_serial
from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import events
from conveyor.domain.words.notation import Event

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection


_INSERT = Statement(insert(events))
_SINCE = select(events.c.serial).where(events.c.serial > bindparam("serial"))
# Two questions, each of them one range of an index. With "or" in one question SQLite would read all events of
# the project; with the serial alone PostgreSQL would read the whole of a table whose size it has not learnt.
_TOUCHING = Statement(
    union_all(
        _SINCE.where(events.c.project == bindparam("project")), _SINCE.where(events.c.project.is_(None))
    ).limit(1)
)


def insert_event(connection: Connection, recorded: Event) -> None:
    """Write one event; its serial was taken with ``serials.next_serial`` in the same transaction."""
    _INSERT.run(
        connection,
        {
            "serial": recorded.serial,
            "at": recorded.at,
            "actor": recorded.actor,
            "action": recorded.action,
            "index_name": recorded.index,
            "project": recorded.project,
            "version": recorded.version,
            "detail": json.dumps(recorded.detail, sort_keys=True),
        },
    )


def is_touched_since(connection: Connection, project: str, serial: int) -> bool:
    """Whether any change after ``serial`` affected this project, or was not limited to one project."""
    return _TOUCHING.first(connection, {"serial": serial, "project": project}) is not None


def events_since(connection: Connection, serial: int, *, limit: int = 1000) -> list[Event]:
    """The events after ``serial``, oldest first, at most ``limit``."""
    rows = connection.execute(
        select(events).where(events.c.serial > serial).order_by(events.c.serial).limit(limit)
    )
    return [_event(row) for row in rows]


def events_of_actions(
    connection: Connection, serial: int, *, actions: Collection[str], limit: int
) -> tuple[list[Event], int]:
    """The events of these actions after ``serial``, oldest first, and the serial up to which they are all."""
    rows = connection.execute(
        select(events)
        .where(events.c.serial > serial, events.c.action.in_(sorted(actions)))
        .order_by(events.c.serial)
        .limit(limit)
    )
    found = [_event(row) for row in rows]
    if len(found) == limit:
        return found, found[-1].serial
    newest = connection.scalar(select(func.max(events.c.serial)))
    return found, max(serial, newest or 0)


def indexes_of_release_ever(connection: Connection, project: str, version: str) -> list[str]:
    """The indexes that events of a release name, those that it has left too."""
    named = events.c.index_name.is_not(None)
    rows = connection.execute(
        select(events.c.index_name)
        .where(events.c.project == project, events.c.version == version, named)
        .distinct()
    )
    return [str(name) for (name,) in rows]


def _event(row: Any) -> Event:  # noqa: ANN401 - a row of the table
    return Event(
        serial=row.serial,
        at=row.at,
        actor=row.actor,
        action=row.action,
        index=row.index_name,
        project=row.project,
        version=row.version,
        detail=json.loads(row.detail),
    )


def details_of(connection: Connection, action: str, project: str, version: str) -> list[dict[str, Any]]:
    """The details of the events of one kind about a release, oldest first."""
    mine = (events.c.project == project, events.c.version == version, events.c.action == action)
    found = connection.execute(select(events.c.detail).where(*mine).order_by(events.c.serial))
    return [json.loads(detail) for (detail,) in found]


@dataclass
class Change:
    """One write transaction: its connection, its author, its time, and the serial of its newest event."""

    connection: Connection
    actor: str
    at: str
    """Moment of the change, as text; also used for the rows it writes."""
    serial: int | None = field(default=None, init=False)
    """Set by the first ``event``; ``None`` until then."""
    reserved: int | None = field(default=None, init=False)
    """A serial that was taken for the next ``event``, together with those of other changes."""

    def event(
        self,
        action: str,
        *,
        index: str | None = None,
        project: str | None = None,
        version: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        """Write one event to the audit log and return its serial.

        Call it as late as possible: on PostgreSQL other writers wait from here on until the commit. ``index``
        and ``project`` say which pages the change touches (``None``: it may touch all); secrets must not
        be in ``detail``.
        """
        self.serial = next_serial(self.connection) if self.reserved is None else self.reserved
        self.reserved = None
        insert_event(
            self.connection,
            Event(
                serial=self.serial,
                at=self.at,
                actor=self.actor,
                action=action,
                index=index,
                project=project,
                version=version,
                detail=detail or {},
            ),
        )
        return self.serial
