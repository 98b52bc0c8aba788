"""Reads another index: its pages, facts about its files, parts of them, and whole files.

Only asks and parses; what is kept is decided by ``operations.mirror``. One session per process. Every
foreign error leaves as ``UpstreamFailed``, without the upstream's credentials in its text. Credentials of the
index go to the index's own origin only, never to the host that serves its files.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from base64 import b64encode
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

import aiohttp

from conveyor.domain.digests import is_sha256
from conveyor.domain.mirror import (
    FileFacts,
    Unchanged,
    UpstreamFile,
    UpstreamPage,
    is_sound_filename,
)
from conveyor.domain.times import utc_text
from conveyor.errors import NotFound, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from packaging.utils import NormalizedName

    from conveyor.domain.mirror import MirroredFile

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PAGE_LIMIT_BYTES = 128 * 1024 * 1024
METADATA_LIMIT_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
CONNECTIONS = 128
"""More than are ever asked for sizes at once, so that pages and files never wait behind those."""
CONNECT_TIMEOUT_SECONDS = 15.0


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
    """One other index, read through one session."""

    def __init__(
        self,
        url: str,
        *,
        cert: str | None = None,
        proxy: str | None = None,
        timeout_seconds: float = 15.0,
    ) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._root = urlunsplit(parts._replace(netloc=host, query="", fragment="")).rstrip("/") + "/"
        self._authorization: str | None = None
        if parts.username:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._authorization = "Basic " + b64encode(credentials.encode()).decode()
        self._proxy = proxy
        self._timeout_seconds = timeout_seconds
        self._cert = cert
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the session's connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch_page(
        self, project: NormalizedName, *, etag: str | None = None
    ) -> UpstreamPage | Unchanged | None:
        """The page of a project; ``None`` when upstream has no such project.

        Raises:
            UpstreamFailed: no answer in time, an answer other than a page, 304 or 404.
        """
        url = f"{self._root}{quote(project)}/"
        headers = {"Accept": ACCEPT}
        if etag is not None and not is_own_etag(etag):
            headers["If-None-Match"] = etag
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        with _foreign_errors(f"upstream's page of {project}"):
            async with self._request("GET", url, headers=headers, timeout=timeout, is_page=True) as answer:
                if answer.status == 304:
                    return Unchanged()
                if answer.status in (404, 410):
                    return None
                _expect(answer, 200)
                body = await _read_limited(answer, PAGE_LIMIT_BYTES)
                found_etag = _sound(answer.headers.get("ETag")) or own_etag(body)
                if found_etag == etag:
                    return Unchanged()
                files = await asyncio.to_thread(
                    _parse_page, body, answer.content_type, answer.charset, _without_user(str(answer.url))
                )
                return UpstreamPage(files=files, etag=found_etag)

    async def has_project(self, project: NormalizedName) -> bool:
        """Whether upstream has a project of that name; raises UpstreamFailed."""
        return await self.fetch_page(project) is not None

    async def file_facts(self, file: MirroredFile) -> FileFacts:
        """Size and time of a file, as its server says without sending it."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        with _foreign_errors(f"the server of {file.filename}"):
            async with self._request("HEAD", file.url, timeout=timeout) as answer:
                _expect(answer, 200)
                return FileFacts(
                    filename=file.filename,
                    sha256=file.sha256,
                    size_bytes=_content_length(answer),
                    last_modified=_http_date(answer.headers.get("Last-Modified")),
                )

    async def fetch_part(self, file: MirroredFile, *, byte_range: str) -> Part | None:
        """A part of a file, ``byte_range`` such as ``0-99`` or ``-500``; ``None``: no parts are given."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        headers = {"Range": f"bytes={byte_range}"}
        with _foreign_errors(f"the server of {file.filename}"):
            async with self._request("GET", file.url, headers=headers, timeout=timeout) as answer:
                if answer.status == 200:
                    answer.close()
                    return None
                _expect(answer, 206)
                start, total = _content_range(answer.headers.get("Content-Range", ""))
                return Part(start, await _read_limited(answer, METADATA_LIMIT_BYTES), total)

    async def fetch_metadata(self, file: MirroredFile) -> bytes:
        """The metadata file beside a distribution (PEP 658).

        Raises:
            NotFound: upstream has none.
            UpstreamFailed: no answer, or bytes of another digest than the page said.
        """
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        with _foreign_errors(f"upstream's metadata of {file.filename}"):
            async with self._request("GET", f"{file.url}.metadata", timeout=timeout) as answer:
                if answer.status in (403, 404, 410):
                    raise NotFound(f"upstream has no metadata of {file.filename}")
                _expect(answer, 200)
                content = await _read_limited(answer, METADATA_LIMIT_BYTES)
        if file.metadata_sha256 and hashlib.sha256(content).hexdigest() != file.metadata_sha256:
            raise UpstreamFailed(
                f"upstream's metadata of {file.filename} has another digest than its page says"
            )
        return content

    @asynccontextmanager
    async def open_file(self, file: MirroredFile) -> AsyncIterator[Body]:
        """The whole file as its server sends it; digest and length are the caller's to check.

        There is no time limit on the whole, only on silence. Leaving early closes the connection.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=self._timeout_seconds
        )
        with _foreign_errors(f"the server of {file.filename}"):
            async with self._request("GET", file.url, timeout=timeout) as answer:
                if answer.status in (404, 410):
                    raise NotFound(f"upstream no longer has {file.filename}")
                _expect(answer, 200)
                yield Body(_content_length(answer), answer.content.iter_chunked(CHUNK_BYTES))

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        url: str,
        *,
        timeout: aiohttp.ClientTimeout,
        headers: Mapping[str, str] | None = None,
        is_page: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = self._open_session()
        sent = dict(headers or {})
        if not is_page:
            sent["Accept-Encoding"] = "identity"  # a file's bytes are hashed as they are
        if self._authorization and _origin(url) == _origin(self._root):
            sent["Authorization"] = self._authorization  # dropped by aiohttp on a redirect to another origin
        async with self._session.request(
            method,
            url,
            headers=sent,
            timeout=timeout,
            proxy=self._proxy,
            auto_decompress=is_page,
        ) as answer:
            yield answer

    def _open_session(self) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=self._cert)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "conveyor"},
            trust_env=self._proxy is None,
        )


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
    except (aiohttp.ClientError, ssl.SSLError, OSError, UnicodeError) as error:  # the last: no name of a host
        reason = type(error).__name__
        raise UpstreamFailed(f"{what} can not be had: {reason}", hint="is the upstream reachable?") from error


