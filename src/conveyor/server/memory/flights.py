"""Work that several clients wait for: done once at a time for each key, and logged when it fails.

A client that leaves does not stop it: the next one finds it under way, or done. Only work that strangers
could pile up, such as checks of passwords, is dropped by its owner when nobody waits for it any more.

Two other places share work and differ on purpose: a question for the newest serial (``newest`` here,
``NodeSerials`` in ``catalog.database.nodes``) is not joined once it has begun, because its answer would be
too old for a client that comes now.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog

from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

Result = TypeVar("Result")


class UnderWay(Protocol):
    """Work that others may join; whatever else it offers, its task tells when it ends."""

    @property
    def task(self) -> asyncio.Task[Any]:
        """The task that does the work."""


Work = TypeVar("Work", bound=UnderWay)


@dataclass(frozen=True)
class Flight(Generic[Result]):
    """One piece of work under way."""

    task: asyncio.Task[Result]
    started: float
    """By ``time.monotonic``."""

    async def landed(self) -> Result:
        """Its result; cancelling a waiting caller does not affect the work."""
        return await asyncio.shield(self.task)

    async def landed_within(self, seconds: float) -> bool:
        """Whether it succeeded within so many seconds of its start; ``False`` too if it is still running."""
        left = self.started + seconds - time.monotonic()
        done, _ = await asyncio.wait({self.task}, timeout=max(left, 0.0))
        return bool(done) and not self.has_failed

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class Flights:
    """Work of one kind under way in one process: at most one for each key."""

    def __init__(self, *, is_logged: bool = True) -> None:
        """``is_logged``: log failures; off where they are ordinary and all waiting callers get the error."""
        self._by_key: dict[Hashable, Any] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._is_logged = is_logged

    def join(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, Result]]) -> Flight[Result]:
        """The work under way for a key, or new work from ``begin``."""
        return self.board(key, lambda: Flight(asyncio.create_task(begin()), time.monotonic()))

    def board(self, key: Hashable, start: Callable[[], Work]) -> Work:
        """The work under way for a key, or new work from ``start``; always of the same class for a key."""
        work: Work | None = self._by_key.get(key)
        if work is None:
            work = self._by_key[key] = start()
            work.task.add_done_callback(partial(self._landed, key, work))
        return work

    def drop(self, key: Hashable, work: UnderWay) -> None:
        """Cancel work that nobody waits for; a client that comes now starts it anew."""
        if self._by_key.get(key) is work:
            del self._by_key[key]
        work.task.cancel()

    def behind(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that nobody has to wait for."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_note_failure)
        return task

    async def close(self) -> None:
        """Cancel everything; work begins again when somebody asks for it."""
        tasks = [*self._background, *(work.task for work in self._by_key.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: Hashable, work: UnderWay, ended: asyncio.Task[Any]) -> None:
        if self._by_key.get(key) is work:
            del self._by_key[key]
        if self._is_logged:
            _note_failure(ended)
        elif not ended.cancelled():
            ended.exception()  # retrieved, so that the event loop does not complain that nobody did


def _note_failure(ended: asyncio.Task[Any]) -> None:
    """Log the error, even if all clients have left: ours in one line, a bug with its traceback."""
    error = None if ended.cancelled() else ended.exception()
    if error is None:
        return
    log = structlog.get_logger("conveyor.flights")
    if isinstance(error, ConveyorError):
        log.warning("work failed", reason=error.message)
    else:
        log.error("unexpected error", exc_info=error)
