"""Answers kept in memory, dropped as soon as a change touches them.

One number decides: the serial of the newest change that was taken into account here. As long as it equals
the store's newest serial (two words of shared memory), everything kept is as new as the catalogue. When it
does not, the events in between are read once and the answers they touch are dropped (rule 3 of the design).

An answer carries the serial of the snapshot it was made from. If it is older than the newest drop, it is sent
but not kept: the drop that would have removed it may already have happened.

Only the event loop changes the caches. Other threads may look: ``is_current`` and ``Cache.get`` only read,
apart from a mark that an answer was used.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from conveyor.operations.indexes.pages import touched_since
from conveyor.operations.store.store import newest_change

if TYPE_CHECKING:
    from conveyor.operations.indexes.pages import Touched
    from conveyor.operations.store.store import Store
    from conveyor.server.memory.newest import Newest


class Kept(Protocol):
    """The facts about an answer that a cache needs."""

    is_used: bool
    """Whether it was looked up since it was last weighed against the others."""

    @property
    def project(self) -> str | None:
        """The project whose changes touch it; ``None`` for a list of projects."""

    @property
    def serial(self) -> int:
        """Serial of the snapshot it was made from."""

    @property
    def weight_bytes(self) -> int:
        """How many bytes of memory it holds."""


Answer = TypeVar("Answer", bound=Kept)

OVERHEAD_BYTES = 1024
"""Memory of an entry besides its own size: keys, marks, places in tables (measured: 790 bytes)."""


class Cache(Generic[Answer]):
    """Answers by path; when they take too many bytes, those not used since their last turn are dropped."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._weight_bytes = 0
        self._entries: OrderedDict[str, Answer] = OrderedDict()
        self._paths: dict[str | None, set[str]] = {}
        self._weights: dict[str, int] = {}

    def get(self, path: str) -> Answer | None:
        """The answer kept for a path."""
        entry = self._entries.get(path)
        if entry is not None:
            entry.is_used = True
        return entry

    def put(self, path: str, answer: Answer) -> None:
        """Keep an answer, or weigh again one that has grown."""
        self.drop(path)
        weight = answer.weight_bytes + OVERHEAD_BYTES
        if weight > self._limit_bytes:
            return
        self._entries[path] = answer
        self._weights[path] = weight
        self._weight_bytes += weight
        self._paths.setdefault(answer.project, set()).add(path)
        while self._weight_bytes > self._limit_bytes:
            oldest, entry = next(iter(self._entries.items()))
            if entry.is_used or oldest == path:  # a second chance, once per use, and never out at once
                entry.is_used = False
                self._entries.move_to_end(oldest)
            else:
                self.drop(oldest)

    def drop(self, path: str) -> None:
        """Forget a path, if it is kept."""
        answer = self._entries.pop(path, None)
        if answer is None:
            return
        self._weight_bytes -= self._weights.pop(path)
        paths = self._paths[answer.project]
        paths.discard(path)
        if not paths:
            del self._paths[answer.project]

    def apply(self, touched: Touched) -> None:
        """Drop answers that changes have touched; any change touches lists of projects (``None``)."""
        if touched.projects:
            self._drop_older(None, max(touched.projects.values()))
        for project, serial in touched.projects.items():
            self._drop_older(project, serial)
        if touched.everything:
            for key in list(self._paths):
                self._drop_older(key, touched.everything)

    def clear(self) -> None:
        """Forget all."""
        for path in list(self._entries):
            self.drop(path)

    def _drop_older(self, project: str | None, serial: int) -> None:
        for path in list(self._paths.get(project, ())):
            if self._entries[path].serial < serial:
                self.drop(path)


class Freshness:
    """Keeps the caches of one process in step with the catalogue."""

    def __init__(self, store: Store, newest: Newest) -> None:
        self._store = store
        self._newest = newest
        self.applied = newest_change(store)
        """Serial of the newest change that the caches took into account."""
        self._caches: list[Cache[Kept]] = []
        self._catching_up = asyncio.Lock()

    def new_cache(self, kind: type[Answer], limit_bytes: int) -> Cache[Answer]:
        """A cache that is kept in step from now on."""
        del kind
        cache: Cache[Answer] = Cache(limit_bytes)
        self._caches.append(cache)  # type: ignore[arg-type]  # only dropped from, never filled, through this list
        return cache

    def is_current(self) -> bool:
        """Whether everything kept is known, without asking, to be as new as the catalogue."""
        return self._newest.peek() == self.applied

    async def catch_up(self) -> None:
        """Drop answers that changes before this call have outdated; quick if there are none.

        Raises:
            StorageFailed: the catalogue cannot be read.
        """
        before = self.applied
        newest = await self._newest.read()
        if newest == self.applied:
            return
        async with self._catching_up:
            if newest > self.applied:
                touched = await asyncio.to_thread(touched_since, self._store, self.applied)
                for cache in self._caches:
                    cache.apply(touched)
                self.applied = touched.serial
            elif newest < min(before, self.applied):  # an older state was restored
                for cache in self._caches:
                    cache.clear()
                self.applied = newest

    def may_keep(self, serial: int) -> bool:
        """Whether an answer made from a snapshot of this serial may be kept."""
        return serial >= self.applied
