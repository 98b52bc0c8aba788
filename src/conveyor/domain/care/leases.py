"""Leases: until when a node may answer from memory, and for which nodes a writer waits.

A node is a server with its processes; nodes share a database and no memory. Each has a row there: its newest
renewal, and the serial up to which it knows of every change. Four promises make sure that no reader is shown
a state older than one acknowledged before the request (rule 3 of the design):

1. a node answers from memory only while its lease lasts: from the moment *before* it sent a renewal, by its
   own clock, for ``LEASE_SECONDS`` less ``MARGIN_SECONDS``. At any other time it asks the database;
2. after each renewal is committed, it reads the newest serial, and only then does the lease begin;
3. it acknowledges a serial after all its processes know of it;
4. a writer, after its commit, reads the rows, and answers when each of them has acknowledged its serial, or
   after ``LEASE_SECONDS`` by its own clock.

Why this is sufficient: a lease that lasts longer than ``LEASE_SECONDS`` after the commit was renewed after
the commit, so by 2 its node knows of the change: waiting alone would suffice, and acknowledgements shorten
it. A node without a row at the writer's first look has its row committed later, and by 2 reads the change. No
clock of one machine is compared with that of another, only how fast they run: a tenth of difference is
allowed for.

A writer that has given up waiting removes the row, unless it has been renewed meanwhile: it belongs to a node
that was killed, stopped or cut off. Its lease has run out; if the node comes back, its next renewal finds no
row, and it registers again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEASE_SECONDS = 2.0
"""How long a write waits at most for a node that was killed: as long as a person waits without wondering, and
four times as long as a renewal may take on a busy machine."""
MARGIN_SECONDS = 0.2
"""How much shorter a node assumes its lease to be: as much as two clocks may differ in ``LEASE_SECONDS``."""
RENEWAL_SECONDS = 0.5
"""How often a node renews: three may fail before it has to ask the database."""
NO_LEASE = 0.0
"""The end of a missing lease: before every moment of every clock."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as the database knows it."""

    id: str
    renewal: int
    """Number of the newest renewal of its lease; never decreases, even when an old one arrives late."""
    acknowledged: int
    """Serial of the newest change of which all its processes know."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """A renewal that was sent and has not been answered."""

    sent_at: float
    """The node's clock, in seconds, before it was sent."""
    published: int
    """The newest serial that the node knew at that time."""

    @property
    def number(self) -> int:
        """A number that no other renewal of this node has: the moment, in microseconds."""
        return int(self.sent_at * 1e6)

    def lease_until(self, newest: int) -> float:
        """When the lease ends; ``newest`` is the newest serial, read after the renewal was committed.

        A database with a lower serial than the node's holds an older state, such as a restored backup: there
        is no lease until it has caught up, because the node's processes would take the old state for
        the newer one.
        """
        if newest < self.published:
            return NO_LEASE
        return self.sent_at + LEASE_SECONDS - MARGIN_SECONDS


@dataclass(frozen=True, slots=True)
class Wait:
    """A writer that waits, after its commit, until every node knows of its change."""

    serial: int
    began_at: float
    """The writer's clock, in seconds, after its first check."""
    nodes: Mapping[str, int]
    """Nodes that have not acknowledged the serial: id → their newest renewal at the first check."""

    @classmethod
    def begin(cls, serial: int, rows: Iterable[NodeRow], *, own: str | None, now: float) -> Wait:
        """The wait after a first check. ``own``: the writer's own node, which already knows of the change."""
        return cls(
            serial, now, {row.id: row.renewal for row in rows if row.acknowledged < serial and row.id != own}
        )

    def look(self, rows: Iterable[NodeRow]) -> Wait:
        """The wait after another check; nodes that were missing from the first one know of the change."""
        late = {row.id for row in rows if row.acknowledged < self.serial}
        return replace(self, nodes={node: seen for node, seen in self.nodes.items() if node in late})

    def is_over(self, now: float) -> bool:
        """Whether the change may be acknowledged."""
        return not self.nodes or now - self.began_at >= LEASE_SECONDS

    def dead(self, rows: Iterable[NodeRow]) -> tuple[NodeRow, ...]:
        """Rows to remove when the wait is over, unless they are renewed before that."""
        return tuple(row for row in rows if self.nodes.get(row.id) == row.renewal)
