"""A store as one value that every operation takes; how it is read and changed, and the queue of its writers.

When the block of ``record_change`` ends normally, rows and events are committed and durable, and every
process of the store sees the new serial (rules 1-3 and 8 of the design). Any exception rolls all of it back.
Blobs are stored before the transaction begins, so that no row ever points at nothing.

``operations.store.shared_commits`` explains how one writer leads the others.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from conveyor.catalog.database.connection import asking, reading, storage_error, writing
from conveyor.catalog.database.events import Change
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, StorageFailed
from conveyor.operations.store.descriptions import DescriptionRenderer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from conveyor.blobs import BlobStore
    from conveyor.catalog.database.serials import NewestSerial

ADMIN = "admin"
"""The administrator that every store has."""


Result = TypeVar("Result")


def _not_done() -> Exception:
    return StorageFailed(
        "the change was not stored: the thread that was to write it has ended", hint="try again"
    )


@dataclass(frozen=True)
class Prepared(Generic[Result]):
    """A change but for its event: its rows are written, which needed no serial."""

    result: Result
    show: Callable[[], None] | None = None
    """Records one event, and writes what needs its serial; runs no other statement that returns rows."""


@dataclass(eq=False)
class Waiter(Generic[Result]):
    """A thread that waits for its change."""

    actor: str
    work: Callable[[Change], Prepared[Result]]
    key: str | None = None
    """Works with different keys do not affect each other; ``None``: it may be affected by any other."""
    woken: threading.Event = field(default_factory=threading.Event)
    """Set when its work has ended, or when it becomes the leader."""
    has_ended: bool = False
    result: Result | None = None
    error: Exception | None = field(default_factory=_not_done)
    """``None`` only after the commit."""


class Waiting:
    """The waiters of one process, in order of arrival. One of them leads as long as anybody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: deque[Waiter[object]] = deque()
        self._is_led = False

    def join(self, waiter: Waiter[Result]) -> bool:
        """Wait with the others; returns true to become the leader, false if the work has ended."""
        with self._lock:
            self._waiters.append(cast("Waiter[object]", waiter))
            if not self._is_led:
                self._is_led = True
                return True
        waiter.woken.wait()
        return not waiter.has_ended

    def take(self, most: int) -> list[Waiter[object]]:
        """The waiters whose work the leader does now, the leader itself first."""
        with self._lock:
            return [self._waiters.popleft() for _ in range(min(most, len(self._waiters)))]

    def leave(self) -> None:
        """Stop leading, and wake the first waiter."""
        with self._lock:
            self._is_led = bool(self._waiters)
            if self._waiters:
                self._waiters[0].woken.set()


@dataclass(frozen=True)
class Store:
    """Everything that an operation needs; made by ``open_store``, closed by ``close_store``."""

    data: Path
    """The store's folder; catalogue and blobs may be elsewhere."""
    catalog: Engine
    blobs: BlobStore
    newest: NewestSerial
    clock: Callable[[], datetime]
    public_url: str | None = None
    """The URL by which clients reach it, as configured; ``None``: nobody said."""
    descriptions: DescriptionRenderer = field(default_factory=DescriptionRenderer)
    waiting: Waiting = field(default_factory=Waiting)
    """The waiters for changes in this process; see ``operations.store.shared_commits``."""


def now() -> datetime:
    """The current time in UTC: the clock of every store that serves."""
    return datetime.now(UTC)


@contextmanager
def record_change(store: Store, *, actor: str) -> Iterator[Change]:
    """A write transaction; everything inside is one change, or none.

    Raises:
        Conflict: another process wrote the same row at the same time.
        StorageFailed: the database failed; nothing of the change is visible.
    """
    with record_changes(store) as begin:
        yield begin(actor)


@contextmanager
def record_changes(store: Store) -> Iterator[Callable[[str], Change]]:
    """One write transaction for any number of consecutive changes; the value begins one for an actor.

    All of them are stored, or none. Raises as ``record_change``.
    """
    changes: list[Change] = []
    announced: int | None = None
    with database_errors("the change was not stored"):
        try:
            with writing(store.catalog) as connection:

                def begin(actor: str) -> Change:
                    changes.append(Change(connection, actor=actor, at=utc_text(store.clock())))
                    return changes[-1]

                yield begin
                serials = [change.serial for change in changes if change.serial is not None]
                if serials:
                    announced = serials[-1]
                    store.newest.announce(announced)
        except BaseException:
            if announced is not None:
                # The commit failed: without this, readers ask the database until the next change.
                with suppress(SQLAlchemyError):
                    store.newest.repair()
            raise
        if announced is not None:
            store.newest.publish(announced)
        else:  # an existing row is acknowledged in the same way as a change
            store.newest.settle()


def newest_change(store: Store) -> int:
    """The serial of the newest change; may ask the database. Raises StorageFailed."""
    with database_errors("the newest serial cannot be read"):
        return store.newest.read()


@contextmanager
def read(store: Store) -> Iterator[Connection]:
    """A read transaction: one snapshot for all statements inside. Raises StorageFailed."""
    with database_errors("the catalogue cannot be read"), reading(store.catalog) as connection:
        yield connection


@contextmanager
def ask(store: Store) -> Iterator[Connection]:
    """A connection for one reading ``Statement``, outside any transaction. Raises StorageFailed."""
    with database_errors("the catalogue cannot be read"), asking(store.catalog) as connection:
        yield connection


@contextmanager
def database_errors(what: str) -> Iterator[None]:
    """Turn errors of the database into ours; ``what`` names the failure."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(
            f"{what}: somebody else changed the same thing at the same time",
            hint="look again, then try again",
        ) from error
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise storage_error(what, reason, hint="look at the database, then try again") from error
