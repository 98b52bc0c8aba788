"""The simple API's pages: bare ASGI, answered from memory as long as nothing has changed.

The hot path is ``at_once``: is everything kept as new as the catalogue (two words of shared memory)? is this
path kept, and may everybody read it? which form and coding does the client want? does it already have that
one (304)? If not, the kept reply is sent. Everything else is in ``__call__``: queries of the catalogue,
credentials, redirects, requests to mirrors, rendering, compressing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from conveyor.domain.indexes.policy import reads_whole_page
from conveyor.domain.indexes.simple_api import MEDIA_TYPES, accepts_encoding, negotiate
from conveyor.domain.words.names import project_name
from conveyor.errors import InvalidName, NotFound
from conveyor.operations.indexes.definitions import get_index
from conveyor.operations.indexes.pages import find_list
from conveyor.server.http.messages import NOT_AT_ONCE, PLAIN_TEXT, must_match, send_answer, send_reply
from conveyor.server.http.problems import method_not_allowed
from conveyor.server.memory.flights import Flights
from conveyor.server.pages.kept_pages import VARY, Representations, render_variant

if TYPE_CHECKING:
    from packaging.utils import NormalizedName
    from starlette.types import Receive, Scope, Send

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.indexes.simple_api import MediaType
    from conveyor.domain.people.access import Identity
    from conveyor.operations.indexes.pages import FoundList, FoundPage
    from conveyor.operations.store.store import Store
    from conveyor.server.http.auth import Authenticator
    from conveyor.server.http.messages import Reply
    from conveyor.server.memory.caches import Freshness
    from conveyor.server.mirror.mirroring import PageFinder
    from conveyor.server.pages.kept_pages import Variant

CACHE_BYTES = 32 * 1024 * 1024
"""The limit per process for rendered pages and the data kept with them."""

REMEMBERED_HEADERS = 1024
LONGEST_REMEMBERED_HEADER = 512

_NO_CHOICE: tuple[None, str] = (None, "")


class SimpleApi:
    """Answers ``/{index}/simple/`` and ``/{index}/simple/{project}/``."""

    def __init__(
        self,
        store: Store,
        *,
        pages: PageFinder,
        freshness: Freshness,
        authenticator: Authenticator,
        public_url: str,
    ) -> None:
        """``public_url`` is the store's own, with a slash at its end, for links that cannot be relative."""
        self._store = store
        self._public_url = public_url
        self._pages = pages
        self._freshness = freshness
        self._authenticator = authenticator
        self._cache = freshness.new_cache(Representations, CACHE_BYTES)
        self._choices: dict[tuple[bytes, bytes], tuple[MediaType | None, str]] = {}
        self._making = Flights(is_logged=False)

    def at_once(self, scope: Scope) -> Reply | None:
        """The reply from memory alone, if everybody may read the page; else ``None``, see ``__call__``.

        Called by any thread; it never blocks.
        """
        return self._from_memory(scope) if self._freshness.is_current() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, from memory if that is as new as the catalogue, else slowly."""
        await self._freshness.catch_up()
        reply = self._from_memory(scope)
        if reply is not None:
            await send_reply(scope, send, reply)
        else:
            await self._slowly(scope, receive, send)

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
        accept, accept_encoding, if_none_match, is_for_later = _asked(scope)
        variant = page.variants.get(self._choices.get((accept, accept_encoding), _NO_CHOICE))
        if variant is None or is_for_later:
            return None
        return variant.reply(scope["method"], if_none_match)

    async def _slowly(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that the hot path cannot answer."""
        # 1. the request and the caller
        if scope["method"] not in ("GET", "HEAD"):
            raise method_not_allowed(scope, "GET", "HEAD")
        accept, accept_encoding, if_none_match, _ = _asked(scope)
        media, coding = self._choose(accept, accept_encoding)
        wanted = parse_qs(scope["query_string"].decode("latin-1")).get("format")
        if wanted:
            media = negotiate(None, format_parameter=wanted[-1])
        identity = await self._authenticator.authenticate(scope, receive)
        scope["state"]["user"] = identity.name or None
        # 2. from memory. A kept page that this caller may not read is treated like a missing one: timing
        # tells nothing
        kept = self._kept(scope["path"], media, coding) if media is not None else None
        if kept is None or not reads_whole_page(kept[0].index, identity, kept[0].project):
            # 3. else from the catalogue
            index = await asyncio.to_thread(get_index, self._store, identity, scope["index"])
            project, location = _target(scope)
            if location is not None:
                await send_answer(send, 301, b"", content_type=PLAIN_TEXT, headers=[(b"location", location)])
                return
            if media is None:
                known = f"pages are served as {', '.join(MEDIA_TYPES)}\n".encode()
                await send_answer(send, 406, known, content_type=PLAIN_TEXT, headers=[VARY])
                return
            kept = await self._make(scope["path"], index, project, media, coding, identity)
        _, variant = kept
        must_match(scope["headers"], variant.etag)
        await send_reply(scope, send, variant.reply(scope["method"], if_none_match))

    def _kept(self, path: str, media: MediaType, coding: str) -> tuple[Representations, Variant] | None:
        """A page in one form and coding, if it is kept and no mirror must be asked."""
        page = self._cache.get(path)
        if page is None or not page.is_fresh(self._store.clock):
            return None
        variant = page.variants.get((media, coding))
        return (page, variant) if variant is not None else None

    def _choose(self, accept: bytes, accept_encoding: bytes) -> tuple[MediaType | None, str]:
        """Form and coding for two headers, cached by their bytes, because clients send few different ones."""
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
        path: str,
        index: Index,
        project: NormalizedName | None,
        media: MediaType,
        coding: str,
        identity: Identity,
    ) -> tuple[Representations, Variant]:
        """Read a page from the catalogue, render it in one form and coding, and keep it.

        When many clients ask at once for an outdated page, one of them makes it for all. A part of a page is
        made for a single reader and not kept.
        """
        if not reads_whole_page(index, identity, project):
            return await self._make_now(index.name, project, media, coding, identity)
        kept = self._kept(path, media, coding)
        if kept is not None:  # somebody was faster
            return kept
        # A page made from an older state of the catalogue must not answer requests made after a change.
        key = (path, media, coding, self._freshness.applied)
        making = self._making.join(key, lambda: self._make_and_keep(path, index.name, project, media, coding))
        return await making.landed()

    async def _make_and_keep(
        self, path: str, index: str, project: NormalizedName | None, media: MediaType, coding: str
    ) -> tuple[Representations, Variant]:
        page, variant = await self._make_now(index, project, media, coding, None)
        # The kept entry must be as new as the new variant before the two are merged.
        await self._freshness.catch_up()
        if self._freshness.may_keep(page.serial):
            kept = self._cache.get(path)
            if kept is not None:
                page.variants = {**kept.variants, **page.variants}
            self._cache.put(path, page)
        return page, variant

    async def _make_now(
        self,
        index: str,
        project: NormalizedName | None,
        media: MediaType,
        coding: str,
        reader: Identity | None,
    ) -> tuple[Representations, Variant]:
        """A page with one variant; ``reader`` is a caller who may not read the whole index."""
        found: FoundPage | FoundList
        if project is None:
            found = await asyncio.to_thread(find_list, self._store, index, reader)
            page = Representations(found, project=None, fresh_until=None)
        else:
            found = await self._pages.find(index, project, reader)
            page = Representations(found, project=project, fresh_until=found.fresh_until)
        variant = await asyncio.to_thread(render_variant, found, media, coding, public_url=self._public_url)
        page.variants[media, coding] = variant
        return page, variant


