"""Answers kept in memory, dropped as soon as a change touches them.

One number decides: the serial of the newest change that was taken into account here. As long as it equals
the store's newest serial (two words of shared memory), everything kept is as new as the catalogue. When it
does not, the events in between are read once and what they touch is dropped (rule 3 of the design).

An answer carries the serial of the snapshot it was made from. One that is older than what was dropped
meanwhile is sent, but not kept: the drop that it needed may be past already.

The event loop alone changes what is kept. Other threads may look: ``is_current`` and ``Cache.get`` read, and
leave nothing behind but a mark that an answer was of use.
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
    """What a cache has to know of an answer."""

    is_used: bool
    """Whether it was looked up since it was last weighed against the others."""

    @property
    def project(self) -> str | None:
        """The project whose changes touch it; ``None``: a list of projects."""

    @property
    def serial(self) -> int:
        """Serial of the snapshot it was made from."""

    @property
    def weight_bytes(self) -> int:
        """How many bytes of memory it holds."""


Answer = TypeVar("Answer", bound=Kept)

OVERHEAD_BYTES = 1024
"""What an entry weighs beside what it says itself: keys, marks, places in tables (measured: 790 bytes)."""


class Cache(Generic[Answer]):
    """Answers by path; when there are too many bytes, those go that were not used since their last turn."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._weight_bytes = 0
        self._entries: OrderedDict[str, Answer] = OrderedDict()
        self._paths: dict[str | None, set[str]] = {}
        self._weights: dict[str, int] = {}

    def get(self, path: str) -> Answer | None:
        """What is kept for a path."""
        entry = self._entries.get(path)
        if entry is not None:
            entry.is_used = True
        return entry

    def put(self, path: str, answer: Answer) -> None:
        """Keep an answer, or weigh one again that has grown."""
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
        """Forget a path; one that is not kept is fine."""
        answer = self._entries.pop(path, None)
        if answer is None:
            return
        self._weight_bytes -= self._weights.pop(path)
        paths = self._paths[answer.project]
        paths.discard(path)
        if not paths:
            del self._paths[answer.project]

    def apply(self, touched: Touched) -> None:
        """Drop what changes have touched since it was made; lists of projects (``None``) by any change."""
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
        """Drop what has changed before this call; returns at once when nothing has. Raises StorageFailed."""
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
