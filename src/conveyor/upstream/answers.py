"""Answers of an upstream: what was asked for or not, what the headers say, and bytes up to a limit.

Headers are foreign too: one that says nothing sensible counts as missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from conveyor.domain.words.notation import utc_text
from conveyor.errors import UpstreamBusy, UpstreamFailed
from conveyor.upstream.connections import without_user
from conveyor.upstream.pages import size_or_none

if TYPE_CHECKING:
    import aiohttp

CHUNK_BYTES = 256 * 1024
LONGEST_REST_SECONDS = 600
"""An upstream that wants to be left alone for longer is asked again after this all the same."""
USUAL_REST_SECONDS = 30
"""Of an upstream that answers 429 without saying for how long."""


def expect(answer: aiohttp.ClientResponse, status: int) -> None:
    """Raise UpstreamFailed unless this is the answer; UpstreamBusy when it says when to ask again."""
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
    """What ``Retry-After`` says (RFC 9110, section 10.2.3), within bounds; ``None``: nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return min(int(text), LONGEST_REST_SECONDS) or 1
    try:
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return int(min(max(seconds, 1), LONGEST_REST_SECONDS))


async def read_limited(answer: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """All bytes of an answer; raises UpstreamFailed when there are more than the limit."""
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > limit_bytes:
            raise UpstreamFailed(f"{without_user(str(answer.url))} sent more than {limit_bytes} bytes")
        parts.append(chunk)
    return b"".join(parts)


def content_length(answer: aiohttp.ClientResponse) -> int | None:
    """Bytes of the file that is answered; ``None``: not said, or said of something packed."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return None
    text = answer.headers.get("Content-Length", "")
    return size_or_none(int(text)) if text.isdecimal() and len(text) < 20 else None


def content_range(answer: aiohttp.ClientResponse) -> tuple[int, int]:
    """(start, total) of a part, such as ``bytes 5-9/100``; raises UpstreamFailed when it is not said."""
    value = answer.headers.get("Content-Range", "")
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not (start.isdecimal() and total.isdecimal()) or len(start) + len(total) > 36:
        raise UpstreamFailed(f'upstream sent a part without saying which: Content-Range "{value[:100]}"')
    return int(start), int(total)


def last_modified(answer: aiohttp.ClientResponse) -> str | None:
    """When a file was changed last, in UTC."""
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
