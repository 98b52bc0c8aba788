"""The composition root: opens the parts of a server process and says which module answers which path.

    /{index}/simple/…          simple_api    pages of an index
    /packages/…                files         immutable bytes
    /{index}/legacy/           uploads       uploads of twine, uv, poetry, pdm, flit, hatch
    /{index}/pypi/…            json_api      the JSON API of a project
    /api/v1/…                  api           everything the web page and the command line do
    /                          web           the front page
    /_/oidc/…, /.well-known/…  uploads       trusted publishing: tokens for jobs of CI hosts
    /healthz, /readyz          here          is the process alive; does the catalogue answer

An index has a name of one part or, below a team, of two (``risk/stable``). Handlers of an index find its name
in ``scope["index"]`` and the part of the path after the next word in ``scope["rest"]``, decoded: for
``/risk/stable/simple/demo/`` these are ``risk/stable`` and ``demo/``. If a path ends with the word itself,
without a slash, the rest is ``None``. A handler is a plain ASGI application; an error that it raises before
its answer has begun is answered here.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import ANONYMOUS, STORE
from conveyor.domain.words.names import project_name
from conveyor.errors import NotFound, UpstreamFailed
from conveyor.operations.care.opening import close_store, open_store
from conveyor.operations.indexes.definitions import visible_indexes
from conveyor.operations.releases.advances import judge_due
from conveyor.operations.runs.repositories import request_due_runs, watched_projects
from conveyor.operations.store.facts import reachable, store_upstream
from conveyor.operations.uploads.open_releases import drop_outdated_files
from conveyor.server.api import make_api
from conveyor.server.files.packages import Files
from conveyor.server.http.auth import Authenticator
from conveyor.server.http.messages import JSON, LOCKED_PAGE, NEVER_KEPT, AwaitedBody, root_url, send_answer
from conveyor.server.http.problems import (
    HINT_OF_UPLOADS,
    as_error,
    hint_of_path,
    method_not_allowed,
    send_error,
    store_url,
)
from conveyor.server.logs import AccessLog
from conveyor.server.memory.caches import Freshness
from conveyor.server.memory.newest import Newest
from conveyor.server.mirror.mirroring import Mirroring, PageFinder
from conveyor.server.notices.sender import Sender
from conveyor.server.pages.json_api import JsonApi
from conveyor.server.pages.simple_api import SimpleApi
from conveyor.server.uploads.legacy import Uploads
from conveyor.server.uploads.trusted_publishing import DISCOVERY, PREFIX, TrustedPublishing
from conveyor.server.web.front import front_page
from conveyor.upstream import Upstream
from conveyor.upstream.issuers import Issuers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from conveyor.operations.store.store import Store
    from conveyor.server.http.messages import Reply
    from conveyor.server.logs import Application
    from conveyor.server.receiving import AnswersAtOnce
    from conveyor.settings import StoreSettings

INDEX_WORDS = ("simple", "legacy", "pypi")
"""Words that follow the name of an index in a path."""
CARE_SECONDS = 600.0
"""How often each process looks for files that have waited too long to be published."""
JUDGING_SECONDS = 20.0
"""How often each process looks for releases to judge again: at most a minute after time opens a gate."""
WATCHING_SECONDS = 3600.0
"""How often upstream is asked for projects whose releases request runs, if nobody else asks for them."""


def make_app(
    settings: StoreSettings,
    *,
    opener: Callable[[], Store] | None = None,
    when_started: Callable[[], None] | None = None,
) -> Application:
    """The whole server as one ASGI application; the store is opened when its lifespan begins.

    ``opener`` opens it as one of a server's processes (``opening.opener_of_node``). ``when_started`` is
    called on the event loop once requests can be answered.
    """
    app = App(settings, opener=opener, when_started=when_started)
    return AccessLog(app, settings.access_log) if settings.access_log else app


class App:
    """Dispatches requests; holds the store open while the process serves."""

    def __init__(
        self,
        settings: StoreSettings,
        *,
        opener: Callable[[], Store] | None = None,
        when_started: Callable[[], None] | None = None,
        care_seconds: float = CARE_SECONDS,
        judging_seconds: float = JUDGING_SECONDS,
    ) -> None:
        self._settings = settings
        self._care_seconds = care_seconds
        self._judging_seconds = judging_seconds
        self._open_store = opener or partial(open_store, settings)
        self._when_started = when_started
        self._ending = AsyncExitStack()
        self._handlers: dict[str, ASGIApp] = {}
        self._pages: AnswersAtOnce | None = None
        self._files: AnswersAtOnce | None = None

    def at_once(self, scope: Scope) -> Reply | None:
        """The hot path: the reply from memory alone, or ``None`` to have the application called.

        Called by any thread (``server.receiving``); it never blocks.
        """
        handler = self._files if scope["path"].startswith("/packages/") else self._pages
        return handler.at_once(scope) if handler is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the process."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["public_url"] = self._settings.public_url
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        # A websocket is refused by not being accepted.

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        kind = _route(scope)
        body = None
        if kind in _KINDS_WITH_BODY:
            receive = body = AwaitedBody(receive, pause_seconds=self._settings.client_pause_seconds)
        try:
            if scope["path"] in _SINGLE_PATHS and scope["method"] not in ("GET", "HEAD"):
                raise method_not_allowed(scope, "GET", "HEAD")  # noqa: TRY301 - answered as the others are
            await self._handlers.get(kind, _nothing_here)(scope, receive, noting_send)
        except Exception as error:
            shown = as_error(error, path=scope["path"])
            if started:  # half an answer is broken off, so that no client mistakes it for a whole one
                raise
            is_upload = kind == "legacy" or (kind != "api" and scope["method"] == "POST")
            is_head = scope["method"] == "HEAD"
            await send_error(send, shown, store_url=store_url(scope), is_plain=is_upload, is_head=is_head)
        finally:
            if body is not None:
                body.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except Exception as error:  # noqa: BLE001 - granian would go on without a store
            await self._ending.aclose()
            message = str(as_error(error, path="startup"))
            structlog.get_logger("conveyor.server").error("a worker cannot start", reason=message)
            await send({"type": "lifespan.startup.failed", "message": message})
            return
        await send({"type": "lifespan.startup.complete"})
        if self._when_started is not None:
            self._when_started()
        await receive()
        await self._ending.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    def _upstream(self, store: Store) -> Upstream:
        """What the mirrors of the store read from."""
        read_from = store_upstream(store)
        return Upstream(
            read_from.url,
            cert=read_from.cert,
            proxy=read_from.proxy,
            timeout_seconds=read_from.timeout_seconds,
            page_limit_bytes=self._settings.page_limit_bytes,
        )

    async def _start(self) -> None:
        """Open the store and compose the handlers; parts are closed in reverse order."""
        # 1. the store
        store = self._open_store()
        self._ending.callback(close_store, store)
        # 2. parts that handlers share: authentication, caches, mirrors
        newest = Newest(store)
        self._ending.callback(newest.close)
        authenticator = Authenticator(store, newest, trusted_proxies=self._settings.trusted_proxies)
        self._ending.push_async_callback(authenticator.close)
        upstream = self._upstream(store)
        mirroring = Mirroring(store, upstream, file_limit_bytes=self._settings.file_limit_bytes)
        self._ending.push_async_callback(mirroring.close)
        freshness = Freshness(store, newest)
        pages = PageFinder(store, mirroring)
        limits = UploadLimits(
            file_bytes=self._settings.file_limit_bytes,
            docs_bytes=self._settings.docs_limit_bytes,
            project_bytes=self._settings.project_limit_bytes,
            archive=self._settings.archive_limits,
        )
        # 3. the handlers
        simple_api = SimpleApi(
            store,
            pages=pages,
            freshness=freshness,
            authenticator=authenticator,
            public_url=self._settings.public_url or reachable(self._settings.served_url),
        )
        files = Files(store, mirroring=mirroring, freshness=freshness, authenticator=authenticator)
        self._pages, self._files = simple_api, files
        self._handlers = {
            "simple": simple_api,
            "packages": files,
            "legacy": Uploads(
                store,
                authenticator,
                upstream_has_project=mirroring.has_project,
                limits=limits,
            ),
            "pypi": JsonApi(
                store,
                pages=pages,
                mirroring=mirroring,
                authenticator=authenticator,
                public_url=self._settings.public_url,
            ),
            "api": make_api(
                store, authenticator, limits, ask_upstream=mirroring.has_project, keep=mirroring.keep
            ),
            "publishing": TrustedPublishing(store, Issuers(), public_url=self._settings.public_url),
            "healthz": _healthz,
            "readyz": Readiness(newest),
            "front": FrontPage(store),
        }
        self._care_without_requests(store, pages)
        sender = Sender(store, self._settings.mail)
        sender.start()
        self._ending.push_async_callback(sender.close)

    def _care_without_requests(self, store: Store, pages: PageFinder) -> None:
        """Begin what happens by the clock: what is outdated is dropped, what is due judged or requested."""
        ended = asyncio.Event()
        in_thread = partial(partial, asyncio.to_thread)
        for work, what, seconds in (
            (in_thread(drop_outdated_files, store, actor=STORE), "open releases", self._care_seconds),
            (in_thread(judge_due, store), "judgements", self._judging_seconds),
            (in_thread(request_due_runs, store), "requests of runs", self._judging_seconds),
            (partial(_look_for_releases, store, pages), "pages of mirrors", WATCHING_SECONDS),
        ):
            caring = asyncio.create_task(_care_for(work, ended, what=what, every_seconds=seconds))
            self._ending.push_async_callback(_stop, caring, ended)


async def _look_for_releases(store: Store, pages: PageFinder) -> None:
    """Bring the pages up to date of projects whose releases request runs; another process may just have."""
    for index, project in await asyncio.to_thread(watched_projects, store):
        with suppress(NotFound, UpstreamFailed):
            await pages.find(index, project_name(project))


async def _care_for(
    work: Callable[[], Awaitable[object]], ended: asyncio.Event, *, what: str, every_seconds: float
) -> None:
    """Do what the store does without a request, now and whenever some time has passed.

    Files of open releases are dropped that nobody published in time, releases are judged again that time or a
    setting may let pass, and runs are requested whose time has come. Every process of every node does it:
    whoever comes first has done it, in one change, and the others find nothing.
    """
    while not ended.is_set():
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - requests are answered all the same
            reason = str(as_error(error, path=what))
            structlog.get_logger("conveyor.server").warning(f"{what} wait on", reason=reason)
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), every_seconds)


async def _stop(caring: asyncio.Task[None], ended: asyncio.Event) -> None:
    """Let a look that is under way end, for the store is closed after it."""
    ended.set()
    await caring


def _route(scope: Scope) -> str:
    """The handler that answers; notes the index and the rest of the path in the scope."""
    path: str = scope["path"]
    if "\0" in path:  # no row can hold it, and PostgreSQL takes no such question
        return "nothing"
    if path.startswith("/packages/"):
        return "packages"
    if path.startswith("/api/") or path == "/api":
        return "api"
    if path.startswith((PREFIX, f"{DISCOVERY}/")) or path == DISCOVERY:
        return "publishing"
    if path in _SINGLE_PATHS:
        return _SINGLE_PATHS[path]
    parts = path.split("/", 4)  # "", index, word, rest or "", team, index, word, rest
    for depth in (2, 3):
        if len(parts) > depth and parts[depth] in INDEX_WORDS:
            scope["index"] = "/".join(parts[1:depth])
            scope["rest"] = "/".join(parts[depth + 1 :]) if len(parts) > depth + 1 else None
            return parts[depth]
    return "nothing"


_KINDS_WITH_BODY = ("legacy", "api", "publishing")
_SINGLE_PATHS = {"/": "front", "/healthz": "healthz", "/readyz": "readyz"}


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    del receive, send
    hint = HINT_OF_UPLOADS if scope["method"] == "POST" else hint_of_path(scope["path"])
    raise NotFound(f"there is nothing at {scope['path']}", hint=hint)


async def _healthz(scope: Scope, receive: Receive, send: Send) -> None:
    """The process is alive and its event loop turns."""
    del scope, receive
    await send_answer(send, 200, b'{"status":"ok"}', content_type=JSON, headers=[NEVER_KEPT])


class Readiness:
    """Whether the catalogue answers; load balancers ask this before they send requests here."""

    def __init__(self, newest: Newest) -> None:
        self._newest = newest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 with the newest serial, or the error of the catalogue."""
        del scope, receive
        serial = await self._newest.read()
        body = json.dumps({"status": "ready", "serial": serial}).encode()
        await send_answer(send, 200, body, content_type=JSON, headers=[NEVER_KEPT])


class FrontPage:
    """The page at ``/``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The indexes that everybody may read."""
        del receive
        indexes = await asyncio.to_thread(visible_indexes, self._store, ANONYMOUS)
        page = front_page(indexes, base_url=root_url(scope).removesuffix("/"))
        headers = [NEVER_KEPT, *LOCKED_PAGE]
        await send_answer(send, 200, page, content_type=b"text/html; charset=utf-8", headers=headers)
