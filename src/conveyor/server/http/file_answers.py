"""Answers for a stored file: whole, in parts, or "not modified" (RFC 9110, sections 13, 14).

The ETag is the digest of the bytes, so it is strong and never outdated. ``Last-Modified`` is not sent: an
``If-Range`` with a date never matches, and the whole file is the right answer to it.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from conveyor.domain.words.ranges import etag_matches, parse_ranges
from conveyor.errors import NotFound, StorageFailed
from conveyor.server.http.messages import (
    NO_BODY,
    Reply,
    has_already,
    must_match,
    noticing_departure,
    send_head,
    send_reply,
    wanted_range,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import Message, Receive, Scope, Send

    from conveyor.blobs import BlobStore
    from conveyor.operations.indexes.files import FoundFile
    from conveyor.server.http.messages import Headers

Result = TypeVar("Result")

SMALL_FILE_BYTES = 128 * 1024
"""Files up to this size are kept in memory; a larger one is worth a system call of its own."""

REST_BYTES = 3072
"""Memory of a ready file besides its content: replies, rows (measured: 3,020 bytes)."""

READ_AT_ONCE_BYTES = 128 * 1024
"""For a client that reads slowly the server below keeps about eight pieces: of 1 MiB, these would be 1.7 GB
for 200 such clients."""
METADATA = ".metadata"
PROVENANCE = ".provenance"

_CONTENT_TYPES = (
    (METADATA, b"text/plain; charset=utf-8"),
    (PROVENANCE, b"application/vnd.pypi.integrity.v1+json"),
    (".whl", b"application/zip"),
    (".zip", b"application/zip"),
    (".tar.gz", b"application/gzip"),
)
PATHSEND = "http.response.pathsend"


class ReadyFile:
    """A stored file with the replies that send all of its bytes or none."""

    __slots__ = (
        "content",
        "found",
        "head",
        "headers",
        "is_public",
        "is_used",
        "not_modified",
        "path",
        "sha256",
        "size_bytes",
        "whole",
    )

    def __init__(
        self, found: FoundFile, blobs: BlobStore, sha256: str, name: str, *, content: bytes | None = None
    ) -> None:
        """Read as much of a blob as its answers need, small blobs whole; ``content``: bytes not in a blob.

        Raises:
            StorageFailed: the blob cannot be read, or is missing although a row promises it.
        """
        self.is_used = False
        self.found = found
        """The file's rows: its readers and its origin."""
        self.is_public = found.is_public
        self.sha256 = sha256
        self.size_bytes = _promised(found, name, blobs.size, sha256) if content is None else len(content)
        self.headers = file_headers(sha256, name, is_public=found.is_public) + pinned_headers(found)
        """All headers except length and range."""
        self.content = content
        """The bytes, if there are few of them or they are not in a blob."""
        self.path = blobs.path(sha256)
        """Where they are on a local disk; used if ``content`` is ``None``."""
        if content is None and self.size_bytes <= SMALL_FILE_BYTES:
            with _promised(found, name, blobs.open, sha256) as stream:
                self.content = stream.read()
        headers = [*self.headers, *length_header(self.size_bytes)]
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        self.head = Reply(start, NO_BODY, found.supplied_by)
        self.whole: Reply | None = None
        """``None`` if it is too large for one message and not on a local disk."""
        if self.content is not None:
            self.whole = Reply(start, {"type": "http.response.body", "body": self.content}, found.supplied_by)
        elif self.path is not None:
            self.whole = Reply(start, {"type": PATHSEND, "path": str(self.path)}, found.supplied_by)
        unchanged: Message = {
            "type": "http.response.start",
            "status": 304,
            "headers": without_type(self.headers),
        }
        self.not_modified = Reply(unchanged, NO_BODY, found.supplied_by)

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
        """The memory that it takes."""
        return REST_BYTES + (len(self.content) if self.content is not None else 0)

    @property
    def etag(self) -> str:
        """The digest of the bytes."""
        return f'"{self.sha256}"'

    def reply(self, scope: Scope, *, is_range_ignored: bool = False) -> Reply | None:
        """The reply to a GET or HEAD request; ``None`` if only a part or several pieces can answer it."""
        if_none_match = b""
        for name, value in scope["headers"]:
            if name == b"if-none-match":
                if_none_match = if_none_match + b"," + value if if_none_match else value
            elif name == b"range" and not is_range_ignored:
                return None
        if if_none_match and etag_matches(if_none_match.decode("latin-1"), self.etag):
            return self.not_modified
        if scope["method"] == "HEAD":
            return self.head
        if self.content is None and PATHSEND not in scope.get("extensions", {}):
            return None
        return self.whole


async def send_file(scope: Scope, receive: Receive, send: Send, file: ReadyFile, blobs: BlobStore) -> None:
    """Answer a GET or HEAD request for a stored file; raises PreconditionFailed."""
    must_match(scope["headers"], file.etag)
    ranges = _ranges_asked(scope, file)
    reply = file.reply(scope, is_range_ignored=True) if ranges is None else None
    if reply is not None:
        await send_reply(scope, send, reply)
        return
    scope["state"]["supplied_by"] = file.found.supplied_by
    if ranges is None:
        parts = [(b"", 0, file.size_bytes)]
        await _send_pieces(receive, send, 200, file.head.start["headers"], file, blobs, parts=parts, tail=b"")
    elif not ranges:
        unsatisfied = (b"content-range", f"bytes */{file.size_bytes}".encode())
        await send_head(send, 416, [unsatisfied, (b"accept-ranges", b"bytes")])
    else:
        headers, parts, tail = _single(file, *ranges[0]) if len(ranges) == 1 else _multipart(file, ranges)
        if scope["method"] == "HEAD":
            await send_head(send, 206, headers)
        else:
            await _send_pieces(receive, send, 206, headers, file, blobs, parts=parts, tail=tail)