def _asked(scope: Scope) -> tuple[bytes, bytes, bytes, bool]:
    """``Accept``, ``Accept-Encoding``, ``If-None-Match``, and whether a field needs the ordinary path."""
    accept = accept_encoding = if_none_match = b""
    is_for_later = False
    for name, value in scope["headers"]:
        if name == b"accept":
            accept = accept + b"," + value if accept else value
        elif name == b"accept-encoding":
            accept_encoding = accept_encoding + b"," + value if accept_encoding else value
        elif name == b"if-none-match":
            if_none_match = if_none_match + b"," + value if if_none_match else value
        elif name in NOT_AT_ONCE:
            is_for_later = True
    return accept, accept_encoding, if_none_match, is_for_later


def _target(scope: Scope) -> tuple[NormalizedName | None, bytes | None]:
    """(project, ``None``) for a canonical path; (…, location) if the client is redirected.

    The location is relative, so that it is right behind any proxy prefix; it keeps the query. The project
    ``None`` stands for the list of projects.
    """
    rest: str | None = scope["rest"]
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    if rest is None:
        return None, b"simple/" + query
    if not rest:
        return None, None
    given, slash, more = rest.partition("/")
    if more:
        hint = f"a project's page is /{scope['index']}/simple/PROJECT/"
        raise NotFound(f"there is nothing at {scope['path']}", hint=hint)
    try:
        project = project_name(given)
    except InvalidName as error:
        raise NotFound(f"there is nothing at {scope['path']}", hint=error.hint) from error
    if slash and given == project:
        return project, None
    return project, (b"../" if slash else b"") + project.encode() + b"/" + query
