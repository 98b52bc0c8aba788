"""Leases: until when a node may answer from memory, and for which nodes a writer waits.

A node is a server with its processes; nodes share a database and no memory. Each has a row there: its newest
renewal, and the serial up to which it knows of every change. Four promises make sure that
nobody is shown a state older than what was acknowledged before they asked (rule 3 of the design):

1. a node answers from memory only while its lease lasts: from the moment *before* it sent a renewal, by its
   own clock, for ``LEASE_SECONDS`` less ``MARGIN_SECONDS``. At any other time it asks the database;
2. after each renewal, when that is committed, it reads the newest serial, and only then the lease begins;
3. it acknowledges a serial after all its processes know of it;
4. a writer, after its commit, reads the rows, and answers when each of them has acknowledged its serial, or
   after ``LEASE_SECONDS`` by its own clock.

Why that is enough. A lease that lasts longer than ``LEASE_SECONDS`` after the commit was renewed after the
commit, so by 2 its node knows of the change: waiting alone would do, and acknowledging makes it short. A node
without a row at the writer's first look has its row committed later, and by 2 reads the change. No clock of
one machine is compared with that of another, only how fast they run: a tenth of difference is allowed for.

Whoever has waited in vain removes the row, if nobody has renewed it meanwhile: it belongs to a node that was
killed, stopped or cut off. Its lease has run out; should it come back, its next renewal finds no row, and it
begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEASE_SECONDS = 2.0
"""How long a write waits at most for a node that was killed: as long as a person waits without wondering,
four times what a renewal may take to come through on a machine that is busy."""
MARGIN_SECONDS = 0.2
"""How much shorter a node takes its lease to be: what two clocks may differ in ``LEASE_SECONDS``."""
RENEWAL_SECONDS = 0.5
"""How often a node renews: three may fail before it has to ask the database."""
NO_LEASE = 0.0
"""The end of a lease that there is not; before every moment of every clock."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What the database knows of a node."""

    id: str
    renewal: int
    """Which renewal of its lease is the newest; never goes down, even when an old one comes in late."""
    acknowledged: int
    """Serial of the newest change of which all its processes know."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """A renewal that was sent and has not been answered."""

    sent_at: float
    """The node's clock, in seconds, before it was sent."""
    published: int
    """The newest serial that the node knew of by then."""

    @property
    def number(self) -> int:
        """What tells it from every other renewal of this node: the moment, in microseconds."""
        return int(self.sent_at * 1e6)

    def lease_until(self, newest: int) -> float:
        """When the lease ends; ``newest`` is the newest serial, read after the renewal was committed.

        A database that knows less than the node holds an older state, such as a backup that was restored:
        there is no lease until it has caught up, because the node's processes would take it for the newer.
        """
        if newest < self.published:
            return NO_LEASE
        return self.sent_at + LEASE_SECONDS - MARGIN_SECONDS


@dataclass(frozen=True, slots=True)
class Wait:
    """A writer that waits, after its commit, until every node knows of its change."""

    serial: int
    began_at: float
    """The writer's clock, in seconds, after its first look."""
    nodes: Mapping[str, int]
    """Those that have not acknowledged the serial: id → their newest renewal at the first look."""

    @classmethod
    def begin(cls, serial: int, rows: Iterable[NodeRow], *, own: str | None, now: float) -> Wait:
        """The wait after a first look. ``own``: the writer's own node, which knows of the change already."""
        return cls(
            serial, now, {row.id: row.renewal for row in rows if row.acknowledged < serial and row.id != own}
        )

    def look(self, rows: Iterable[NodeRow]) -> Wait:
        """The wait after another look; nodes that were not there at the first one know of the change."""
        late = {row.id for row in rows if row.acknowledged < self.serial}
        return replace(self, nodes={node: seen for node, seen in self.nodes.items() if node in late})

    def is_over(self, now: float) -> bool:
        """Whether the change may be acknowledged."""
        return not self.nodes or now - self.began_at >= LEASE_SECONDS

    def dead(self, rows: Iterable[NodeRow]) -> tuple[NodeRow, ...]:
        """Rows to remove, unless they are renewed before that; asked when the wait is over."""
        return tuple(row for row in rows if self.nodes.get(row.id) == row.renewal)
