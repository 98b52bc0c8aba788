"""The newest serial, for handlers: known at once from shared memory, or asked of the database in a thread.

A request may only rely on a serial that was asked for *after* the request arrived; else a change that was
acknowledged just before it could be missing from its answer (rule 3 of the design). So who comes while a
question is under way does not get its answer, but waits for the next one, together with everybody else who
came meanwhile. There is one question at a time, however many requests wait, and the event loop never does.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from conveyor.operations.store.store import newest_change

if TYPE_CHECKING:
    from conveyor.operations.store.store import Store


class Newest:
    """Tells the newest serial; one per process, ended with ``close``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # A thread of its own: those that everybody shares may all be busy with uploads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="newest-serial")
        self._asked: asyncio.Task[int] | None = None
        """The question under way; its answer is too old for whoever comes now."""
        self._next: asyncio.Task[int] | None = None
        """The question that waits for it to end, and for which everybody may still wait."""

    def peek(self) -> int | None:
        """The newest serial, if it is known without asking; for any thread."""
        return self._store.newest.peek()

    async def read(self) -> int:
        """The newest serial, no older than this call. Raises StorageFailed."""
        known = self.peek()
        if known is not None:
            return known
        if self._next is None:
            self._next = asyncio.create_task(self._ask(after=self._asked))
        return await asyncio.shield(self._next)

    async def _ask(self, *, after: asyncio.Task[int] | None) -> int:
        if after is not None:
            await asyncio.wait({after})
        self._asked, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._thread, newest_change, self._store)

    def close(self) -> None:
        """End the thread, after the question under way."""
        self._thread.shutdown()