def _ranges_asked(scope: Scope, file: ReadyFile) -> list[tuple[int, int]] | None:
    """The ranges to answer with, as ``parse_ranges`` returns them; ``None`` for the whole file."""
    headers = scope["headers"]
    wanted = wanted_range(headers, file.etag)
    if not wanted or has_already(headers, file.etag):
        return None
    return parse_ranges(wanted, file.size_bytes)


Part = tuple[bytes, int, int]
"""The bytes sent before a part of the file, the part's start, and its end."""


def _single(file: ReadyFile, start: int, end: int) -> tuple[Headers, list[Part], bytes]:
    """Headers, part and tail of an answer with one range."""
    which = (b"content-range", content_range(start, end, file.size_bytes))
    return [*file.headers, which, *length_header(end - start)], [(b"", start, end)], b""


def _multipart(file: ReadyFile, ranges: list[tuple[int, int]]) -> tuple[Headers, list[Part], bytes]:
    """Headers, parts and tail of an answer with several ranges."""
    boundary = secrets.token_hex(16).encode()
    content_type = next(value for name, value in file.headers if name == b"content-type")
    head = b"\r\n--%b\r\ncontent-type: %b\r\ncontent-range: %b\r\n\r\n"
    parts = [
        (head % (boundary, content_type, content_range(start, end, file.size_bytes)), start, end)
        for start, end in ranges
    ]
    tail = b"\r\n--%b--\r\n" % boundary
    size_bytes = sum(len(before) + end - start for before, start, end in parts) + len(tail)
    kind = (b"content-type", b"multipart/byteranges; boundary=" + boundary)
    return [*without_type(file.headers), kind, *length_header(size_bytes)], parts, tail


def _promised(found: FoundFile, name: str, read: Callable[[str], Result], sha256: str) -> Result:
    """The result of reading a blob that a row promises; raises StorageFailed if the blob is missing."""
    try:
        return read(sha256)
    except NotFound as error:
        raise StorageFailed(
            f"the bytes of {name} are lost: the catalogue lists it, but there is no blob {sha256}",
            hint="upload the identical file again, or ask an administrator to run: "
            "conveyor store fsck --repair --from BACKUP --data DIR"
            if found.mirrored is None
            else "an administrator has it fetched again: conveyor store fsck --repair --data DIR",
        ) from error


async def _send_pieces(
    receive: Receive,
    send: Send,
    status: int,
    headers: Headers,
    file: ReadyFile,
    blobs: BlobStore,
    *,
    parts: list[Part],
    tail: bytes,
) -> None:
    # Opened before the answer begins: a blob that cannot be read is an error, not half a file.
    stream = None if file.content is not None else await asyncio.to_thread(blobs.open, file.sha256)
    has_left = asyncio.Event()
    try:
        with noticing_departure(receive, has_left.set):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            for before, start, end in parts:
                if before:
                    await send({"type": "http.response.body", "body": before, "more_body": True})
                for position, size in _steps(start, end):
                    if has_left.is_set():  # nobody wants the rest any more
                        return
                    piece = await _piece(file, stream, position, size)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": tail})
    finally:
        if stream is not None:
            stream.close()


async def _piece(file: ReadyFile, stream: BinaryIO | None, position: int, size: int) -> bytes:
    if stream is not None:
        return await asyncio.to_thread(_read_at, stream, position, size)
    return (file.content or b"")[position : position + size]


def file_headers(sha256: str | None, name: str, *, is_public: bool) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of a file except its length: it may be cached permanently, by everybody if it is public.

    A provenance object may grow later (PEP 740), so caches must revalidate it each time. The same holds for a
    file whose digest is not known before its last byte; it has no ETag either.
    """
    content_type = next((kind for ending, kind in _CONTENT_TYPES if name.endswith(ending)), None)
    reach = b"public" if is_public else b"private"
    may_change = sha256 is None or name.endswith(PROVENANCE)
    lifetime = b", no-cache" if may_change else b", max-age=31536000, immutable"
    return (
        (b"content-type", content_type or b"application/octet-stream"),
        *(((b"etag", f'"{sha256}"'.encode()),) if sha256 is not None else ()),
        (b"cache-control", reach + lifetime),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
    )


def pinned_headers(found: FoundFile) -> tuple[tuple[bytes, bytes], ...]:
    """The warning about a file that upstream has removed, with the code for what caches cannot mend.

    Source: RFC 7234, section 5.5.7 (RFC 9111 lets caches ignore it; people and logs still read it).
    """
    if found.pinned_by is None:
        return ()
    said = f'299 conveyor "upstream has removed this file; it is kept for the lock of {found.pinned_by}"'
    return ((b"warning", said.encode()),)


def without_type(headers: tuple[tuple[bytes, bytes], ...]) -> Headers:
    """Headers for an answer without the file's bytes."""
    return [(name, value) for name, value in headers if name != b"content-type"]


def length_header(size_bytes: int | None) -> Headers:
    """``Content-Length``, or nothing if the size is unknown."""
    return [] if size_bytes is None else [(b"content-length", str(size_bytes).encode())]


def content_range(start: int, end: int, size_bytes: int) -> bytes:
    """The value of ``Content-Range`` for the bytes from ``start`` to ``end`` (excluded)."""
    return f"bytes {start}-{end - 1}/{size_bytes}".encode()


def _steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    """(position, size) of the pieces in which a range is read."""
    for position in range(start, end, READ_AT_ONCE_BYTES):
        yield position, min(READ_AT_ONCE_BYTES, end - position)


def _read_at(stream: BinaryIO, position: int, size: int) -> bytes:
    stream.seek(position)
    return stream.read(size)
