"""Changes that share a commit: those that wait for their turn to write at the same time are synced together.

A commit is one sync of the database's log, however much it holds, and only one is under way at a time: SQLite
has one writer, and on PostgreSQL changes stand in line for their serials. So each waiting thread brings its
work as a function, and one of them, the leader, carries out the work of all:

1. it takes the turn to write;
2. in one transaction it does the work of every thread that waits by then, one after the other;
3. it commits: all of it is durable, or none of it, and each thread gets the outcome of its own work;
4. it wakes the first of the threads that came meanwhile, which becomes the next leader.

An error in one work does not affect another. When a work raises, for whatever reason, the transaction is
rolled back, and each work is done again in a transaction of its own. When the commit fails, it fails for all.

On PostgreSQL all other writers wait from the first serial on until the commit. So the rows of all works are
written first, which need no serial; then the serials of all are taken at once, and their events written. A
work that others may affect comes after their events.

There, every change locks its project first and takes its serial last. A leader that has taken a serial may
want the project of a change that waits for one. So it waits only briefly; then each work is done alone.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeVar, cast

from conveyor.catalog.database.connection import wait_briefly
from conveyor.catalog.database.serials import next_serial
from conveyor.catalog.database.statements import pipelined
from conveyor.operations.store.store import Waiter, record_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.catalog.database.events import Change
    from conveyor.operations.store.store import Prepared, Store

MOST_TOGETHER = 64
"""How many changes share a commit: the first of them waits for the last."""

Result = TypeVar("Result")


def record_together(
    store: Store, *, actor: str, work: Callable[[Change], Prepared[Result]], key: str | None
) -> Result:
    """The result of ``work``, done in a write transaction that others may share; durable on return.

    Works with different keys must not affect each other; any other may affect a work without a key. ``work``
    may be called twice, and must do nothing but run each ``Statement`` with the connection of its change:
    on PostgreSQL it is ``pipelined``.

    Raises:
        Conflict, StorageFailed: as ``record_change``.
        Exception: any error that ``work`` raises; then nothing of it was stored.
    """
    waiter = Waiter(actor, work, key)
    if store.waiting.join(waiter):
        _lead(store)
    if waiter.error is not None:
        raise waiter.error
    return cast("Result", waiter.result)


class _WorkFailed(Exception):
    """One of the works raised in a shared transaction."""


def _lead(store: Store) -> None:
    together = store.waiting.take(1)
    try:
        _do_together(store, together)
    except _WorkFailed:
        for waiter in together:
            _do_alone(store, waiter)
    except Exception as error:  # noqa: BLE001 - no turn, or no commit: that is so for all of them
        for waiter in together:
            waiter.error = copy(error)  # each raises its own: a traceback is of one thread
            waiter.error.__cause__ = error
    finally:  # also when this thread is interrupted: ``Waiter.error`` tells the others
        store.waiting.leave()
        for waiter in together:
            waiter.has_ended = True
            waiter.woken.set()


def _do_together(store: Store, together: list[Waiter[object]]) -> None:
    """Take the turn to write, then do the work of everyone waiting; raises _WorkFailed."""
    with record_changes(store) as begin:
        together += store.waiting.take(MOST_TOGETHER - 1)
        try:
            _do_each(together, begin)
        except Exception as error:
            raise _WorkFailed from error
    for waiter in together:
        waiter.error = None


def _do_each(together: list[Waiter[object]], begin: Callable[[str], Change]) -> None:
    """Do the works in order: of each group first all rows, then all events."""
    for group in _groups(together):
        changes = [begin(waiter.actor) for waiter in group]
        with pipelined(changes[0].connection):
            prepared = []
            for change, waiter in zip(changes, group, strict=True):
                prepared.append(waiter.work(change))
                if waiter is together[0] and len(together) > 1:
                    wait_briefly(change.connection)
            _show(changes, prepared)
        for waiter, one in zip(group, prepared, strict=True):
            waiter.result = one.result


def _groups(together: list[Waiter[object]]) -> Iterator[list[Waiter[object]]]:
    """The works in order; those in one group do not affect each other."""
    group: list[Waiter[object]] = []
    for waiter in together:
        keys = [one.key for one in group]
        if group and (waiter.key is None or None in keys or waiter.key in keys):
            yield group
            group = []
        group.append(waiter)
    yield group


def _show(changes: list[Change], prepared: list[Prepared[object]]) -> None:
    """Record the events of changes whose rows are written; their serials are taken together."""
    shown = [(change, one.show) for change, one in zip(changes, prepared, strict=True) if one.show]
    if not shown:
        return
    first = next_serial(shown[0][0].connection, len(shown))
    for serial, (change, show) in enumerate(shown, first):
        change.reserved = serial
        show()


def _do_alone(store: Store, waiter: Waiter[object]) -> None:
    try:
        with record_changes(store) as begin:
            _do_each([waiter], begin)
    except Exception as error:  # noqa: BLE001 - the waiting thread raises it
        waiter.error = error
    else:
        waiter.error = None
