"""Immutable files: ``/packages/{sha256}/{filename}`` and ``….metadata`` beside it. Bare ASGI.

A path names its bytes by their digest, so an answer never grows old: the ETag is the digest, caches may keep
it for ever, and it is never compressed, so that ranges mean what they say. HEAD says what GET would. Small
files come from memory, large ones are handed to the server by path (``http.response.pathsend``). A mirrored
file that is not here yet is sent on while it is received.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from conveyor.domain.access import ANONYMOUS
from conveyor.domain.mirror import is_sha256
from conveyor.domain.ranges import etag_matches, parse_ranges
from conveyor.errors import NotFound
from conveyor.operations.files import find_file, may_read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import Message, Receive, Scope, Send

    from conveyor.domain.access import Identity
    from conveyor.operations.files import FoundFile
    from conveyor.operations.store import Store
    from conveyor.server.auth import Authenticator
    from conveyor.server.caches import Freshness
    from conveyor.server.mirroring import Mirroring

CACHE_BYTES = 64 * 1024 * 1024
"""Of small files, per process."""

SMALL_FILE_BYTES = 128 * 1024
"""Up to here a file is kept in memory; a larger one is worth a system call of its own."""

READ_AT_ONCE_BYTES = 1024 * 1024
METADATA = ".metadata"

_CONTENT_TYPES = (
    (METADATA, b"text/plain; charset=utf-8"),
    (".whl", b"application/zip"),
    (".zip", b"application/zip"),
    (".tar.gz", b"application/gzip"),
)
_NO_BODY: Message = {"type": "http.response.body", "body": b""}
_EXTENSION = "http.response.pathsend"


@dataclass(frozen=True, slots=True)
class ReadyFile:
    """Bytes that are here: everything an answer needs."""

    sha256: str
    size_bytes: int
    headers: tuple[tuple[bytes, bytes], ...]
    """All but length and range."""
    content: bytes | None
    """The bytes, when they are few."""
    path: Path | None
    """Where they are on a local disk, when they are many."""
    found: FoundFile
    """Who may read it, and where it came from."""

    @property
    def project(self) -> str:
        """The project whose changes touch it."""
        return self.found.project

    @property
    def serial(self) -> int:
        """Serial of the snapshot in which it was found."""
        return self.found.serial

    @property
    def weight_bytes(self) -> int:
        """What it holds in memory."""
        return len(self.content) if self.content is not None else 0

    @property
    def etag(self) -> str:
        """Strong: the digest of the bytes."""
        return f'"{self.sha256}"'


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
            await _send_empty(send, 405, [(b"allow", b"GET, HEAD")])
            return
        identity = ANONYMOUS
        if any(name == b"authorization" for name, _ in scope["headers"]):
            identity = await self._authenticator.authenticate(scope["headers"])
            scope["state"]["user"] = identity.name or None
        if not self._freshness.is_current():
            await self._freshness.catch_up()
        file = self._cache.get(scope["path"])
        if file is None:
            file = await self._find(scope, send, identity)
            if file is None:
                return
        elif not file.found.is_public:
            may_read_file(identity, file.found)
        scope["state"]["supplied_by"] = file.found.supplied_by
        await self._send(scope, send, file)

    async def _find(self, scope: Scope, send: Send, identity: Identity) -> ReadyFile | None:
        """The file when its bytes are here; else it is sent as it arrives, and ``None`` comes back."""
        # 1. what is asked
        sha256, filename = _target(scope["path"])
        # 2. a file, or the metadata beside one
        if filename.endswith(METADATA):
            file = await self._metadata(sha256, filename.removesuffix(METADATA), identity)
        else:
            found = await asyncio.to_thread(find_file, self._store, sha256, filename)
            may_read_file(identity, found)
            scope["state"]["supplied_by"] = found.supplied_by
            if not found.is_here:
                if await self._send_arriving(scope, send, found):
                    return None
                found = await asyncio.to_thread(find_file, self._store, sha256, filename)
            file = await asyncio.to_thread(self._ready, found, found.sha256, filename)
        # 3. kept for the next one
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
        return await asyncio.to_thread(self._ready, found, digest, filename + METADATA)

    def _ready(self, found: FoundFile, sha256: str, name: str) -> ReadyFile:
        """Everything needed to answer with a blob; small ones are read. Raises NotFound, StorageFailed."""
        size_bytes = self._store.blobs.size(sha256)
        content = None
        if size_bytes <= SMALL_FILE_BYTES:
            with self._store.blobs.open(sha256) as stream:
                content = stream.read()
        return ReadyFile(
            sha256=sha256,
            size_bytes=size_bytes,
            headers=_headers(sha256, name, is_public=found.is_public),
            content=content,
            path=self._store.blobs.path(sha256),
            found=found,
        )

    # --- a mirrored file that is not here ----------------------------------------------------------------

    async def _send_arriving(self, scope: Scope, send: Send, found: FoundFile) -> bool:
        """Send a file while it is received; false when it was received without being sent.

        A part of it can be answered only when the whole was verified, so a request for a part waits.
        """
        assert found.mirrored is not None  # noqa: S101 - a file of our own is always here
        given = {name: value for name, value in scope["headers"] if name in (b"range", b"if-none-match")}
        headers = _headers(found.sha256, found.filename, is_public=found.is_public)
        etag = f'"{found.sha256}"'
        if etag_matches(given.get(b"if-none-match", b"").decode("latin-1"), etag):
            await _send_empty(send, 304, _without_type(headers))
            return True
        if scope["method"] == "HEAD" and b"range" not in given:
            size_bytes = found.size_bytes
            if size_bytes is None:
                size_bytes = await self._mirroring.size(found.mirrored)
            await _send_empty(send, 200, [*headers, *_length(size_bytes)])
            return True
        download = self._mirroring.download(found.mirrored)
        if b"range" in given:
            await download.wait_stored()
            return False
        await download.begun()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*headers, *_length(download.size_bytes)],
            }
        )
        async for chunk in download.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send(_NO_BODY)
        return True

    # --- a file that is here -----------------------------------------------------------------------------

    async def _send(self, scope: Scope, send: Send, file: ReadyFile) -> None:
        """The whole file, parts of it, or that the client has it already."""
        is_head = scope["method"] == "HEAD"
        wanted = if_range = if_none_match = ""
        for name, value in scope["headers"]:
            if name == b"range":
                wanted = value.decode("latin-1")
            elif name == b"if-range":
                if_range = value.decode("latin-1").strip()
            elif name == b"if-none-match":
                if_none_match = value.decode("latin-1")
        if if_none_match and etag_matches(if_none_match, file.etag):
            await _send_empty(send, 304, _without_type(file.headers))
            return
        ranges = None
        # There is no Last-Modified, so that an If-Range with a date never matches: the whole file is right.
        if wanted and if_range in ("", file.etag):
            ranges = parse_ranges(wanted, file.size_bytes)
        if ranges is None:
            await self._send_whole(scope, send, file, is_head=is_head)
        elif not ranges:
            unsatisfied = (b"content-range", f"bytes */{file.size_bytes}".encode())
            await _send_empty(send, 416, [unsatisfied, (b"accept-ranges", b"bytes")])
        elif len(ranges) == 1:
            (start, end) = ranges[0]
            headers = [*file.headers, (b"content-range", _content_range(start, end, file.size_bytes))]
            await self._send_parts(send, file, headers, [(b"", start, end)], b"", is_head=is_head)
        else:
            await self._send_multipart(send, file, ranges, is_head=is_head)

    async def _send_whole(self, scope: Scope, send: Send, file: ReadyFile, *, is_head: bool) -> None:
        headers = [*file.headers, *_length(file.size_bytes)]
        if not is_head and file.content is None and (file.path is None or not _can_send_paths(scope)):
            await self._send_pieces(send, 200, headers, file, [(b"", 0, file.size_bytes)], b"")
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if is_head:
            await send(_NO_BODY)
        elif file.content is not None:
            await send({"type": "http.response.body", "body": file.content})
        else:
            await send({"type": _EXTENSION, "path": str(file.path)})

    async def _send_multipart(
        self, send: Send, file: ReadyFile, ranges: list[tuple[int, int]], *, is_head: bool
    ) -> None:
        boundary = secrets.token_hex(16).encode()
        content_type = next(value for name, value in file.headers if name == b"content-type")
        parts = [
            (
                b"\r\n--%b\r\ncontent-type: %b\r\ncontent-range: %b\r\n\r\n"
                % (boundary, content_type, _content_range(start, end, file.size_bytes)),
                start,
                end,
            )
            for start, end in ranges
        ]
        headers = [
            *_without_type(file.headers),
            (b"content-type", b"multipart/byteranges; boundary=" + boundary),
        ]
        await self._send_parts(send, file, headers, parts, b"\r\n--%b--\r\n" % boundary, is_head=is_head)

    async def _send_parts(
        self,
        send: Send,
        file: ReadyFile,
        headers: list[tuple[bytes, bytes]],
        parts: list[tuple[bytes, int, int]],
        tail: bytes,
        *,
        is_head: bool,
    ) -> None:
        """206 with parts of the file, each after a head of its own, and a tail at the end."""
        size_bytes = sum(len(head) + end - start for head, start, end in parts) + len(tail)
        headers = [*headers, *_length(size_bytes)]
        if is_head:
            await _send_empty(send, 206, headers)
        else:
            await self._send_pieces(send, 206, headers, file, parts, tail)

    async def _send_pieces(
        self,
        send: Send,
        status: int,
        headers: list[tuple[bytes, bytes]],
        file: ReadyFile,
        parts: list[tuple[bytes, int, int]],
        tail: bytes,
    ) -> None:
        # Opened before the answer begins: a blob that can not be read is an error, not half a file.
        stream = None if file.content is not None else await asyncio.to_thread(self._open, file)
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            for head, start, end in parts:
                if head:
                    await send({"type": "http.response.body", "body": head, "more_body": True})
                for position, size in _steps(start, end):
                    if stream is None:
                        assert file.content is not None  # noqa: S101 - else there is a stream
                        piece = file.content[position : position + size]
                    else:
                        piece = await asyncio.to_thread(_read_at, stream, position, size)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": tail})
        finally:
            if stream is not None:
                stream.close()

    def _open(self, file: ReadyFile) -> BinaryIO:
        return self._store.blobs.open(file.sha256)


def _target(path: str) -> tuple[str, str]:
    """(sha256, filename) of ``/packages/{sha256}/{filename}``; raises NotFound."""
    parts = path.split("/")
    if len(parts) != 4 or not is_sha256(parts[2]) or not parts[3]:
        raise NotFound(f"there is nothing at {path}", hint="files are at /packages/SHA256/FILENAME")
    return parts[2], parts[3]


def _headers(sha256: str, name: str, *, is_public: bool) -> tuple[tuple[bytes, bytes], ...]:
    content_type = next((kind for ending, kind in _CONTENT_TYPES if name.endswith(ending)), None)
    reach = b"public" if is_public else b"private"
    return (
        (b"content-type", content_type or b"application/octet-stream"),
        (b"etag", f'"{sha256}"'.encode()),
        (b"cache-control", reach + b", max-age=31536000, immutable"),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
    )


def _without_type(headers: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name != b"content-type"]


def _length(size_bytes: int | None) -> list[tuple[bytes, bytes]]:
    return [] if size_bytes is None else [(b"content-length", str(size_bytes).encode())]


def _content_range(start: int, end: int, size_bytes: int) -> bytes:
    return f"bytes {start}-{end - 1}/{size_bytes}".encode()


def _can_send_paths(scope: Scope) -> bool:
    return _EXTENSION in scope.get("extensions", {})


def _steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    """(position, size) of the pieces that a range is read in."""
    for position in range(start, end, READ_AT_ONCE_BYTES):
        yield position, min(READ_AT_ONCE_BYTES, end - position)


def _read_at(stream: BinaryIO, position: int, size: int) -> bytes:
    stream.seek(position)
    return stream.read(size)


async def _send_empty(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send(_NO_BODY)
