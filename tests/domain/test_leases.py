"""Leases, in a model of a database, nodes and writers whose every step may come late.

The decisions are the product's own; around them stands what surrounds them in earnest: messages under way,
notifications that get lost, processes that are stopped anywhere and go on, clocks that run at other speeds.
Each schedule is one number. The mistakes at the end show that the schedules find what they are for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.care.leases import LEASE_SECONDS, NO_LEASE, NodeRow, Renewal, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Figures

SPEEDS = (0.96, 1.0, 1.04)
"""Of clocks: how much time goes by on them in a second."""
PAUSES = (0.01, 0.3, 1.0, 1.85, LEASE_SECONDS, 5.0)
STEPS = 120

MISTAKES = (
    "the lease begins when the answer comes",
    "the newest serial is read before the renewal is committed",
    "the lease begins before the processes know of what was read",
    "what the processes do not know of yet is acknowledged",
    "memory is looked at before the lease is",
    "the writer looks at the nodes before it commits",
    "the writer waits for less than a lease",
    "the writer waits for nobody",
    "a change that was there already is acknowledged at once",
    "a row is removed although it was renewed",
    "renewals have no numbers",
)


@dataclass
class Node:
    id: str
    speed: float
    published: int = 0
    lease_until: float = NO_LEASE
    heard: list[int] = field(default_factory=list)
    """Notifications under way to it."""

    def clock(self, now: float) -> float:
        return 1000 + now * self.speed


class World:
    """What happens is a number of procedures; each goes on by one step whenever somebody says so."""

    def __init__(self, nodes: list[Node], mistake: str | None) -> None:
        self.mistake = mistake
        self.now = 0.0
        self.newest = 1
        self.rows: dict[str, NodeRow] = {}
        self.known = 1
        """The newest serial that a writer has acknowledged to its client."""
        self.nodes = nodes
        self.procedures = [self.renew(node, is_new=True) for node in nodes]

    def go_on(self, which: int, steps: int) -> None:
        """Let a procedure take some steps; one that has ended is forgotten."""
        for _ in range(min(steps, len(self.procedures))):
            procedure = self.procedures[which % len(self.procedures)]
            if next(procedure, self) is self:
                self.procedures.remove(procedure)

    # --- a node: between two steps it may be stopped for any time, and the network may be slow

    def renew(self, node: Node, *, is_new: bool = False) -> Iterator[None]:
        renewal = Renewal(node.clock(self.now), node.published)
        yield
        if node.id not in self.rows and not is_new:
            node.lease_until = NO_LEASE
            yield from self.renew(node, is_new=True)
            return
        early = self.newest
        if self.mistake == "the newest serial is read before the renewal is committed":
            yield
        before = self.rows.get(node.id) or NodeRow(node.id, 0, 0)
        number = 1 if self.mistake == "renewals have no numbers" else max(before.renewal, renewal.number)
        self.rows[node.id] = NodeRow(node.id, number, max(before.acknowledged, renewal.published))
        yield
        newest = self.newest
        if self.mistake == "the newest serial is read before the renewal is committed":
            newest = early
        yield
        if self.mistake == "the lease begins when the answer comes":
            renewal = replace(renewal, sent_at=node.clock(self.now))
        if self.mistake == "the lease begins before the processes know of what was read":
            node.lease_until = renewal.lease_until(newest)
            yield
        node.published = max(node.published, newest)
        yield
        node.lease_until = renewal.lease_until(newest)

    def hear(self, node: Node) -> Iterator[None]:
        """Take a notification and acknowledge it."""
        if not node.heard:
            return
        serial = node.heard.pop(0)
        yield
        if self.mistake != "what the processes do not know of yet is acknowledged":
            node.published = max(node.published, serial)
        yield
        row = self.rows.get(node.id)
        if row is not None:
            self.rows[node.id] = replace(row, acknowledged=max(row.acknowledged, serial))
        yield
        node.published = max(node.published, serial)

    def read(self, node: Node) -> Iterator[None]:
        """Answer a request, from memory if the lease lasts."""
        must_show, published = self.known, node.published
        yield
        if node.lease_until <= node.clock(self.now):
            return  # the database is asked
        yield
        if self.mistake != "memory is looked at before the lease is":
            published = node.published
        assert published >= must_show, f"{node.id} showed {published} after {must_show} was acknowledged"

    # --- a writer

    def write(self, own: Node | None, speed: float, *, is_there: bool) -> Iterator[None]:
        """Commit a change, or find that it is there already; wait; acknowledge."""
        rows = list(self.rows.values())
        yield
        if not is_there:
            self.newest += 1
            for node in self.nodes:
                node.heard.append(self.newest)
        serial = self.newest
        yield
        if own is not None:
            own.published = max(own.published, serial)
        yield
        if self.mistake != "the writer looks at the nodes before it commits":
            rows = list(self.rows.values())
        yield
        wait = Wait.begin(serial, rows, own=own.id if own else None, now=self.now * speed)
        while not self._is_over(wait, self.now * speed, is_there=is_there):
            yield
            rows = list(self.rows.values())
            yield
            wait = wait.look(rows)
        self.known = max(self.known, serial)
        for row in wait.dead(rows):
            yield
            found = self.rows.get(row.id)
            is_renewed = found is None or found.renewal != row.renewal
            if not is_renewed or self.mistake == "a row is removed although it was renewed":
                self.rows.pop(row.id, None)

    def _is_over(self, wait: Wait, now: float, *, is_there: bool) -> bool:
        if self.mistake == "the writer waits for less than a lease":
            now += LEASE_SECONDS / 4
        return (
            wait.is_over(now)
            or self.mistake == "the writer waits for nobody"
            or (is_there and self.mistake == "a change that was there already is acknowledged at once")
        )


def play(seed: int, *, mistake: str | None = None) -> None:
    """One schedule; an AssertionError when somebody was shown less than was acknowledged before."""
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    nodes = [Node(f"node {number}", chance.choice(SPEEDS)) for number in range(chance.choice((1, 2, 2, 3)))]
    world = World(nodes, mistake)
    for _ in range(STEPS):
        node, what = chance.choice(nodes), chance.random()
        if what < 0.08:
            world.procedures.append(world.renew(node))
        elif what < 0.16:
            world.procedures.append(world.hear(node))
        elif what < 0.18:
            node.heard.clear()  # its connection was lost
        elif what < 0.25:
            own, speed = chance.choice((None, node)), chance.choice(SPEEDS)
            world.procedures.append(world.write(own, speed, is_there=chance.random() < 0.3))
        elif what < 0.36:
            world.procedures.append(world.read(node))
        elif what < 0.44:
            world.now += chance.choice(PAUSES)
        else:
            world.go_on(chance.randrange(100), chance.choice((1, 1, 2, 3, 6)))


def play_all(schedules: int, *, mistake: str | None = None) -> None:
    for seed in range(schedules):
        play(seed, mistake=mistake)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("schedules", [1_000, pytest.param(100_000, marks=pytest.mark.torture)])
def test_nobody_is_shown_less_than_was_acknowledged_in_any_order_of_steps(
    schedules: int, figures: Figures
) -> None:
    play_all(schedules)
    figures("leases", schedules=schedules)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_schedules_find_each_mistake(mistake: str) -> None:
    with pytest.raises(AssertionError, match="was acknowledged"):
        play_all(20_000, mistake=mistake)


def test_no_lease_while_the_database_holds_an_older_state_than_memory() -> None:
    renewal = Renewal(sent_at=10.0, published=7)
    assert renewal.lease_until(6) == NO_LEASE
    assert 10.0 < renewal.lease_until(7) < 10.0 + LEASE_SECONDS
