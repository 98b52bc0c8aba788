"""The mirrors of one process: ask upstream for pages that are no longer fresh, and store the answers.

Each page is asked for once at a time, however many clients wait for it (``flights``). If upstream is slow or
fails, a client for whom an older page is here waits at most ``STALE_AFTER_SECONDS``; an upstream that asks to
be left alone is left alone. Names that upstream does not have are remembered in memory only, and only a
limited number of them, because anybody may ask for any name.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from conveyor.domain.indexes.mirror import ABSENT_FOR, unsized
from conveyor.errors import NotFound, UpstreamBusy, UpstreamFailed
from conveyor.operations.indexes.mirror import store_page
from conveyor.operations.indexes.pages import find_page
from conveyor.server.memory.flights import Flights
from conveyor.server.mirror.downloads import Downloads
from conveyor.server.mirror.sidecars import Sidecars
from conveyor.server.mirror.sizes import Sizes

if TYPE_CHECKING:
    from datetime import datetime

    from packaging.utils import NormalizedName

    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.domain.people.access import Identity
    from conveyor.operations.indexes.pages import DueMirror, FoundPage
    from conveyor.operations.store.store import Store
    from conveyor.upstream import Upstream

STALE_AFTER_SECONDS = 3.0
"""How long a client waits for a fresh page when an older one is here."""

RETRY_AFTER = timedelta(seconds=30)
"""How long an upstream that failed is left alone if an older page is here."""

MOST_PAUSES = 10_000
"""How many projects are remembered for which upstream need not be asked now: some 3 MB."""


class Mirroring:
    """The requests of one process to upstream, and its memory of the answers."""

    def __init__(self, store: Store, upstream: Upstream, *, file_limit_bytes: int) -> None:
        """``file_limit_bytes``: how large a mirrored file may be."""
        self._store = store
        self._upstream = upstream
        self._flights = Flights()
        self._pauses: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._rest: tuple[datetime, UpstreamBusy] | None = None
        self.sizes = Sizes(store, upstream, self._flights)
        self.downloads = Downloads(
            store, upstream, limit_bytes=file_limit_bytes, on_stored=self._look_into_stored
        )
        self.sidecars = Sidecars(store, upstream, self._flights, self.downloads)

    async def close(self) -> None:
        """Cancel the requests under way and close the connections; both begin again when needed."""
        await self._flights.close()
        await self.downloads.close()
        await self._upstream.close()

    def paused_until(self, index: str, project: str) -> datetime | None:
        """Until when the upstream need not be asked for a project again; ``None`` if it may be asked now.

        It need not be asked for a while after it failed, if an older page is here, or had no such project.
        """
        until = self._pauses.get((index, project))
        return until if until is not None and until > self._store.clock() else None

    async def freshen(self, project: NormalizedName, due: DueMirror) -> None:
        """Bring the stored page of a project up to date, or leave it if that fails or takes too long.

        Raises:
            UpstreamFailed: it failed, and there is no stored page to show instead.
        """
        busy = self._busy()
        if busy is not None and due.known is None:
            raise busy
        if busy is not None:
            self._pause(due.index, project, RETRY_AFTER)
            return
        flight = self._flights.join(("page", due.index, project), lambda: self._fetch_page(project, due))
        if due.known is None:
            await flight.landed()
        elif not await flight.landed_within(STALE_AFTER_SECONDS) and flight.has_failed:
            self._pause(due.index, project, RETRY_AFTER)

    async def has_project(self, project: NormalizedName) -> bool:
        """Whether upstream has a project of that name, which somebody wants to claim.

        Raises:
            UpstreamFailed: it cannot be asked.
        """
        busy = self._busy()
        if busy is not None:
            raise busy
        flight = self._flights.join(("name", project), lambda: self._upstream.has_project(project))
        try:
            return await flight.landed()
        except UpstreamFailed as error:
            raise UpstreamFailed(
                f"{project} is new here, and upstream cannot be asked for that name: {error.message}",
                hint="try again later, or ask an administrator to claim the name: "
                f"conveyor store claim {project}",
            ) from error

    async def keep(self, file: MirroredFile) -> None:
        """Fetch a file and store it; raises UpstreamFailed, NotFound or StorageFailed."""
        with self.downloads.follow(file) as follower:
            await follower.begun()
            await follower.stored()

    async def _fetch_page(self, project: NormalizedName, due: DueMirror) -> None:
        etag = due.known.etag if due.known is not None and due.known.is_present else None
        try:
            page = await self._upstream.fetch_page(project, etag=etag)
        except UpstreamBusy as busy:
            self._rest = (self._store.clock() + timedelta(seconds=busy.retry_after_seconds), busy)
            raise
        files = await asyncio.to_thread(store_page, self._store, due.index, project, page)
        if page is None:
            self._pause(due.index, project, ABSENT_FOR)
        missing = unsized(files)
        if missing:
            await self.sizes.fill(due.index, project, missing)

    def _busy(self) -> UpstreamBusy | None:
        """The error to answer with while the upstream wants to be left alone; ``None`` if it may be asked."""
        if self._rest is None:
            return None
        until, busy = self._rest
        left = (until - self._store.clock()).total_seconds()
        return UpstreamBusy(busy.message, retry_after_seconds=max(1, round(left))) if left > 0 else None

    def _pause(self, index: str, project: str, duration: timedelta) -> None:
        self._pauses[index, project] = self._store.clock() + duration
        self._pauses.move_to_end((index, project))
        if len(self._pauses) > MOST_PAUSES:
            self._pauses.popitem(last=False)

    def _look_into_stored(self, file: MirroredFile) -> None:
        self._flights.behind(self.sidecars.note_stored(file))


class PageFinder:
    """Finds project pages, brought up to date as far as that is possible; one per process."""

    def __init__(self, store: Store, mirroring: Mirroring) -> None:
        self._store = store
        self._mirroring = mirroring

    async def find(self, index: str, project: NormalizedName, reader: Identity | None = None) -> FoundPage:
        """The page of a project as readers of an index see it; the caller has been checked to be a reader.

        ``reader`` is a caller who may not read the whole index; ``None`` stands for all other readers. The
        page may be older than it should be: then ``fresh_until`` says when it is worth asking again.

        Raises:
            NotFound: there is no such index, or it shows no such project.
            UpstreamFailed: a mirror was never asked for the project and cannot be asked now.
        """
        found = await asyncio.to_thread(find_page, self._store, index, project, reader)
        asked = [due for due in found.due if self._mirroring.paused_until(due.index, project) is None]
        if asked:
            await asyncio.gather(*(self._mirroring.freshen(project, due) for due in asked))
            found = await asyncio.to_thread(find_page, self._store, index, project, reader)
        if not found.exists:
            raise NotFound(f'there is no project {project} in index "{index}"')
        if not found.due:
            return found
        again = [self._mirroring.paused_until(due.index, project) or self._store.clock() for due in found.due]
        return replace(found, fresh_until=min(again))
