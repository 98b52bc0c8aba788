"""A change while it is made: what its write transaction knows of it, and the events that it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conveyor.catalog.database.events import Event, insert_event
from conveyor.catalog.database.serials import next_serial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


@dataclass
class Change:
    """One write transaction: its connection, who makes it, when, and the serial of its newest event."""

    connection: Connection
    actor: str
    at: str
    """Moment of the change, as text; also a good value for the rows it writes."""
    serial: int | None = field(default=None, init=False)
    """Known after the first ``event``; ``None`` as long as nothing was recorded."""

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
        and ``project`` say which pages the change touches (``None``: it may touch all); secrets have no
        place in ``detail``.
        """
        self.serial = next_serial(self.connection)
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
