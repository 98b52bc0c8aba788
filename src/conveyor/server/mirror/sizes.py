"""Asks file servers for the sizes and times of files whose pages do not state them.

The first answer about a project waits a moment for them; the others are asked for afterwards, in the
background, and stored from time to time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from conveyor.errors import UpstreamFailed
from conveyor.operations.indexes.mirror import store_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.utils import NormalizedName

    from conveyor.domain.indexes.mirror import FileFacts, MirroredFile
    from conveyor.operations.store.store import Store
    from conveyor.server.memory.flights import Flights
    from conveyor.upstream import Upstream

SIZES_SECONDS = 0.4
"""How long the first answer about a project waits for sizes: some 250 of them, newest versions first, which
is all there are for most projects. An installer that resolves one project after the other waits as often as
there are projects."""

SIZES_AT_ONCE = 64
"""Requests under way while a client waits. One takes about 80 ms on the way and 0.8 ms here: measured
with the public index, 32 gave 380 a second, 64 gave 700, 128 no more."""

SIZES_AT_ONCE_BEHIND = 4
"""While nobody waits, some 50 a second: the clients that install meanwhile need the processor."""

SIZES_FAILURES = 5
"""After so many refusals and no answer, the file server does not do HEAD."""

SIZES_STORED_EVERY_SECONDS = 5.0


class Sizes:
    """The size requests of one process."""

    def __init__(self, store: Store, upstream: Upstream, flights: Flights) -> None:
        self._store = store
        self._upstream = upstream
        self._flights = flights
        self._asking = asyncio.Semaphore(SIZES_AT_ONCE)
        self._asking_behind = asyncio.Semaphore(SIZES_AT_ONCE_BEHIND)

    async def of(self, file: MirroredFile) -> int | None:
        """The size of one file, as stated by its server; ``None`` if the server does not state it either."""
        facts = await self._upstream.file_facts(file)
        return facts.size_bytes

    async def fill(self, index: str, project: NormalizedName, files: Sequence[MirroredFile]) -> None:
        """Store sizes of a project's files: as many as time allows before the answer, the rest after it."""
        facts: list[FileFacts] = []
        asking = self._flights.behind(self._ask(files, facts))
        await asyncio.wait({asking}, timeout=SIZES_SECONDS)
        await self._take(index, project, facts)
        if not asking.done():
            self._flights.behind(self._finish(asking, index, project, facts))

    async def _finish(
        self, asking: asyncio.Task[None], index: str, project: NormalizedName, facts: list[FileFacts]
    ) -> None:
        while not asking.done():
            await asyncio.wait({asking}, timeout=SIZES_STORED_EVERY_SECONDS)
            await self._take(index, project, facts)

    async def _take(self, index: str, project: NormalizedName, facts: list[FileFacts]) -> None:
        taken = facts[:]
        facts.clear()
        if taken:
            await asyncio.to_thread(store_facts, self._store, index, project, taken)

    async def _ask(self, files: Sequence[MirroredFile], facts: list[FileFacts]) -> None:
        waiting = deque(files)
        answers = failures = 0
        first_answer_at = time.monotonic() + SIZES_SECONDS

        async def ask() -> None:
            nonlocal answers, failures
            while waiting and (answers or failures < SIZES_FAILURES):
                file = waiting.popleft()
                is_behind = time.monotonic() > first_answer_at
                async with self._asking_behind if is_behind else self._asking:
                    try:
                        facts.append(await self._upstream.file_facts(file))
                        answers += 1
                    except UpstreamFailed:
                        failures += 1

        await asyncio.gather(*(ask() for _ in range(min(SIZES_AT_ONCE, len(files)))))
