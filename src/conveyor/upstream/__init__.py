"""Reads another index: its pages, facts about its files, parts of them, and whole files.

Only asks (``connections``) and parses (``pages``); what is kept is decided by ``operations.mirror``. One
value per process. Every foreign error leaves as ``UpstreamFailed``, and never with credentials in its text.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp

from conveyor.domain.mirror import FileFacts, Unchanged
from conveyor.domain.partial_wheels import MIRRORED_METADATA_LIMIT_BYTES
from conveyor.domain.times import utc_text
from conveyor.errors import NotFound, UpstreamBusy, UpstreamFailed
from conveyor.upstream.connections import Connections, RefusedAddress, refused_address, without_user
from conveyor.upstream.pages import ACCEPT, ReceivedPage, parse_page, size_or_none

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from packaging.utils import NormalizedName

    from conveyor.domain.mirror import MirroredFile, UpstreamPage

PAGE_LIMIT_BYTES = 128 * 1024 * 1024
PROVENANCE_LIMIT_BYTES = 4 * 1024 * 1024
"""An attestation has some 10 KB, and a file has one or two."""
CHUNK_BYTES = 256 * 1024
CONNECT_TIMEOUT_SECONDS = 15.0
TOTAL_TIMES = 4
"""A page may take so many times the timeout in all, as long as it is never silent for one."""
LONGEST_REST_SECONDS = 600
"""An upstream that wants to be left alone for longer is asked again after this all the same."""
USUAL_REST_SECONDS = 30
"""Of an upstream that answers 429 without saying for how long."""


@dataclass(frozen=True)
class Part:
    """A part of a file: bytes from ``start`` on, of ``total_bytes``."""

    start: int
    content: bytes
    total_bytes: int


@dataclass(frozen=True)
class Body:
    """A file being received."""

    size_bytes: int | None
    """What its server announced."""
    chunks: AsyncIterator[bytes]


class Upstream:
    """One other index, read through one set of connections.

    ``timeout_seconds`` is how long an upstream may take to accept a connection, and how long it may be
    silent; connecting never waits longer than ``CONNECT_TIMEOUT_SECONDS``.
    """

    def __init__(
        self,
        url: str,
        *,
        cert: str | None = None,
        proxy: str | None = None,
        timeout_seconds: float = 15.0,
    ) -> None:
        self._connections = Connections(url, cert=cert, proxy=proxy)
        self._silence = aiohttp.ClientTimeout(
            total=None,
            sock_connect=min(timeout_seconds, CONNECT_TIMEOUT_SECONDS),
            sock_read=timeout_seconds,
        )
        self._small = aiohttp.ClientTimeout(
            total=TOTAL_TIMES * timeout_seconds,
            sock_connect=self._silence.sock_connect,
            sock_read=timeout_seconds,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def fetch_page(
        self, project: NormalizedName, *, etag: str | None = None
    ) -> UpstreamPage | Unchanged | None:
        """The page of a project; ``None`` when upstream has no such project.

        Raises:
            UpstreamBusy: upstream wants to be left alone for a while.
            UpstreamFailed: no answer in time, an answer other than a page, 304 or 404.
        """
        url = f"{self._connections.root}{quote(project)}/"
        headers = {"Accept": ACCEPT}
        if etag is not None and not is_own_etag(etag):
            headers["If-None-Match"] = etag
        async with self._asked(
            "GET", url, f"upstream's page of {project}", headers=headers, is_page=True
        ) as answer:
            if answer.status == 304:
                return Unchanged()
            if answer.status in (404, 410):
                return None
            _expect(answer, 200)
            body = await _read_limited(answer, PAGE_LIMIT_BYTES)
            found_etag = _sound(answer.headers.get("ETag")) or own_etag(body)
            if found_etag == etag:
                return Unchanged()
            received = ReceivedPage(
                body, answer.content_type, answer.charset, without_user(str(answer.url)), found_etag
            )
            return await asyncio.to_thread(parse_page, received)

    async def has_project(self, project: NormalizedName) -> bool:
        """Whether upstream has a project of that name; raises UpstreamFailed."""
        return await self.fetch_page(project) is not None

    async def file_facts(self, file: MirroredFile) -> FileFacts:
        """Size and time of a file, as its server says without sending it."""
        async with self._asked("HEAD", file.url, f"the server of {file.filename}") as answer:
            _expect(answer, 200)
            return FileFacts(
                filename=file.filename,
                sha256=file.sha256,
                size_bytes=_content_length(answer),
                last_modified=_http_date(answer.headers.get("Last-Modified")),
            )

    async def fetch_part(self, file: MirroredFile, *, byte_range: str) -> Part | None:
        """A part of a file, ``byte_range`` such as ``0-99`` or ``-500``; ``None``: no parts are given."""
        headers = {"Range": f"bytes={byte_range}"}
        async with self._asked("GET", file.url, f"the server of {file.filename}", headers=headers) as answer:
            if answer.status == 200:
                answer.close()
                return None
            _expect(answer, 206)
            start, total = _content_range(answer.headers.get("Content-Range", ""))
            return Part(start, await _read_limited(answer, MIRRORED_METADATA_LIMIT_BYTES), total)

    async def fetch_metadata(self, file: MirroredFile) -> bytes:
        """The metadata file beside a distribution (PEP 658).

        Raises:
            NotFound: upstream has none.
            UpstreamFailed: no answer, or bytes of another digest than the page said.
        """
        content = await self._beside(
            f"{file.url}.metadata", f"metadata of {file.filename}", MIRRORED_METADATA_LIMIT_BYTES
        )
        if file.metadata_sha256 and hashlib.sha256(content).hexdigest() != file.metadata_sha256:
            raise UpstreamFailed(
                f"upstream's metadata of {file.filename} has another digest than its page says"
            )
        return content

    async def fetch_provenance(self, file: MirroredFile) -> bytes:
        """The provenance object of a file (PEP 740), as upstream has it; what it attests is not verified.

        Raises:
            NotFound: upstream has none.
            UpstreamFailed: no answer, or something that is no JSON object.
        """
        what = f"provenance of {file.filename}"
        if file.provenance_url is None:
            raise NotFound(f"upstream has no {what}")
        content = await self._beside(file.provenance_url, what, PROVENANCE_LIMIT_BYTES)
        try:
            is_object = isinstance(json.loads(content), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise UpstreamFailed(f"upstream's {what} is no JSON object")
        return content

    @asynccontextmanager
    async def open_file(self, file: MirroredFile) -> AsyncIterator[Body]:
        """The whole file as its server sends it; digest and length are the caller's to check.

        There is no time limit on the whole, only on silence. Leaving early closes the connection.
        """
        async with self._asked(
            "GET", file.url, f"the server of {file.filename}", timeout=self._silence
        ) as answer:
            if answer.status in (404, 410):
                raise NotFound(f"upstream no longer has {file.filename}")
            _expect(answer, 200)
            yield Body(_content_length(answer), answer.content.iter_chunked(CHUNK_BYTES))

    async def _beside(self, url: str, what: str, limit_bytes: int) -> bytes:
        """A small file that stands beside a distribution; raises NotFound, UpstreamFailed."""
        async with self._asked("GET", url, f"upstream's {what}") as answer:
            if answer.status in (403, 404, 410):
                raise NotFound(f"upstream has no {what}")
            _expect(answer, 200)
            return await _read_limited(answer, limit_bytes)

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        url: str,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
        is_page: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one question; ``what`` was asked stands in errors."""
        # A file's bytes are hashed as they are.
        sent = dict(headers or {}) if is_page else {"Accept-Encoding": "identity", **(headers or {})}
        with _foreign_errors(what):
            async with self._connections.request(
                method, url, timeout=timeout or self._small, headers=sent, is_decompressed=is_page
            ) as answer:
                yield answer


