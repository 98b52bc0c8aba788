"""Sidecars of a mirrored file: its core metadata (PEP 658) and its provenance (PEP 740).

They are fetched on the first request, then kept. Metadata comes from upstream if upstream offers it beside
the file, else from the file itself: a few kilobytes of a wheel suffice, and a whole sdist is never fetched
for it. A file whose SHA-256 upstream does not state is downloaded first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conveyor.domain.distributions.partial_wheels import (
    TAIL_BYTES,
    MissingPart,
    PartialFile,
    read_wheel_metadata,
)
from conveyor.errors import InvalidDistribution, NotFound
from conveyor.operations.indexes.mirror import (
    static_metadata,
    store_metadata,
    store_provenance,
    store_unreadable,
)

if TYPE_CHECKING:
    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.operations.store.store import Store
    from conveyor.server.memory.flights import Flights
    from conveyor.server.mirror.downloads import Downloads
    from conveyor.upstream import Upstream

METADATA_PARTS = 8
"""How many parts of a wheel are fetched for its metadata before giving up."""


class Sidecars:
    """The sidecars of one process's mirrors."""

    def __init__(self, store: Store, upstream: Upstream, flights: Flights, downloads: Downloads) -> None:
        self._store = store
        self._upstream = upstream
        self._flights = flights
        self._downloads = downloads

    async def metadata(self, file: MirroredFile) -> str:
        """The digest of a mirrored file's core metadata, which is among the blobs afterwards.

        Raises:
            NotFound: it has no readable metadata; its page no longer announces any.
            UpstreamFailed: it cannot be fetched now.
        """
        if not file.has_metadata:
            raise NotFound(f"there is no metadata beside {file.filename}")
        file = await self._with_digest(file)
        if await self._is_here(file.metadata_sha256):
            return str(file.metadata_sha256)
        key = ("metadata", file.place, file.filename)
        return await self._flights.join(key, lambda: self._fetch_metadata(file)).landed()

    async def provenance(self, file: MirroredFile) -> str:
        """The digest of a mirrored file's provenance object, which is among the blobs afterwards.

        Raises:
            NotFound: it has no provenance object.
            UpstreamFailed: it cannot be fetched now.
        """
        file = await self._with_digest(file)
        if await self._is_here(file.provenance_sha256):
            return str(file.provenance_sha256)
        key = ("provenance", file.place, file.filename)
        return await self._flights.join(key, lambda: self._fetch_provenance(file)).landed()

    async def note_stored(self, file: MirroredFile) -> None:
        """Extract the metadata of an sdist that has just been stored, if building cannot change it."""
        if file.is_wheel or file.has_metadata:
            return
        content = await asyncio.to_thread(static_metadata, self._store, file)
        if content is not None:
            await asyncio.to_thread(store_metadata, self._store, file, content)

    async def _with_digest(self, file: MirroredFile) -> MirroredFile:
        """The file, downloaded first if its digest is unknown, because a sidecar is tied to its bytes."""
        if file.sha256 is not None:
            return file
        with self._downloads.follow(file) as follower:
            await follower.stored()
            return follower.file

    async def _is_here(self, digest: str | None) -> bool:
        return digest is not None and await asyncio.to_thread(self._store.blobs.has, digest)

    async def _fetch_provenance(self, file: MirroredFile) -> str:
        content = await self._upstream.fetch_provenance(file)
        return await asyncio.to_thread(store_provenance, self._store, file, content)

    async def _fetch_metadata(self, file: MirroredFile) -> str:
        try:
            content = await self._upstream_metadata(file) or await self._metadata_inside(file)
        except InvalidDistribution as error:
            await asyncio.to_thread(store_unreadable, self._store, file)
            raise NotFound(f"{file.filename} has no metadata that can be read: {error.message}") from error
        return await asyncio.to_thread(store_metadata, self._store, file, content)

    async def _upstream_metadata(self, file: MirroredFile) -> bytes | None:
        if not file.upstream_has_metadata:
            return None
        try:
            return await self._upstream.fetch_metadata(file)
        except NotFound:
            return None

    async def _metadata_inside(self, file: MirroredFile) -> bytes:
        """The metadata in the file itself; raises InvalidDistribution."""
        if not file.is_wheel:
            found = await asyncio.to_thread(static_metadata, self._store, file) if file.is_stored else None
            if found is None:
                raise InvalidDistribution("upstream has no metadata beside it")
            return found
        if not file.is_stored:
            found = await self._metadata_from_parts(file)
            if found is not None:
                return found
            with self._downloads.follow(file) as follower:
                await follower.stored()
        return await asyncio.to_thread(self._metadata_in_blob, file)

    def _metadata_in_blob(self, file: MirroredFile) -> bytes:
        with self._store.blobs.open(file.place) as stream:
            return read_wheel_metadata(stream, filename=file.filename)

    async def _metadata_from_parts(self, file: MirroredFile) -> bytes | None:
        """The metadata, read by ranges; ``None`` if the file's server does not serve ranges."""
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
