"""A mirrored file on its way: received once, hashed while it is written, sent on to everybody who waits.

Followers of a download get the bytes as they arrive, but the last few only when digest and length have proved
right and the file is stored: a file that differs from its page's statement is cut off before its end, so that
no client mistakes it for the whole file, and nothing of it is kept.

A download continues as long as somebody follows it, and a little longer, because a client that was cut off
comes back for the rest within seconds. If nobody comes back, it ends and leaves nothing behind, unless it is
nearly done; otherwise every client that breaks off would leave the store fetching gigabytes for nobody.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from conveyor.blobs.folders import storage_errors
from conveyor.domain.indexes.mirror import Hashing
from conveyor.errors import UpstreamFailed
from conveyor.operations.indexes.mirror import keep_file
from conveyor.server.memory.flights import Flights

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from conveyor.blobs import Temporary
    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.operations.store.store import Store
    from conveyor.upstream import Upstream

HELD_BACK_BYTES = 1024
"""The last bytes, not sent on before the whole file is verified."""

SENT_AT_ONCE_BYTES = 128 * 1024
"""The server below keeps several of these for a client that reads slowly."""

LINGER_SECONDS = 60.0
"""How long a download continues without a follower."""

NEARLY_DONE_BYTES = 64 * 1024 * 1024
"""With no more than this to come, a download continues to its end."""


class Downloads:
    """The downloads under way in one process, one per file."""

    def __init__(
        self,
        store: Store,
        upstream: Upstream,
        *,
        limit_bytes: int,
        on_stored: Callable[[MirroredFile], None],
    ) -> None:
        """``limit_bytes``: the largest file that is kept; ``on_stored`` is called with each stored file."""
        self._store = store
        self._upstream = upstream
        self._limit_bytes = limit_bytes
        self._on_stored = on_stored
        self._flights = Flights()

    @contextmanager
    def follow(self, file: MirroredFile) -> Iterator[Follower]:
        """Follow the download of a file that is under way, or a new one, until the block is left."""
        download = self._flights.board((file.place, file.filename), lambda: self._begin(file))
        with download.followed() as follower:
            yield follower

    async def close(self) -> None:
        """Cancel every download; one begins again when somebody asks for its file."""
        await self._flights.close()

    def _begin(self, file: MirroredFile) -> Download:
        download = Download(self._store, self._upstream, file, limit_bytes=self._limit_bytes)
        download.task.add_done_callback(lambda _: self._tell(download))
        return download

    def _tell(self, download: Download) -> None:
        if download.is_stored:
            self._on_stored(download.file)


class Download:
    """A file being received, as its followers see it."""

    def __init__(self, store: Store, upstream: Upstream, file: MirroredFile, *, limit_bytes: int) -> None:
        self.file = file
        """The file as known now: with its digest, once it is stored."""
        self.size_bytes = file.size_bytes
        """Certain once the download has begun; ``None`` if the file's server does not state it."""
        self.received_bytes = 0
        self.has_begun = False
        self.is_stored = False
        """Whether it was verified and is among the blobs."""
        self.error: Exception | None = None
        """The error that ended it, if it failed."""
        self._store = store
        self._upstream = upstream
        self._limit_bytes = limit_bytes
        self._reader: int | None = None
        self._followers = 0
        self._followed_until = time.monotonic()
        self._progress = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    @contextmanager
    def followed(self) -> Iterator[Follower]:
        """Follow it until the block is left."""
        self._followers += 1
        try:
            yield Follower(self)
        finally:
            self._followers -= 1
            self._followed_until = time.monotonic()
            self._close_reader()

    async def progress(self) -> None:
        """Wait for progress; raises the error that ended the download."""
        if self.error is None:
            await self._progress.wait()
        if self.error is not None:
            raise self.error

    def wake(self) -> None:
        """Wake everybody who waits for progress."""
        self._progress.set()
        self._progress = asyncio.Event()

    def read(self, position: int, size: int) -> bytes:
        """Bytes that have already been received; raises StorageFailed."""
        if self._reader is None:  # it ended before this follower came
            with self._store.blobs.open(self.file.place) as blob:
                blob.seek(position)
                return blob.read(size)
        with storage_errors(f"{self.file.filename} cannot be read"):
            return os.pread(self._reader, size, position)

    async def _run(self) -> None:
        try:
            with self._store.blobs.new_temporary() as temporary:
                await self._receive(temporary)
            self.is_stored = True
        except asyncio.CancelledError:
            self.error = UpstreamFailed(f"the download of {self.file.filename} was broken off")
            raise
        except Exception as error:  # told to everybody who follows
            self.error = error
            raise
        finally:
            self.wake()
            self._close_reader()

    async def _receive(self, temporary: Temporary) -> None:
        hashing = Hashing(self.file)

        def write(chunk: bytes) -> None:
            temporary.write(chunk)
            with storage_errors(f"{self.file.filename} cannot be written to disk"):
                temporary.file.flush()  # so that followers can read the received bytes
            hashing.update(chunk)

        self._check_size(self.size_bytes)
        async with self._upstream.open_file(self.file) as body:
            self._check_size(body.size_bytes)
            self.size_bytes = body.size_bytes if body.size_bytes is not None else self.size_bytes
            self._reader = os.dup(temporary.file.fileno())
            self.has_begun = True
            self.wake()
            async for chunk in body.chunks:
                self._check_arrived(self.received_bytes + len(chunk))
                await asyncio.to_thread(write, chunk)
                self.received_bytes += len(chunk)
                self.wake()
        self.file = await asyncio.to_thread(
            keep_file, self._store, hashing, temporary, size_bytes=self.received_bytes
        )

    def _check_size(self, size_bytes: int | None) -> None:
        if size_bytes is not None and size_bytes > self._limit_bytes:
            raise UpstreamFailed(
                f"{self.file.filename} has {size_bytes:,} bytes, and this store takes files of at most "
                f"{self._limit_bytes:,}",
                hint="an administrator can raise CONVEYOR_FILE_LIMIT_BYTES",
            )

    def _check_arrived(self, received: int) -> None:
        """Raise UpstreamFailed if upstream sends more than it announced, or nobody wants the file now."""
        if self.size_bytes is not None and received > self.size_bytes:
            raise UpstreamFailed(
                f"upstream sends more than the announced {self.size_bytes} bytes for {self.file.filename}"
            )
        self._check_size(received)
        if self._followers or time.monotonic() < self._followed_until + LINGER_SECONDS:
            return
        if self.size_bytes is None or self.size_bytes - received > NEARLY_DONE_BYTES:
            raise UpstreamFailed(f"nobody waits for {self.file.filename} any more; {received} bytes dropped")

    def _close_reader(self) -> None:
        if self._reader is not None and not self._followers and (self.is_stored or self.error):
            os.close(self._reader)
            self._reader = None