def own_etag(body: bytes) -> str:
    """A validator for a page that came without one; never sent to upstream."""
    return f"body:{hashlib.sha256(body).hexdigest()}"


def is_own_etag(etag: str) -> bool:
    """Whether a validator was made by :func:`own_etag`."""
    return etag.startswith("body:")


@contextmanager
def _foreign_errors(what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise UpstreamFailed(
            f"{what} did not come in time", hint="try again; is the upstream slow?"
        ) from error
    except aiohttp.ClientResponseError as error:
        raise UpstreamFailed(f"{what} was answered with {error.status} {error.message}") from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, RefusedAddress):
            raise refused_address(f"{error.host}:{error.port}") from error
        raise _not_had(what, error) from error
    except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:  # the last: no URL, no host
        raise _not_had(what, error) from error


def _not_had(what: str, error: Exception) -> UpstreamFailed:
    return UpstreamFailed(f"{what} can not be had: {type(error).__name__}", hint="is the upstream reachable?")


def _expect(answer: aiohttp.ClientResponse, status: int) -> None:
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


async def _read_limited(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            raise UpstreamFailed(f"{without_user(str(answer.url))} sent more than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _content_length(answer: aiohttp.ClientResponse) -> int | None:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return None
    text = answer.headers.get("Content-Length", "")
    return size_or_none(int(text)) if text.isdecimal() and len(text) < 20 else None


def _content_range(value: str) -> tuple[int, int]:
    """(start, total) of ``bytes 5-9/100``."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not (start.isdecimal() and total.isdecimal()) or len(start) + len(total) > 36:
        raise UpstreamFailed(f'upstream sent a part without saying which: Content-Range "{value[:100]}"')
    return int(start), int(total)


def _http_date(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return utc_text(parsedate_to_datetime(value))
    except (ValueError, OverflowError):
        return None


def _sound(value: str | None) -> str | None:
    """A header of printable ASCII, which can be stored and sent back; ``None`` for any other."""
    return value if value is not None and value.isascii() and value.isprintable() else None
