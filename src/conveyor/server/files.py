"""Files: ``/packages/{sha256}/{filename}``, with ``….metadata`` and ``….provenance`` beside it. Bare ASGI.

A path names its bytes by their digest, so an answer never grows old, caches may keep it for ever, and it is
never compressed, so that ranges mean what they say. HEAD says what GET would. Small files come from memory,
large ones are handed to the server by path (``http.response.pathsend``). A mirrored file that is not here yet
is sent on while it is received.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conveyor.domain.access import ANONYMOUS
from conveyor.domain.digests import is_sha256
from conveyor.domain.ranges import etag_matches
from conveyor.errors import NotFound
from conveyor.operations.files import find_file, may_read_file
from conveyor.server.answers import send_head
from conveyor.server.file_answers import (
    METADATA,
    PROVENANCE,
    ReadyFile,
    file_headers,
    length_header,
    send_file,
    without_type,
)
from conveyor.server.problems import method_not_allowed

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from conveyor.domain.access import Identity
    from conveyor.domain.mirror import MirroredFile
    from conveyor.operations.files import FoundFile
    from conveyor.operations.store import Store
    from conveyor.server.auth import Authenticator
    from conveyor.server.caches import Freshness
    from conveyor.server.mirroring import Mirroring

CACHE_BYTES = 64 * 1024 * 1024
"""Of small files, per process."""


class Files:
    """Answers everything below ``/packages/``."""

    def __init__(
        self, store: Store, *, mirroring: Mirroring, freshness: Freshness, authenticator: Authenticator
    ) -> None:
        self._store = store
        self._mirroring = mirroring
        self._freshness = freshness
        self._authenticator = authenticator
        self._cache = freshness.new_cache(ReadyFile, CACHE_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: from memory if it can be, else after looking it up."""
        del receive
        if scope["method"] not in ("GET", "HEAD"):
            raise method_not_allowed(scope, "GET", "HEAD")
        # 1. who asks
        identity = ANONYMOUS
        for name, _ in scope["headers"]:
            if name == b"authorization":
                identity = await self._authenticator.authenticate(scope["headers"])
                scope["state"]["user"] = identity.name
                break
        # 2. the file, after what has changed
        if not self._freshness.is_current():
            await self._freshness.catch_up()
        file = self._cache.get(scope["path"])
        if file is None:
            file = await self._find(scope, send, identity)
            if file is None:
                return
        elif not file.found.is_public:
            may_read_file(identity, file.found)
        # 3. the answer
        scope["state"]["supplied_by"] = file.found.supplied_by
        await send_file(scope, send, file, self._store.blobs)

    async def _find(self, scope: Scope, send: Send, identity: Identity) -> ReadyFile | None:
        """The file when its bytes are here; else it is sent as it arrives, and ``None`` comes back."""
        sha256, filename = _target(scope["path"])
        if filename.endswith(METADATA):
            file = await self._metadata(sha256, filename.removesuffix(METADATA), identity)
        elif filename.endswith(PROVENANCE):
            file = await self._provenance(sha256, filename.removesuffix(PROVENANCE), identity)
        else:
            found = await asyncio.to_thread(find_file, self._store, sha256, filename)
            may_read_file(identity, found)
            scope["state"]["supplied_by"] = found.supplied_by
            if found.mirrored is not None and not found.mirrored.is_stored:
                if await self._send_arriving(scope, send, found, found.mirrored):
                    return None
                found = await asyncio.to_thread(find_file, self._store, sha256, filename)
            file = await asyncio.to_thread(ReadyFile, found, self._store.blobs, sha256, filename)
        if self._freshness.may_keep(file.serial):
            self._cache.put(scope["path"], file)
        return file

    async def _metadata(self, sha256: str, filename: str, identity: Identity) -> ReadyFile:
        found = await asyncio.to_thread(find_file, self._store, sha256, filename)
        may_read_file(identity, found)
        digest = found.metadata_sha256
        if found.mirrored is not None:
            digest = await self._mirroring.metadata(found.mirrored)
        if digest is None:
            raise NotFound(f"there is no metadata beside {filename}")
        return await asyncio.to_thread(ReadyFile, found, self._store.blobs, digest, filename + METADATA)

    async def _provenance(self, sha256: str, filename: str, identity: Identity) -> ReadyFile:
        found = await asyncio.to_thread(find_file, self._store, sha256, filename)
        may_read_file(identity, found)
        digest = found.provenance_sha256
        if digest is None:
            raise NotFound(f"there is no provenance beside {filename}")
        return await asyncio.to_thread(ReadyFile, found, self._store.blobs, digest, filename + PROVENANCE)

    async def _send_arriving(
        self, scope: Scope, send: Send, found: FoundFile, mirrored: MirroredFile
    ) -> bool:
        """Send a file while it is received; false when it was received without being sent.

        A part of it can be answered only when the whole was verified, so a request for a part waits.
        """
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        headers = file_headers(found.sha256, found.filename, is_public=found.is_public)
        if etag_matches(asked.get(b"if-none-match", ""), f'"{found.sha256}"'):
            await send_head(send, 304, without_type(headers))
            return True
        if scope["method"] == "HEAD" and b"range" not in asked:
            size_bytes = found.size_bytes
            if size_bytes is None:
                size_bytes = await self._mirroring.size(mirrored)
            await send_head(send, 200, [*headers, *length_header(size_bytes)])
            return True
        download = self._mirroring.download(mirrored)
        if b"range" in asked:
            await download.wait_stored()
            return False
        await download.begun()
        start = [*headers, *length_header(download.size_bytes)]
        has_begun = False
        async for chunk in download.chunks():
            if not has_begun:  # a short file that is not what its page says is an error, not a broken answer
                await send({"type": "http.response.start", "status": 200, "headers": start})
                has_begun = True
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": b""})
        return True


def _target(path: str) -> tuple[str, str]:
    """(sha256, filename) of ``/packages/{sha256}/{filename}``; raises NotFound."""
    parts = path.split("/")
    if len(parts) != 4 or not is_sha256(parts[2]) or not parts[3]:
        raise NotFound(f"there is nothing at {path}", hint="files are at /packages/SHA256/FILENAME")
    return parts[2], parts[3]
