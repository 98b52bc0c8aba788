"""Pages as they are kept in memory: rendered, compressed, and built into the replies that send them."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

import zstandard

from conveyor.domain.indexes.simple_api import (
    HTML,
    JSON,
    TEXT_HTML,
    render_list_html,
    render_list_json,
    render_project_html,
    render_project_json,
)
from conveyor.domain.words.ranges import etag_matches
from conveyor.operations.indexes.pages import FoundPage
from conveyor.server.http.messages import LOCKED_PAGE, NO_BODY, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from starlette.types import Message

    from conveyor.domain.indexes.simple_api import MediaType
    from conveyor.operations.indexes.pages import FoundList

VARIANT_BYTES = 2048
"""Memory of a variant besides its body: messages, headers, keys (measured: 1,850 bytes)."""

SMALLEST_COMPRESSED_BYTES = 1024
"""A smaller page fits into one packet as it is."""

_CONTENT_TYPES: dict[MediaType, bytes] = {
    JSON: JSON.encode(),
    HTML: HTML.encode() + b"; charset=utf-8",
    TEXT_HTML: b"text/html; charset=utf-8",
}
_TAGS: dict[MediaType, str] = {JSON: "json", HTML: "html", TEXT_HTML: "text"}
VARY = (b"vary", b"Accept, Accept-Encoding")


class Variant:
    """A page in one form and coding, as the replies that send it."""

    __slots__ = ("_etag_bytes", "etag", "head", "not_modified", "weight_bytes", "whole")

    def __init__(
        self,
        body: bytes,
        *,
        media: MediaType,
        coding: str,
        etag: str,
        serial: int,
        is_private: bool,
        supplied_by: str | None,
    ) -> None:
        self.etag = etag
        self._etag_bytes = etag.encode()
        common = [
            (b"etag", self._etag_bytes),
            (b"cache-control", b"private, no-cache" if is_private else b"no-cache"),
            VARY,
            (b"x-pypi-last-serial", str(serial).encode()),
        ]
        headers = [
            (b"content-type", _CONTENT_TYPES[media]),
            (b"content-length", str(len(body)).encode()),
            *common,
        ]
        if media == TEXT_HTML:
            headers.extend(LOCKED_PAGE)
        if coding != "identity":
            headers.append((b"content-encoding", coding.encode()))
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        unchanged: Message = {"type": "http.response.start", "status": 304, "headers": common}
        self.whole = Reply(start, {"type": "http.response.body", "body": body}, supplied_by)
        self.head = Reply(start, NO_BODY, supplied_by)
        self.not_modified = Reply(unchanged, NO_BODY, supplied_by)
        self.weight_bytes = len(body) + VARIANT_BYTES

    def reply(self, method: str, if_none_match: bytes) -> Reply:
        """The reply to a GET or HEAD request."""
        if if_none_match and (
            if_none_match == self._etag_bytes or etag_matches(if_none_match.decode("latin-1"), self.etag)
        ):
            return self.not_modified
        return self.head if method == "HEAD" else self.whole


class Representations:
    """The kept variants of one page (RFC 9110, section 3.2), with their readers and their freshness."""

    __slots__ = (
        "fresh_until",
        "index",
        "is_private",
        "is_used",
        "project",
        "serial",
        "supplied_by",
        "variants",
    )

    def __init__(
        self, found: FoundPage | FoundList, *, project: str | None, fresh_until: datetime | None
    ) -> None:
        self.is_used = False
        self.index = found.index
        self.is_private = found.index.is_private
        self.project = project
        self.serial = found.serial
        self.fresh_until = fresh_until
        """When a mirror must be asked again; ``None`` if never."""
        self.variants: dict[tuple[MediaType | None, str], Variant] = {}

    @property
    def weight_bytes(self) -> int:
        """Bytes of all rendered variants and of the data kept with them."""
        return sum(variant.weight_bytes for variant in self.variants.values())

    def is_fresh(self, clock: Callable[[], datetime]) -> bool:
        """Whether the page may be shown without asking a mirror."""
        return self.fresh_until is None or self.fresh_until > clock()


def render_variant(
    found: FoundPage | FoundList, media: MediaType, coding: str, *, public_url: str
) -> Variant:
    """A page rendered in one form and coding; this takes a while for thousands of files."""
    index, serial = found.index.name, found.serial
    if isinstance(found, FoundPage):
        render = render_project_json if media == JSON else render_project_html
        body = render(found.page, index=index, public_url=public_url)
        serial = found.page.serial
    elif media == JSON:
        body = render_list_json(found.projects, serial=found.serial)
    else:
        body = render_list_html(found.projects)
    digest = hashlib.blake2b(body, digest_size=12).hexdigest()
    if len(body) < SMALLEST_COMPRESSED_BYTES:
        coding = "identity"
    elif coding == "gzip":
        body = gzip.compress(body, 6, mtime=0)
    elif coding == "zstd":
        body = zstandard.compress(body, 3)
    etag = f'"{digest}-{_TAGS[media]}-{coding}"'
    return Variant(
        body,
        media=media,
        coding=coding,
        etag=etag,
        serial=serial,
        is_private=found.index.is_private,
        supplied_by=found.supplied_by if isinstance(found, FoundPage) else index,
    )