def _expect(answer: aiohttp.ClientResponse, status: int) -> None:
    if answer.status != status:
        raise UpstreamFailed(f"{_without_user(str(answer.url))} answered {answer.status} {answer.reason}")


async def _read_limited(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            raise UpstreamFailed(f"{_without_user(str(answer.url))} sent more than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _content_length(answer: aiohttp.ClientResponse) -> int | None:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return None
    text = answer.headers.get("Content-Length", "")
    return _size(int(text)) if text.isdecimal() and len(text) < 20 else None


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


def _size(size_bytes: int | None) -> int | None:
    """A size that a file can have and a row can hold; any other is as good as none."""
    return size_bytes if size_bytes is not None and 0 <= size_bytes < 2**63 else None


def _sound(value: str | None) -> str | None:
    """A header of printable ASCII, which can be stored and sent back; ``None`` for any other."""
    return value if value is not None and value.isascii() and value.isprintable() else None


def _parse_page(body: bytes, content_type: str, charset: str | None, url: str) -> tuple[UpstreamFile, ...]:
    """The files of a page; those without a SHA-256 can not be served by digest and are left out.

    A page on which every link is left out is somebody's page, but not of this API (a login form, say): it
    must not pass for a project without files.
    """
    try:
        parse = _parse_json(body, url) if content_type.endswith("json") else _parse_html(body, charset, url)
        found = list(parse)
    except Exception as error:  # whatever a parser says of foreign bytes
        raise UpstreamFailed(
            f"{url} is no page of the simple API: {type(error).__name__}",
            hint="is the store's upstream a Python package index?",
        ) from error
    kept = tuple(
        file
        for file in found
        if is_sha256(file.sha256) and is_sound_filename(file.filename) and _is_http(file.url)
    )
    if found and not kept:
        raise UpstreamFailed(f"{url} names no file with a SHA-256", hint="is it a Python package index?")
    return kept


def _parse_json(body: bytes, url: str) -> Iterator[UpstreamFile]:
    from pypi_simple import ProjectPage

    page = ProjectPage.from_json_data(json.loads(body), base_url=url)
    for package in page.packages:
        yield UpstreamFile(
            filename=package.filename,
            url=package.url,
            sha256=package.digests.get("sha256", "").lower(),
            size_bytes=_size(package.size),
            upload_time=utc_text(package.upload_time) if package.upload_time else None,
            requires_python=_text(package.requires_python),
            is_yanked=package.is_yanked,
            yank_reason=_text(package.yanked_reason),
            has_metadata=bool(package.has_metadata),
            metadata_sha256=_sha256_of(package.metadata_digests),
        )


def _parse_html(body: bytes, charset: str | None, url: str) -> Iterator[UpstreamFile]:
    from datetime import datetime

    from pypi_simple import DistributionPackage, parse_links_stream

    for link in parse_links_stream([body], base_url=url, http_charset=charset or "utf-8"):
        package = DistributionPackage.from_link(link)
        upload_time = link.attrs.get("data-upload-time")  # no standard, but some indexes give it
        yield UpstreamFile(
            filename=package.filename,
            url=package.url,
            sha256=package.digests.get("sha256", "").lower(),
            upload_time=utc_text(datetime.fromisoformat(str(upload_time))) if upload_time else None,
            requires_python=_text(package.requires_python),
            is_yanked=package.is_yanked,
            yank_reason=_text(package.yanked_reason),
            has_metadata=bool(package.has_metadata),
            metadata_sha256=_sha256_of(package.metadata_digests),
        )


def _sha256_of(digests: Mapping[str, Any] | None) -> str | None:
    digest = str((digests or {}).get("sha256", "")).lower()
    return digest if is_sha256(digest) else None


def _text(value: str | None) -> str | None:
    """Text that every database can hold as UTF-8, whatever escapes the upstream's JSON held."""
    return None if value is None else value.encode("utf-8", "replace").decode().replace("\0", "?")


def _is_http(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https") and url.isprintable()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(urljoin(url, "/"))
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
