"""Files: ``/packages/{sha256}/{filename}``, with ``….metadata`` and ``….provenance`` beside it. Bare ASGI.

A path names its bytes by their digest, or (for a mirrored file whose upstream states no SHA-256) stands for
the bytes of the first download. So an answer never becomes outdated and caches may keep it permanently; it is
never compressed, so that ranges refer to the file's own bytes. HEAD has the headers of GET. Small files come
from memory, large ones are handed to the server by path (``http.response.pathsend``). A mirrored file that is
not here yet is sent on while it is received.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conveyor.domain.indexes.mirror import UNHASHED, is_hash
from conveyor.domain.people.access import ANONYMOUS
from conveyor.domain.words.notation import is_sha256
from conveyor.errors import NotFound, Unauthorized
from conveyor.operations.indexes.files import can_read_file, find_file, metadata_in_row, nothing_at
from conveyor.operations.releases.locks import find_pinned, note_removed
from conveyor.server.http.file_answers import (
    METADATA,
    PROVENANCE,
    ReadyFile,
    send_file,
)
from conveyor.server.http.messages import NOT_AT_ONCE
from conveyor.server.http.problems import method_not_allowed
from conveyor.server.mirror.arriving import send_arriving

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from conveyor.domain.people.access import Identity
    from conveyor.operations.indexes.files import FoundFile
    from conveyor.operations.store.store import Store
    from conveyor.server.http.auth import Authenticator
    from conveyor.server.http.messages import Reply
    from conveyor.server.memory.caches import Freshness
    from conveyor.server.mirror.mirroring import Mirroring

CACHE_BYTES = 16 * 1024 * 1024
"""The limit per process for small files and the data kept with them."""


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

    def at_once(self, scope: Scope) -> Reply | None:
        """The reply from memory alone, if everybody may read the file; else ``None``, see ``__call__``.

        Called by any thread; it never blocks.
        """
        file = self._cache.get(scope["path"]) if self._freshness.is_current() else None
        if file is None or not file.is_public or scope["method"] not in ("GET", "HEAD"):
            return None
        if any(name in NOT_AT_ONCE for name, _ in scope["headers"]):
            return None
        return file.reply(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, from memory if possible, else after a lookup."""
        if scope["method"] not in ("GET", "HEAD"):
            raise method_not_allowed(scope, "GET", "HEAD")
        # 1. the caller
        identity = ANONYMOUS
        for name, _ in scope["headers"]:
            if name == b"authorization":
                identity = await self._authenticator.authenticate(scope, receive)
                scope["state"]["user"] = identity.name
                break
        # 2. the file, after dropping entries that have changed
        await self._freshness.catch_up()
        file = self._cache.get(scope["path"])
        # A kept file that this caller may not read is looked up like a missing one: timing tells nothing.
        if file is None or not (file.is_public or can_read_file(identity, file.found)):
            file = await self._find(scope, receive, send, identity)
            if file is None:
                return
        # 3. the answer
        await send_file(scope, receive, send, file, self._store.blobs)

    async def _find(self, scope: Scope, receive: Receive, send: Send, identity: Identity) -> ReadyFile | None:
        """The file if its bytes are here; else it is sent as it arrives, and ``None`` is returned."""
        try:
            place, filename = _target(scope["path"])
        except NotFound as error:
            raise await asyncio.to_thread(nothing_at, self._store, identity, error) from error
        ending = next((one for one in (METADATA, PROVENANCE) if filename.endswith(one)), None)
        if ending is not None:
            file = await self._sidecar(place, filename.removesuffix(ending), ending, identity)
        else:
            found = await self._found(place, filename, identity)
            scope["state"]["supplied_by"] = found.supplied_by
            if found.mirrored is not None and not found.mirrored.is_stored:
                if await send_arriving(
                    scope, receive, send, found=found, file=found.mirrored, mirroring=self._mirroring
                ):
                    return None
                found = await self._found(place, filename, identity)
            file = await asyncio.to_thread(ReadyFile, found, self._store.blobs, str(found.sha256), filename)
        # The quarantine of a pinned file is that of another project than the release: no event drops it.
        if file.found.pinned_by is None and self._freshness.may_keep(file.serial):
            self._cache.put(scope["path"], file)
        return file

    async def _found(self, place: str, filename: str, identity: Identity) -> FoundFile:
        return await asyncio.to_thread(self._found_here, place, filename, identity)

    def _found_here(self, place: str, filename: str, identity: Identity) -> FoundFile:
        """The file, in an index or pinned by a lock; raises as ``find_file``."""
        try:
            return find_file(self._store, place, filename, reader=identity)
        except (NotFound, Unauthorized):
            pinned = find_pinned(self._store, place, filename, reader=identity) if is_sha256(place) else None
            if pinned is None:
                raise
        if not pinned.is_noted:
            note_removed(self._store, identity, pinned)
        return pinned.found

    async def _sidecar(self, place: str, filename: str, ending: str, identity: Identity) -> ReadyFile:
        """The metadata or provenance of a file; for a mirrored one it is fetched first, if need be."""
        found = await self._found(place, filename, identity)
        sidecars, is_metadata = self._mirroring.sidecars, ending == METADATA
        digest = found.metadata_sha256 if is_metadata else found.provenance_sha256
        if found.mirrored is not None:
            digest = await (sidecars.metadata if is_metadata else sidecars.provenance)(found.mirrored)
        if digest is None:
            raise NotFound(f"there is no {ending.removeprefix('.')} beside {filename}")
        content = await asyncio.to_thread(metadata_in_row, self._store, found) if is_metadata else None
        return await asyncio.to_thread(
            ReadyFile, found, self._store.blobs, digest, filename + ending, content=content
        )


def _target(path: str) -> tuple[str, str]:
    """(place, filename) of ``/packages/{place}/{filename}``, see ``find_file``; raises NotFound."""
    place, _, filename = path.removeprefix("/packages/").rpartition("/")
    kind, _, value = place.partition("/")
    is_place = is_sha256(place) or (kind == UNHASHED and value and "/" not in value) or is_hash(kind, value)
    if not is_place or not filename:
        raise NotFound(f"there is nothing at {path}", hint="files are at /packages/SHA256/FILENAME")
    return place, filename
