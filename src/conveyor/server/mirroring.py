"""Asks the upstream and hands what comes to one operation: pages, sizes, metadata, files.

Each thing is asked for once at a time, however many clients wait for it (single flight). An upstream that is
slow or fails costs a client that can be answered from memory at most ``STALE_AFTER_SECONDS``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import structlog

from conveyor.domain.mirror import unsized
from conveyor.domain.partial_wheels import TAIL_BYTES, MissingPart, PartialFile, read_wheel_metadata
from conveyor.errors import ConveyorError, InvalidDistribution, NotFound, UpstreamFailed
from conveyor.operations.mirror import store_facts, store_metadata, store_page
from conveyor.server.downloads import Download

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Sequence
    from datetime import datetime
    from typing import Any

    from packaging.utils import NormalizedName

    from conveyor.domain.mirror import FileFacts, MirroredFile
    from conveyor.operations.pages import DueMirror
    from conveyor.operations.store import Store
    from conveyor.upstream import Upstream

STALE_AFTER_SECONDS = 3.0
"""How long a client waits for a fresh page when an older one is here."""

RETRY_AFTER = timedelta(seconds=30)
"""How long an upstream that failed is left alone where an older page is here."""

SIZES_SECONDS = 0.4
"""How long the first answer about a project waits for sizes: some 250 of them, newest versions first, which
is all there are for most projects. An installer that resolves one project after the other waits as often as
there are projects."""

SIZES_AT_ONCE = 64
"""Questions under way while a client waits. A question takes about 80 ms on the way and 0.8 ms here: measured
with the public index, 32 gave 380 a second, 64 gave 700, 128 no more."""

SIZES_AT_ONCE_BEHIND = 4
"""While nobody waits, some 50 a second: the clients that install meanwhile need the processor."""

SIZES_FAILURES = 5
"""After so many refusals and no answer, the file server does not do HEAD."""

SIZES_STORED_EVERY_SECONDS = 5.0
METADATA_PARTS = 8
"""Parts of a wheel fetched for its metadata before its structure is called hopeless."""

Result = TypeVar("Result")


class Mirroring:
    """The mirrors of one process."""

    def __init__(self, store: Store, upstream: Upstream) -> None:
        self._store = store
        self._upstream = upstream
        self._flights: dict[Hashable, tuple[asyncio.Task[Any], float]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._downloads: dict[str, Download] = {}
        self._retry_at: dict[tuple[str, str], datetime] = {}
        self._asking = asyncio.Semaphore(SIZES_AT_ONCE)
        self._asking_behind = asyncio.Semaphore(SIZES_AT_ONCE_BEHIND)

    async def close(self) -> None:
        """Break off what is under way and close the connections; it is begun anew when asked for again."""
        tasks = [*self._background, *(task for task, _ in self._flights.values())]
        tasks += [download.task for download in self._downloads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._upstream.close()

    # --- pages -------------------------------------------------------------------------------------------

    def retry_at(self, index: str, project: str) -> datetime | None:
        """When an upstream that failed for this project is asked again; ``None``: it did not fail lately."""
        at = self._retry_at.get((index, project))
        return at if at is not None and at > self._store.clock() else None

    async def freshen(self, project: NormalizedName, due: DueMirror) -> None:
        """Bring what is remembered of a project up to date, or leave it when that fails or takes too long.

        Raises:
            UpstreamFailed: and nothing is remembered that could be shown instead.
        """
        flight, started = self._fly(("page", due.index, project), lambda: self._fetch_page(project, due))
        if due.known is None:
            await asyncio.shield(flight)
            return
        left = started + STALE_AFTER_SECONDS - time.monotonic()
        done, _ = await asyncio.wait({flight}, timeout=max(left, 0.0))
        if flight in done and (flight.cancelled() or flight.exception() is not None):
            if len(self._retry_at) > 10_000:
                self._retry_at.clear()
            self._retry_at[due.index, project] = self._store.clock() + RETRY_AFTER

    async def _fetch_page(self, project: NormalizedName, due: DueMirror) -> None:
        etag = due.known.etag if due.known is not None and due.known.is_present else None
        page = await self._upstream.fetch_page(project, etag=etag)
        stored = await asyncio.to_thread(store_page, self._store, due.index, project, page)
        missing = unsized(stored.files)
        if missing:
            await self._fill_sizes(due.index, project, missing)

    async def _fill_sizes(self, index: str, project: NormalizedName, files: Sequence[MirroredFile]) -> None:
        """Ask the file servers for sizes: as many as time allows before answering, the rest behind it."""
        facts: list[FileFacts] = []
        asking = asyncio.create_task(self._ask_sizes(files, facts))
        self._background.add(asking)
        asking.add_done_callback(self._background.discard)
        await asyncio.wait({asking}, timeout=SIZES_SECONDS)
        await self._take_sizes(index, project, facts)
        if not asking.done():
            self._in_background(self._finish_sizes(asking, index, project, facts))

    async def _finish_sizes(
        self, asking: asyncio.Task[None], index: str, project: NormalizedName, facts: list[FileFacts]
    ) -> None:
        while not asking.done():
            await asyncio.wait({asking}, timeout=SIZES_STORED_EVERY_SECONDS)
            await self._take_sizes(index, project, facts)

    async def _take_sizes(self, index: str, project: NormalizedName, facts: list[FileFacts]) -> None:
        taken = facts[:]
        facts.clear()
        if taken:
            await asyncio.to_thread(store_facts, self._store, index, project, taken)

    async def _ask_sizes(self, files: Sequence[MirroredFile], facts: list[FileFacts]) -> None:
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

    # --- metadata and files ------------------------------------------------------------------------------

    async def metadata(self, file: MirroredFile) -> str:
        """The digest of a mirrored file's core metadata, which is among the blobs afterwards.

        Raises:
            NotFound: it has none.
            UpstreamFailed: it can not be had now.
        """
        if file.metadata_sha256 is not None:
            is_here = await asyncio.to_thread(self._store.blobs.has, file.metadata_sha256)
            if is_here:
                return file.metadata_sha256
        key = ("metadata", file.sha256, file.filename)
        flight, _ = self._fly(key, lambda: self._fetch_metadata(file))
        return await asyncio.shield(flight)

    async def _fetch_metadata(self, file: MirroredFile) -> str:
        content = await self._upstream_metadata(file)
        if content is None:
            content = await self._metadata_in_wheel(file)
        return await asyncio.to_thread(store_metadata, self._store, file, content)

    async def _upstream_metadata(self, file: MirroredFile) -> bytes | None:
        if not file.upstream_has_metadata:
            return None
        try:
            return await self._upstream.fetch_metadata(file)
        except NotFound:
            return None

    async def _metadata_in_wheel(self, file: MirroredFile) -> bytes:
        if not file.is_wheel:
            raise NotFound(f"there is no metadata beside {file.filename}")
        try:
            if not file.is_stored:
                found = await self._metadata_from_parts(file)
                if found is not None:
                    return found
                await self.download(file).wait_stored()
            return await asyncio.to_thread(self._metadata_in_blob, file)
        except InvalidDistribution as error:
            raise NotFound(f"{file.filename} has no metadata that can be read: {error.message}") from error

    def _metadata_in_blob(self, file: MirroredFile) -> bytes:
        with self._store.blobs.open(file.sha256) as stream:
            return read_wheel_metadata(stream, filename=file.filename)

    async def _metadata_from_parts(self, file: MirroredFile) -> bytes | None:
        """The metadata, read by ranges; ``None``: the file's server gives no parts."""
        part = await self._upstream.fetch_part(file, byte_range=f"-{TAIL_BYTES}")
        if part is None:
            return None
        partial = PartialFile(part.total_bytes)
        partial.add(part.start, part.content)
        for _ in range(METADATA_PARTS):
            try:
                return read_wheel_metadata(partial, filename=file.filename)
            except MissingPart as missing:
                part = await self._upstream.fetch_part(file, byte_range=f"{missing.start}-{missing.end - 1}")
                if part is None:
                    return None
                partial.add(part.start, part.content)
        return None

    async def size(self, file: MirroredFile) -> int | None:
        """The size of a file whose page named none, as its server says; ``None``: it does not say either."""
        facts = await self._upstream.file_facts(file)
        return facts.size_bytes

    def download(self, file: MirroredFile) -> Download:
        """The download of a file that is under way, or a new one."""
        download = self._downloads.get(file.sha256)
        if download is None:
            download = Download(self._store, self._upstream, file)
            self._downloads[file.sha256] = download
            download.task.add_done_callback(lambda _: self._download_ended(download))
        return download

    def _download_ended(self, download: Download) -> None:
        del self._downloads[download.file.sha256]
        if download.error is not None:
            _note(download.error)

    # --- tasks -------------------------------------------------------------------------------------------

    def _fly(
        self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, Result]]
    ) -> tuple[asyncio.Task[Result], float]:
        """The task under way for a key and when it began, or a new one."""
        flight = self._flights.get(key)
        if flight is None:
            task = asyncio.create_task(begin())
            flight = (task, time.monotonic())
            self._flights[key] = flight
            task.add_done_callback(lambda ended: self._landed(key, ended))
        return flight

    def _landed(self, key: Hashable, ended: asyncio.Task[Any]) -> None:
        del self._flights[key]
        self._note_failure(ended)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(self._note_failure)

    @staticmethod
    def _note_failure(ended: asyncio.Task[Any]) -> None:
        """Log a failure, also when the clients that waited for it have gone."""
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            _note(error)


def _note(error: BaseException) -> None:
    log = structlog.get_logger("conveyor.mirror")
    if isinstance(error, ConveyorError):
        log.warning("upstream", reason=error.message)
    else:
        log.error("unexpected error", exc_info=error)
