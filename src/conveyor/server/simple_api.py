"""The simple API's pages: bare ASGI, answered from memory as long as nothing has changed.

The hot path is ``at_once``: is everything kept as new as the catalogue (two words of shared memory)? is this
path kept, and may everybody read it? which form and coding does the client want? does it have that one
already (304)? else here it is. All the rest is below ``__call__``: a catalogue that has to be asked,
credentials, redirects, mirrors that are to be asked, rendering, compressing.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import zstandard

from conveyor.domain.access import may_read
from conveyor.domain.names import project_name
from conveyor.domain.ranges import etag_matches
from conveyor.domain.simple_api import (
    HTML,
    JSON,
    MEDIA_TYPES,
    TEXT_HTML,
    accepts_encoding,
    negotiate,
    render_list_html,
    render_list_json,
    render_project_html,
    render_project_json,
)
from conveyor.errors import InvalidName, NotFound
from conveyor.operations.indexes import get_index
from conveyor.operations.pages import FoundPage, find_list
from conveyor.server.answers import NO_BODY, PLAIN_TEXT, Reply, send_answer, send_reply
from conveyor.server.problems import method_not_allowed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from packaging.utils import NormalizedName
    from starlette.types import Message, Receive, Scope, Send

    from conveyor.domain.access import Identity
    from conveyor.domain.simple_api import MediaType
    from conveyor.operations.pages import FoundList
    from conveyor.operations.store import Store
    from conveyor.server.auth import Authenticator
    from conveyor.server.caches import Freshness
    from conveyor.server.pages import Pages

CACHE_BYTES = 32 * 1024 * 1024
"""Of rendered pages and what is kept with them, per process."""

VARIANT_BYTES = 2048
"""What a variant weighs beside its body: messages, headers, keys (measured: 1,850 bytes)."""

SMALLEST_COMPRESSED_BYTES = 1024
"""A smaller page fits into one packet as it is."""

REMEMBERED_HEADERS = 1024
LONGEST_REMEMBERED_HEADER = 512

_CONTENT_TYPES: dict[MediaType, bytes] = {
    JSON: JSON.encode(),
    HTML: HTML.encode() + b"; charset=utf-8",
    TEXT_HTML: b"text/html; charset=utf-8",
}
_TAGS: dict[MediaType, str] = {JSON: "json", HTML: "html", TEXT_HTML: "text"}
_VARY = (b"vary", b"Accept, Accept-Encoding")
_NO_CHOICE: tuple[None, str] = (None, "")


class Variant:
    """A page in one form and coding, as the replies that send it."""

    __slots__ = ("_etag", "_etag_bytes", "head", "not_modified", "weight_bytes", "whole")

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
        self._etag = etag
        self._etag_bytes = etag.encode()
        common = [
            (b"etag", self._etag_bytes),
            (b"cache-control", b"private, no-cache" if is_private else b"no-cache"),
            _VARY,
            (b"x-pypi-last-serial", str(serial).encode()),
        ]
        headers = [
            (b"content-type", _CONTENT_TYPES[media]),
            (b"content-length", str(len(body)).encode()),
            *common,
        ]
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
            if_none_match == self._etag_bytes or etag_matches(if_none_match.decode("latin-1"), self._etag)
        ):
            return self.not_modified
        return self.head if method == "HEAD" else self.whole


class CachedPage:
    """A page of one index: who may read it, until when it is fresh, and its variants so far."""

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
        self.index = found.index.name
        self.is_private = found.index.is_private
        self.project = project
        self.serial = found.serial
        self.fresh_until = fresh_until
        """When a mirror is to be asked again; ``None``: never."""
        self.variants: dict[tuple[MediaType | None, str], Variant] = {}

    @property
    def weight_bytes(self) -> int:
        """Bytes of everything rendered, and of what goes with it."""
        return sum(variant.weight_bytes for variant in self.variants.values())

    def is_fresh(self, clock: Callable[[], datetime]) -> bool:
        """Whether no mirror is to be asked before it is shown again."""
        return self.fresh_until is None or self.fresh_until > clock()


class SimpleApi:
    """Answers ``/{index}/simple/`` and ``/{index}/simple/{project}/``."""

    def __init__(
        self,
        store: Store,
        *,
        pages: Pages,
        freshness: Freshness,
        authenticator: Authenticator,
        public_url: str,
    ) -> None:
        """``public_url`` is the store's own, with a slash at its end: for links that may not be relative."""
        self._store = store
        self._public_url = public_url
        self._pages = pages
        self._freshness = freshness
        self._authenticator = authenticator
        self._cache = freshness.new_cache(CachedPage, CACHE_BYTES)
        self._choices: dict[tuple[bytes, bytes], tuple[MediaType | None, str]] = {}
        self._making: dict[tuple[str, MediaType, str, int], asyncio.Task[tuple[CachedPage, Variant]]] = {}

    def at_once(self, scope: Scope) -> Reply | None:
        """The reply when memory alone has it, and everybody may have it; ``None``: see ``__call__``.

        Called by any thread; it waits for nothing.
        """
        return self._from_memory(scope) if self._freshness.is_current() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: from memory if that is as new as the catalogue, else slowly."""
        del receive
        await self._freshness.catch_up()
        reply = self._from_memory(scope)
        if reply is not None:
            await send_reply(scope, send, reply)
        else:
            await self._slowly(scope, send)

    def _from_memory(self, scope: Scope) -> Reply | None:
        page = self._cache.get(scope["path"])
        if (
            page is None
            or page.is_private
            or scope["query_string"]
            or not page.is_fresh(self._store.clock)
            or scope["method"] not in ("GET", "HEAD")
        ):
            return None
        accept, accept_encoding, if_none_match, has_credentials = _asked(scope)
        variant = page.variants.get(self._choices.get((accept, accept_encoding), _NO_CHOICE))
        if variant is None or has_credentials:
            return None
        return variant.reply(scope["method"], if_none_match)

    async def _slowly(self, scope: Scope, send: Send) -> None:
        """Everything that is not answered from memory."""
        # 1. what is asked, and who asks
        if scope["method"] not in ("GET", "HEAD"):
            raise method_not_allowed(scope, "GET", "HEAD")
        accept, accept_encoding, if_none_match, _ = _asked(scope)
        media, coding = self._choose(accept, accept_encoding)
        wanted = parse_qs(scope["query_string"].decode("latin-1")).get("format")
        if wanted:
            media = negotiate(None, format_parameter=wanted[-1])
        identity = await self._authenticator.authenticate(scope["headers"])
        scope["state"]["user"] = identity.name or None
        project, location = _target(scope)
        if location is not None:
            index = await asyncio.to_thread(get_index, self._store, scope["index"])
            may_read(identity, index.name, is_private=index.is_private)
            await send_answer(send, 301, b"", content_type=PLAIN_TEXT, headers=[(b"location", location)])
            return
        if media is None:
            known = f"pages are served as {', '.join(MEDIA_TYPES)}\n".encode()
            await send_answer(send, 406, known, content_type=PLAIN_TEXT, headers=[_VARY])
            return
        # 2. from memory, else from the catalogue
        kept = self._kept(scope["path"], media, coding)
        if kept is not None:
            may_read(identity, kept[0].index, is_private=kept[0].is_private)
        _, variant = kept or await self._make(scope, project, media, coding, identity)
        await send_reply(scope, send, variant.reply(scope["method"], if_none_match))

    def _kept(self, path: str, media: MediaType, coding: str) -> tuple[CachedPage, Variant] | None:
        """A page in one form and coding, when it is kept and no mirror is to be asked."""
        page = self._cache.get(path)
        if page is None or not page.is_fresh(self._store.clock):
            return None
        variant = page.variants.get((media, coding))
        return (page, variant) if variant is not None else None

    def _choose(self, accept: bytes, accept_encoding: bytes) -> tuple[MediaType | None, str]:
        """Form and coding for two headers, remembered by their bytes: clients send few different ones."""
        choice = self._choices.get((accept, accept_encoding))
        if choice is None:
            codings = accept_encoding.decode("latin-1")
            coding = next((name for name in ("zstd", "gzip") if accepts_encoding(codings, name)), "identity")
            choice = (negotiate(accept.decode("latin-1")), coding)
            if len(self._choices) >= REMEMBERED_HEADERS:
                self._choices.clear()
            if len(accept) + len(accept_encoding) <= LONGEST_REMEMBERED_HEADER:
                self._choices[accept, accept_encoding] = choice
        return choice

    async def _make(
        self,
        scope: Scope,
        project: NormalizedName | None,
        media: MediaType,
        coding: str,
        identity: Identity,
    ) -> tuple[CachedPage, Variant]:
        """Read a page from the catalogue, render it in one form and coding, and keep it.

        Of many clients that ask at once when a page has grown old, one makes it for all.
        """
        index = await asyncio.to_thread(get_index, self._store, scope["index"])
        may_read(identity, index.name, is_private=index.is_private)
        kept = self._kept(scope["path"], media, coding)
        if kept is not None:  # somebody was faster
            return kept
        # A page made from an older state of the catalogue is not for those who ask after a change.
        key = (scope["path"], media, coding, self._freshness.applied)
        making = self._making.get(key)
        if making is None:
            making = asyncio.create_task(self._make_now(scope["path"], index.name, project, media, coding))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key))
        return await asyncio.shield(making)

    async def _make_now(
        self, path: str, index: str, project: NormalizedName | None, media: MediaType, coding: str
    ) -> tuple[CachedPage, Variant]:
        found: FoundPage | FoundList
        if project is None:
            found = await asyncio.to_thread(find_list, self._store, index)
            page = CachedPage(found, project=None, fresh_until=None)
        else:
            fresh = await self._pages.find(index, project)
            found = fresh.found
            page = CachedPage(found, project=project, fresh_until=fresh.fresh_until)
        variant = await asyncio.to_thread(_render, found, media, coding, self._public_url)
        page.variants[media, coding] = variant
        # What is kept must be as new as what was made, before the two become one entry.
        await self._freshness.catch_up()
        if self._freshness.may_keep(page.serial):
            kept = self._cache.get(path)
            if kept is not None:
                page.variants = {**kept.variants, **page.variants}
            self._cache.put(path, page)
        return page, variant


def _asked(scope: Scope) -> tuple[bytes, bytes, bytes, bool]:
    """``Accept``, ``Accept-Encoding`` and ``If-None-Match``, and whether there are credentials."""
    accept = accept_encoding = if_none_match = b""
    has_credentials = False
    for name, value in scope["headers"]:
        if name == b"accept":
            accept = accept + b"," + value if accept else value
        elif name == b"accept-encoding":
            accept_encoding = accept_encoding + b"," + value if accept_encoding else value
        elif name == b"if-none-match":
            if_none_match = value
        elif name == b"authorization":
            has_credentials = True
    return accept, accept_encoding, if_none_match, has_credentials


def _target(scope: Scope) -> tuple[NormalizedName | None, bytes | None]:
    """(project, ``None``) of a canonical path; (…, location) where the client is sent on.

    The location is relative, so that it is right behind any proxy prefix; the query goes along. ``None`` as
    project: the list of projects.
    """
    rest: str | None = scope["rest"]
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    if rest is None:
        return None, b"simple/" + query
    if not rest:
        return None, None
    given, slash, more = rest.partition("/")
    if more:
        raise NotFound(f"there is nothing at {scope['path']}", hint="a project's page is one folder deep")
    try:
        project = project_name(given)
    except InvalidName as error:
        raise NotFound(f"there is nothing at {scope['path']}", hint=error.hint) from error
    if slash and given == project:
        return project, None
    return project, (b"../" if slash else b"") + project.encode() + b"/" + query


def _render(found: FoundPage | FoundList, media: MediaType, coding: str, public_url: str) -> Variant:
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
