"""A store: all of it as one value that every operation is handed, and who waits for a change of it.

What leading means is in ``operations.store.shared_commits``.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from conveyor.errors import StorageFailed
from conveyor.operations.store.descriptions import DescriptionRenderer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from conveyor.blobs import BlobStore
    from conveyor.catalog.database.events import Change
    from conveyor.catalog.database.serials import NewestSerial

ADMIN = "admin"
"""The user that every store has: an administrator."""


Result = TypeVar("Result")


def _not_done() -> Exception:
    return StorageFailed(
        "the change was not stored: the thread that was to write it has ended", hint="try again"
    )


@dataclass(eq=False)
class Waiter(Generic[Result]):
    """Somebody who waits for a change."""

    actor: str
    work: Callable[[Change], Result]
    woken: threading.Event = field(default_factory=threading.Event)
    """Set when its work has ended, or when it is to lead."""
    has_ended: bool = False
    result: Result | None = None
    error: Exception | None = field(default_factory=_not_done)
    """``None`` only after the commit."""


class Waiting:
    """Those who wait in one process, in the order they came. One leads, as long as anybody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: deque[Waiter[object]] = deque()
        self._is_led = False

    def join(self, waiter: Waiter[Result]) -> bool:
        """Wait with the others; true: come first by now, and lead; false: the work has ended."""
        with self._lock:
            self._waiters.append(cast("Waiter[object]", waiter))
            if not self._is_led:
                self._is_led = True
                return True
        waiter.woken.wait()
        return not waiter.has_ended

    def take(self, most: int) -> list[Waiter[object]]:
        """Those who wait, for the leader to do their work; the leader itself came first."""
        with self._lock:
            return [self._waiters.popleft() for _ in range(min(most, len(self._waiters)))]

    def leave(self) -> None:
        """End leading, and wake who is first now."""
        with self._lock:
            self._is_led = bool(self._waiters)
            if self._waiters:
                self._waiters[0].woken.set()


@dataclass(frozen=True)
class Store:
    """All that an operation needs; made by ``open_store``, ended by ``close_store``."""

    data: Path
    """The store's folder; catalogue and blobs may lie elsewhere."""
    catalog: Engine
    blobs: BlobStore
    newest: NewestSerial
    clock: Callable[[], datetime]
    descriptions: DescriptionRenderer = field(default_factory=DescriptionRenderer)
    waiting: Waiting = field(default_factory=Waiting)
    """Who waits for a change of this process; see ``operations.store.shared_commits``."""


def now() -> datetime:
    """The time, in UTC: the clock of every store that serves."""
    return datetime.now(UTC)
