"""Another index, as a mirror reads it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from conveyor.domain.distributions.partial_wheels import MIRRORED_METADATA_LIMIT_BYTES
from conveyor.domain.indexes.mirror import PAGE_LIMIT_BYTES, FileFacts, Unchanged
from conveyor.errors import NotFound, UpstreamFailed
from conveyor.upstream.answers import (
    CHUNK_BYTES,
    Limit,
    Room,
    content_length,
    content_range,
    expect,
    last_modified,
    sound_etag,
)
from conveyor.upstream.connections import Connections, without_user
from conveyor.upstream.pages import ACCEPT, PageReader
from conveyor.upstream.questions import Questions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from packaging.utils import NormalizedName

    from conveyor.domain.indexes.mirror import MirroredFile, UpstreamPage

PROVENANCE_LIMIT = Limit(4 * 1024 * 1024, "an attestation has some 10 KB: is the upstream's damaged?")
_METADATA_LIMIT = Limit(MIRRORED_METADATA_LIMIT_BYTES, "is this file what its upstream meant to publish?")


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
    """The size that its server announced."""
    chunks: AsyncIterator[bytes]


class Upstream:
    """One other index, read through one set of connections.

    ``timeout_seconds`` as in ``Questions``; ``page_limit_bytes``: how large a page may be, unpacked.
    """

    def __init__(
        self,
        url: str,
        *,
        cert: str | None = None,
        proxy: str | None = None,
        timeout_seconds: float = 15.0,
        page_limit_bytes: int = PAGE_LIMIT_BYTES,
    ) -> None:
        self._room = Room()
        self._page_limit = Limit(
            page_limit_bytes,
            "is the store's upstream a Python package index? CONVEYOR_PAGE_LIMIT_BYTES sets the limit",
        )
        self._connections = Connections(url, cert=cert, proxy=proxy)
        self._questions = Questions(self._connections, timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def fetch_page(
        self, project: NormalizedName, *, etag: str | None = None
    ) -> UpstreamPage | Unchanged | None:
        """The page of a project; ``None`` if upstream has no such project.

        Raises:
            UpstreamBusy: upstream asks us to wait for a while.
            UpstreamFailed: no answer in time, an answer other than a page, 304 or 404.
        """
        url = f"{self._connections.root}{quote(project)}/"
        headers = {"Accept": ACCEPT}
        if etag is not None and not _is_own_etag(etag):
            headers["If-None-Match"] = etag
        what = f"upstream's page of {project}"
        async with self._questions.asked(url, what, headers=headers, is_page=True) as answer:
            if answer.status == 304:
                return Unchanged()
            if answer.status in (404, 410):
                return None
            expect(answer, 200)
            if etag is not None and etag == sound_etag(answer):
                return Unchanged()
            reader = PageReader(
                without_user(str(answer.url)), content_type=answer.content_type, charset=answer.charset
            )
            digest = hashlib.sha256()
            async with self._room.pieces(answer, what, limit=self._page_limit, is_unpacked=True) as pieces:
                async for piece in pieces:
                    digest.update(piece)
                    await asyncio.to_thread(reader.feed, piece)
                found_etag = sound_etag(answer) or _own_etag(digest.hexdigest())
                if found_etag == etag:
                    return Unchanged()
                await asyncio.to_thread(reader.feed, b"", is_last=True)
                return await asyncio.to_thread(reader.page, found_etag)

    async def has_project(self, project: NormalizedName) -> bool:
        """Whether upstream has a project of that name; raises UpstreamFailed."""
        return await self.fetch_page(project) is not None

    async def file_facts(self, file: MirroredFile) -> FileFacts:
        """Size and time of a file, as its server states without sending it."""
        async with self._questions.asked(file.url, _server_of(file), method="HEAD") as answer:
            expect(answer, 200)
            return FileFacts(
                filename=file.filename,
                place=file.place,
                size_bytes=content_length(answer),
                last_modified=last_modified(answer),
            )

    async def fetch_part(self, file: MirroredFile, *, byte_range: str) -> Part | None:
        """A part of a file, ``byte_range`` such as ``0-99`` or ``-500``; ``None`` if parts are not served."""
        headers = {"Range": f"bytes={byte_range}"}
        async with self._questions.asked(file.url, _server_of(file), headers=headers) as answer:
            if answer.status == 200:
                answer.close()
                return None
            expect(answer, 206)
            start, total = content_range(answer)
            what = f"a part of {file.filename}"
            return Part(start, await self._room.read(answer, what, limit=_METADATA_LIMIT), total)

    async def fetch_metadata(self, file: MirroredFile) -> bytes:
        """The metadata file beside a distribution (PEP 658).

        Raises:
            NotFound: upstream has none.
            UpstreamFailed: no answer, or bytes of another digest than the page said.
        """
        content = await self._beside(f"{file.url}.metadata", f"metadata of {file.filename}", _METADATA_LIMIT)
        if file.metadata_sha256 and hashlib.sha256(content).hexdigest() != file.metadata_sha256:
            raise UpstreamFailed(
                f"upstream's metadata of {file.filename} has another digest than its page says"
            )
        return content

    async def fetch_provenance(self, file: MirroredFile) -> bytes:
        """The provenance object of a file (PEP 740), as upstream serves it; its claims are not verified.

        Raises:
            NotFound: upstream has none.
            UpstreamFailed: no answer, or something that is not a JSON object.
        """
        what = f"provenance of {file.filename}"
        if file.provenance_url is None:
            raise NotFound(f"upstream has no {what}")
        content = await self._beside(file.provenance_url, what, PROVENANCE_LIMIT)
        try:
            is_object = isinstance(json.loads(content), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise UpstreamFailed(f"upstream's {what} is not a JSON object")
        return content

    @asynccontextmanager
    async def open_file(self, file: MirroredFile) -> AsyncIterator[Body]:
        """The whole file as its server sends it; digest and length are the caller's to check.

        There is no time limit on the whole, only on silence. Leaving early closes the connection.
        """
        async with self._questions.asked(file.url, _server_of(file), is_file=True) as answer:
            if answer.status in (404, 410):
                raise NotFound(f"upstream no longer has {file.filename}")
            expect(answer, 200)
            yield Body(content_length(answer), answer.content.iter_chunked(CHUNK_BYTES))

    async def _beside(self, url: str, what: str, limit: Limit) -> bytes:
        """A small file beside a distribution; raises NotFound, UpstreamFailed."""
        async with self._questions.asked(url, f"upstream's {what}") as answer:
            if answer.status in (403, 404, 410):
                raise NotFound(f"upstream has no {what}")
            expect(answer, 200)
            return await self._room.read(answer, f"upstream's {what}", limit=limit)


def _server_of(file: MirroredFile) -> str:
    return f"the server of {file.filename}"


def _own_etag(sha256: str) -> str:
    """A validator for a page that came without one; never sent to upstream."""
    return f"body:{sha256}"


def _is_own_etag(etag: str) -> bool:
    """Whether a validator was made by ``_own_etag``."""
    return etag.startswith("body:")
