"""Work that several clients wait for: done once at a time for each key, and logged when it fails.

A client that leaves does not stop it: the next one that asks finds it under way, or done.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

Result = TypeVar("Result")


@dataclass(frozen=True)
class Flight(Generic[Result]):
    """One piece of work under way."""

    task: asyncio.Task[Result]
    started: float
    """By ``time.monotonic``."""

    async def landed(self) -> Result:
        """Its result, when it is there; whoever waits may be cancelled without touching it."""
        return await asyncio.shield(self.task)

    async def landed_within(self, seconds: float) -> bool:
        """Whether it succeeded before it was so many seconds old; ``False`` also when it goes on."""
        left = self.started + seconds - time.monotonic()
        done, _ = await asyncio.wait({self.task}, timeout=max(left, 0.0))
        return bool(done) and not self.has_failed

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class Flights:
    """All work under way in one process."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Flight[Any]] = {}
        self._background: set[asyncio.Task[Any]] = set()

    def join(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, Result]]) -> Flight[Result]:
        """The work under way for a key, or what ``begin`` makes."""
        flight = self._by_key.get(key)
        if flight is None:
            flight = Flight(asyncio.create_task(begin()), time.monotonic())
            self._by_key[key] = flight
            flight.task.add_done_callback(lambda ended: self._landed(key, ended))
        return flight

    def behind(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that nobody has to wait for."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(note_failure)
        return task

    async def close(self) -> None:
        """Break off everything; it is begun anew when it is asked for again."""
        tasks = [*self._background, *(flight.task for flight in self._by_key.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: Hashable, ended: asyncio.Task[Any]) -> None:
        del self._by_key[key]
        note_failure(ended)


def note_failure(ended: asyncio.Task[Any]) -> None:
    """Log the failure of a task, also when the clients that waited for it have gone."""
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        note_error(error)


def note_error(error: BaseException) -> None:
    """Log an error that perhaps nobody waits for: one line for one of ours, a traceback for a bug."""
    log = structlog.get_logger("conveyor.flights")
    if isinstance(error, ConveyorError):
        log.warning("work failed", reason=error.message)
    else:
        log.error("unexpected error", exc_info=error)
