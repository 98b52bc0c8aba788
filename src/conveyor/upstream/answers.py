"""Answers of an upstream: expected or not, their headers, and their bytes up to a limit.

Headers are foreign too: a header that makes no sense counts as missing.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from conveyor.domain.words.notation import utc_text
from conveyor.errors import UpstreamBusy, UpstreamFailed
from conveyor.upstream.connections import without_user
from conveyor.upstream.pages import size_or_none

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    import aiohttp

CHUNK_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024
"""How much of an answer is read at a time."""
SMALL_ANSWER_BYTES = 1024 * 1024
"""Answers up to this size are read at any time, however many there are; for a page, some 1,500 files."""
LARGE_ANSWERS_AT_ONCE = 2
"""A parsed page takes up to twice its size in memory; two of the largest, a quarter of a gigabyte."""
LONGEST_REST_SECONDS = 600
"""An upstream that asks us to wait longer is nonetheless asked again after this time."""
USUAL_REST_SECONDS = 30
"""Wait after a 429 that does not say how long."""


def expect(answer: aiohttp.ClientResponse, status: int) -> None:
    """Raise UpstreamFailed unless the answer is as expected; UpstreamBusy if it says when to ask again."""
    if answer.status == status:
        return
    said = f"{without_user(str(answer.url))} answered {answer.status} {answer.reason}"
    rest = _rest_seconds(answer.headers.get("Retry-After"))
    if answer.status == 429 or (answer.status == 503 and rest is not None):
        raise UpstreamBusy(said, retry_after_seconds=rest or USUAL_REST_SECONDS)
    if answer.status in (401, 403):
        raise UpstreamFailed(said, hint="does the store have the right credentials for its upstream?")
    raise UpstreamFailed(said)


def _rest_seconds(retry_after: str | None) -> int | None:
    """The delay in ``Retry-After`` (RFC 9110, section 10.2.3), within bounds; ``None`` if not stated."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return min(int(text), LONGEST_REST_SECONDS) or 1
    try:
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return int(min(max(seconds, 1), LONGEST_REST_SECONDS))


class Room:
    """How much of large answers one process holds at once.

    Most answers are small and short-lived. One of more than ``SMALL_ANSWER_BYTES`` takes one of a few places,
    and waits while all are taken.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(LARGE_ANSWERS_AT_ONCE)

    @asynccontextmanager
    async def pieces(
        self, answer: aiohttp.ClientResponse, what: str, *, limit: Limit, is_unpacked: bool = False
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an answer in pieces of at least ``PIECE_BYTES``, except the last one.

        Raises, while they are read:
            UpstreamFailed: there are more than the limit, packed or unpacked; or they are not packed as the
                answer says.
        """
        async with AsyncExitStack() as held:
            unpacker = _unpacker(answer) if is_unpacked else None

            async def limited() -> AsyncGenerator[bytes]:
                sent = size = 0
                waiting = bytearray()
                async for chunk in answer.content.iter_any():
                    sent += len(chunk)
                    for piece in (chunk,) if unpacker is None else unpacker.unpacked(chunk):
                        is_small_so_far = size <= SMALL_ANSWER_BYTES
                        size += len(piece)
                        limit.check(max(sent, size), what)
                        if is_small_so_far and size > SMALL_ANSWER_BYTES:
                            await self._places.acquire()
                            held.callback(self._places.release)
                        waiting += piece
                        if len(waiting) >= PIECE_BYTES:
                            yield bytes(waiting)
                            waiting.clear()
                    limit.check(sent, what)
                if unpacker is not None:
                    waiting += unpacker.rest()
                yield bytes(waiting)

            yield await held.enter_async_context(aclosing(limited()))

    async def read(self, answer: aiohttp.ClientResponse, what: str, *, limit: Limit) -> bytes:
        """All bytes of an answer, as sent; raises UpstreamFailed if there are too many."""
        async with self.pieces(answer, what, limit=limit) as pieces:
            return b"".join([piece async for piece in pieces])


@dataclass(frozen=True, slots=True)
class Limit:
    """Limit of an answer's size in bytes."""

    size_bytes: int
    advice: str
    """Hint for an answer over the limit."""

    def check(self, size_bytes: int, what: str) -> None:
        """Raise UpstreamFailed if the size is over the limit."""
        if size_bytes > self.size_bytes:
            raise UpstreamFailed(f"{what} has more than {self.size_bytes:,} bytes", hint=self.advice)


def _unpacker(answer: aiohttp.ClientResponse) -> _Unpacker | None:
    coding = answer.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip"):
        return _Unpacker(without_user(str(answer.url)))
    raise UpstreamFailed(
        f'{without_user(str(answer.url))} came packed as "{coding[:40]}", and only gzip was asked for',
        hint="is there a proxy in between that compresses files?",
    )


class _Unpacker:
    """Unpacks gzip, one member after the other (RFC 1952); a few kilobytes may unpack to gigabytes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._member = zlib.decompressobj(wbits=_GZIP)

    def unpacked(self, content: bytes) -> Iterator[bytes]:
        """The unpacked bytes, in small pieces; raises UpstreamFailed."""
        while content:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=_GZIP)
            try:
                piece = self._member.decompress(content, PIECE_BYTES)
            except zlib.error as error:
                raise self._failed() from error
            content = self._member.unused_data or self._member.unconsumed_tail
            yield piece

    def rest(self) -> bytes:
        """The bytes still held after the last input; raises UpstreamFailed if the end is missing."""
        rest = self._member.flush()
        if not self._member.eof:
            raise self._failed()
        return rest

    def _failed(self) -> UpstreamFailed:
        return UpstreamFailed(
            f"{self._url} is not packed as it says, or was cut off", hint="try again; is a proxy in between?"
        )


_GZIP = 31
"""zlib's code for a window of 32 KB and the gzip format."""


def content_length(answer: aiohttp.ClientResponse) -> int | None:
    """Size of the file in the answer, in bytes; ``None`` if not stated, or stated of a packed form."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return None
    text = answer.headers.get("Content-Length", "")
    return size_or_none(int(text)) if text.isdecimal() and len(text) < 20 else None


def content_range(answer: aiohttp.ClientResponse) -> tuple[int, int]:
    """(start, total) of a part, such as ``bytes 5-9/100``; raises UpstreamFailed if it is not stated."""
    value = answer.headers.get("Content-Range", "")
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not (start.isdecimal() and total.isdecimal()) or len(start) + len(total) > 36:
        raise UpstreamFailed(f'upstream sent a part without saying which: Content-Range "{value[:100]}"')
    return int(start), int(total)


def last_modified(answer: aiohttp.ClientResponse) -> str | None:
    """When a file was last changed, in UTC."""
    value = answer.headers.get("Last-Modified")
    if value is None:
        return None
    try:
        return utc_text(parsedate_to_datetime(value))
    except (ValueError, OverflowError):
        return None


def sound_etag(answer: aiohttp.ClientResponse) -> str | None:
    """The validator of an answer if it can be stored and sent back: printable ASCII."""
    value = answer.headers.get("ETag")
    return value if value is not None and value.isascii() and value.isprintable() else None