class Follower:
    """Somebody who waits for a download."""

    def __init__(self, download: Download) -> None:
        self._download = download
        self.has_left = False

    @property
    def size_bytes(self) -> int | None:
        """The size of the file, certain after ``begun``; ``None`` if its server does not state it."""
        return self._download.size_bytes

    @property
    def file(self) -> MirroredFile:
        """The file as known now; with its digest after ``stored``."""
        return self._download.file

    def leave(self) -> None:
        """Stop waiting: every wait returns at once."""
        self.has_left = True
        self._download.wake()

    async def begun(self) -> None:
        """Wait until upstream answers with the file; raises UpstreamFailed or NotFound."""
        await self._until(lambda: self._download.has_begun)

    async def stored(self) -> None:
        """Wait until the file is verified and among the blobs; raises UpstreamFailed, StorageFailed."""
        await self._until(lambda: self._download.is_stored)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to ``end`` (excluded; ``None``: all), as they arrive.

        Raises:
            UpstreamFailed, StorageFailed: even in the middle, if the file turns out wrong.
        """
        position = start
        while True:
            await self._until(partial(self._has_more, position, end))
            stop = min(self._sendable(end), position + SENT_AT_ONCE_BYTES)
            if self.has_left or position >= stop:
                return
            chunk = await asyncio.to_thread(self._download.read, position, stop - position)
            position += len(chunk)
            yield chunk

    def _has_more(self, position: int, end: int | None) -> bool:
        return self._download.is_stored or self._sendable(end) > position

    def _sendable(self, end: int | None) -> int:
        """The position up to which bytes may be sent now."""
        received = self._download.received_bytes
        asked = received if end is None else min(received, end)
        if self._download.is_stored:
            return asked
        if end is None or end > received:
            return received - HELD_BACK_BYTES
        return end - HELD_BACK_BYTES

    async def _until(self, is_reached: Callable[[], bool]) -> None:
        while not (self.has_left or is_reached()):
            await self._download.progress()
