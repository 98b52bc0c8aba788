"""A mirrored file on its way: received once, hashed while it is written, sent on to everybody who waits.

Who follows a download gets the bytes as they arrive, but the last few only when digest and length were found
right and the file is stored: a file that is not what its page says is cut off before its end, so that no
client takes it for whole, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from functools import partial
from typing import TYPE_CHECKING

from conveyor.blobs.errors import storage_errors
from conveyor.errors import UpstreamFailed
from conveyor.operations.mirror import keep_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conveyor.blobs import Temporary
    from conveyor.domain.mirror import MirroredFile
    from conveyor.operations.store import Store
    from conveyor.upstream import Upstream

HELD_BACK_BYTES = 1024
"""Not sent on before the whole file was verified."""

SENT_AT_ONCE_BYTES = 256 * 1024
LARGEST_FILE_BYTES = 64 * 1024**3
"""A file without an announced size is broken off here."""


class Download:
    """One file being received; its task goes on when clients leave, so that the next one finds it stored."""

    def __init__(self, store: Store, upstream: Upstream, file: MirroredFile) -> None:
        self.file = file
        self.size_bytes = file.size_bytes
        """Known for certain once ``begun`` returned; ``None``: its server does not say."""
        self._store = store
        self._upstream = upstream
        self._received = 0
        self._is_stored = False
        self.error: Exception | None = None
        """What ended it, if it failed."""
        self._has_begun = False
        self._reader: int | None = None
        self._followers = 0
        self._progress = asyncio.Condition()
        self.task = asyncio.create_task(self._run())

    async def begun(self) -> None:
        """Wait until upstream answers with the file; raises UpstreamFailed or NotFound."""
        await self._wait(lambda: self._has_begun)

    async def wait_stored(self) -> None:
        """Wait until the file is verified and among the blobs; raises UpstreamFailed, StorageFailed."""
        await self._wait(lambda: self._is_stored)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes from its begin, as they arrive; raises in the middle when it turns out wrong."""
        self._followers += 1
        try:
            position = 0
            while True:
                await self._wait(partial(self._has_more, position))
                end = min(self._sendable(), position + SENT_AT_ONCE_BYTES)
                if position == end and self._is_stored:
                    return
                chunk = await asyncio.to_thread(self._read, position, end - position)
                position += len(chunk)
                yield chunk
        finally:
            self._followers -= 1
            self._close_reader()

    def _has_more(self, position: int) -> bool:
        return self._is_stored or self._sendable() > position

    def _sendable(self) -> int:
        return self._received if self._is_stored else max(0, self._received - HELD_BACK_BYTES)

    def _read(self, position: int, size: int) -> bytes:
        if self._reader is None:  # it ended before this follower came
            with self._store.blobs.open(self.file.sha256) as blob:
                blob.seek(position)
                return blob.read(size)
        with storage_errors(f"{self.file.filename} can not be read"):
            return os.pread(self._reader, size, position)

    async def _wait(self, is_reached: Callable[[], bool]) -> None:
        async with self._progress:
            await self._progress.wait_for(lambda: self.error is not None or is_reached())
        if self.error is not None:
            raise self.error

    async def _run(self) -> None:
        try:
            with self._store.blobs.new_temporary() as temporary:
                await self._receive(temporary)
            self._is_stored = True
        except asyncio.CancelledError:
            self.error = UpstreamFailed(f"the download of {self.file.filename} was broken off")
        except Exception as error:  # noqa: BLE001 - told to everybody who follows
            self.error = error
        finally:
            async with self._progress:
                self._progress.notify_all()
            self._close_reader()

    async def _receive(self, temporary: Temporary) -> None:
        digest = hashlib.sha256()

        def write(chunk: bytes) -> None:
            temporary.write(chunk)
            digest.update(chunk)

        async with self._upstream.open_file(self.file) as body:
            if None not in (body.size_bytes, self.size_bytes) and body.size_bytes != self.size_bytes:
                raise UpstreamFailed(
                    f"upstream sends {body.size_bytes} bytes for {self.file.filename}, not {self.size_bytes}"
                )
            self.size_bytes = body.size_bytes or self.size_bytes
            limit = self.size_bytes or LARGEST_FILE_BYTES
            self._reader = os.dup(temporary.file.fileno())
            await self._note(begun=True)
            async for chunk in body.chunks:
                if self._received + len(chunk) > limit:
                    raise UpstreamFailed(f"upstream sends more than {limit} bytes for {self.file.filename}")
                await asyncio.to_thread(write, chunk)
                await self._note(received=len(chunk))
        await asyncio.to_thread(
            keep_file,
            self._store,
            self.file,
            temporary,
            sha256=digest.hexdigest(),
            size_bytes=self._received,
        )

    async def _note(self, *, begun: bool = False, received: int = 0) -> None:
        async with self._progress:
            self._has_begun = self._has_begun or begun
            self._received += received
            self._progress.notify_all()

    def _close_reader(self) -> None:
        if self._reader is not None and not self._followers and (self._is_stored or self.error):
            os.close(self._reader)
            self._reader = None
