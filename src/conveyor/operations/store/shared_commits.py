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

On PostgreSQL all other writers wait from the first serial on until the commit. So a work may come in two
parts: the rows of all works are written first, which need no serial, and then the events of all. A work that
others may affect comes after their second parts.

There, every change locks its project first and takes its serial last. A leader that has taken a serial may
want the project of a change that waits for one. So it waits only briefly; then each work is done alone.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeVar, cast

from conveyor.catalog.database.connection import wait_briefly
from conveyor.operations.store.store import Waiter, record_change, record_changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.catalog.database.events import Change
    from conveyor.operations.store.store import Store

MOST_TOGETHER = 64
"""How many changes share a commit: the first of them waits for the last."""

Result = TypeVar("Result")


def record_together(store: Store, *, actor: str, work: Callable[[Change], Result]) -> Result:
    """The result of ``work``, done in a write transaction that others may share; durable on return.

    ``work`` may be called twice, and must do nothing but read and write with the connection of its change.

    Raises:
        Conflict, StorageFailed: as ``record_change``.
        Exception: any error that ``work`` raises; then nothing of it was stored.
    """

    def whole(change: Change) -> Callable[[], Result]:
        result = work(change)
        return lambda: result

    return record_in_parts(store, actor=actor, work=whole, key=None)


def record_in_parts(
    store: Store, *, actor: str, work: Callable[[Change], Callable[[], Result]], key: str | None
) -> Result:
    """As ``record_together``; ``work`` does what needs no serial, and returns a function for the rest.

    Works with different keys must not affect each other; any other may affect a work without a key.
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
    """Do the works in order; second parts come last, or before a work that they may affect."""
    begun: dict[str | None, tuple[Waiter[object], Callable[[], object]]] = {}
    for number, waiter in enumerate(together):
        change = begin(waiter.actor)
        if number == 1:
            wait_briefly(change.connection)
        if waiter.key is None or waiter.key in begun:
            _finish(begun)
        begun[waiter.key] = waiter, waiter.work(change)
        if waiter.key is None:
            _finish(begun)
    _finish(begun)


def _finish(begun: dict[str | None, tuple[Waiter[object], Callable[[], object]]]) -> None:
    """Do the second parts of the works that have begun, in their order."""
    for waiter, rest in begun.values():
        waiter.result = rest()
    begun.clear()


def _do_alone(store: Store, waiter: Waiter[object]) -> None:
    try:
        with record_change(store, actor=waiter.actor) as change:
            waiter.result = waiter.work(change)()
    except Exception as error:  # noqa: BLE001 - the waiting thread raises it
        waiter.error = error
    else:
        waiter.error = None
