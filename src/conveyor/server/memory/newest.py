"""The newest serial, for handlers: known at once from shared memory, or asked of the database in a thread.

A request must only rely on a serial that was asked for *after* the request arrived; else a change that was
acknowledged just before it could be missing from its answer (rule 3 of the design). So a request that comes
while a query is under way does not use its result, but waits for the next query, together with all others
that came meanwhile. There is one query at a time, however many requests wait; the event loop never waits.
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
        # A thread of its own: the shared threads may all be busy with uploads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="newest-serial")
        self._asked: asyncio.Task[int] | None = None
        """The query under way; its result is too old for requests that come now."""
        self._next: asyncio.Task[int] | None = None
        """The next query, which begins when that one ends; requests can still join it."""

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
        """End the thread, after the query under way."""
        self._thread.shutdown()
