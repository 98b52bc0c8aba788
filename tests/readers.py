"""Reads from a store in this process: the handlers of the server, called as ASGI applications."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from conveyor.domain.distributions.reading import UploadForm
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import Identity
from conveyor.operations.uploads.acceptance import AcceptedUpload, ReceivedUpload, accept_upload
from conveyor.operations.uploads.incoming_files import IncomingFile
from conveyor.server.app import _route
from conveyor.server.files.packages import Files
from conveyor.server.http.auth import Authenticator
from conveyor.server.memory.caches import Freshness
from conveyor.server.memory.newest import Newest
from conveyor.server.mirror.mirroring import Mirroring, PageFinder
from conveyor.server.pages.json_api import JsonApi
from conveyor.server.pages.simple_api import SimpleApi
from conveyor.settings import DEFAULT_FILE_LIMIT_BYTES
from conveyor.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message

    from conveyor.operations.store.store import Store
    from distributions_made import Made

ADMINISTRATOR = Identity(name="admin", scopes=frozenset({"admin"}))
ACCEPT_JSON = "application/vnd.pypi.simple.v1+json"
PUBLIC_URL = "https://packages.example/"


@dataclass
class Answer:
    """What was sent for one request."""

    status: int
    headers: dict[str, str]
    body: bytes
    state: dict[str, Any]
    is_whole: bool
    """Whether the answer ended as it should; false: it was broken off."""
    error: Exception | None = None
    """What was raised: before the answer began the application would show it, else it broke off."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reader:
    """The reading side of a server."""

    store: Store
    mirroring: Mirroring
    handlers: dict[str, ASGIApp] = field(default_factory=dict)

    async def get(
        self,
        path: str,
        *,
        method: str = "GET",
        began: asyncio.Event | None = None,
        gone: asyncio.Event | None = None,
        **headers: str,
    ) -> Answer:
        """One request; header names with underscores.

        ``began`` is set here when the answer begins, ``gone`` by the test when the client leaves.
        """
        path, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()
            ],
            "scheme": "http",
            "state": {},
            "extensions": {},
        }
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            if began is not None:
                began.set()

        async def receive() -> Message:
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        error: Exception | None = None
        kind = _route(scope)
        try:
            await self.handlers[kind](scope, receive, send)
        except Exception as raised:  # noqa: BLE001 - the application answers it; the test looks at it
            error = raised
        status, found = 0, {}
        if sent:
            status = sent[0]["status"]
            found = {name.decode(): value.decode("latin-1") for name, value in sent[0].get("headers", ())}
        body = b"".join(message.get("body", b"") for message in sent[1:])
        is_whole = bool(sent) and error is None and not sent[-1].get("more_body", False)
        return Answer(status, found, body, scope["state"], is_whole, error)

    async def page(self, project: str, *, index: str = "unstable", **headers: str) -> Answer:
        """A project page in JSON."""
        return await self.get(
            f"/{index}/simple/{project}/", began=None, gone=None, **{"accept": ACCEPT_JSON, **headers}
        )


@asynccontextmanager
async def reading(
    store: Store,
    *,
    upstream_url: str = "http://127.0.0.1:9/simple/",
    timeout_seconds: float = 5.0,
    file_limit_bytes: int = DEFAULT_FILE_LIMIT_BYTES,
) -> AsyncIterator[Reader]:
    """The handlers over a store, ended on leaving."""
    newest = Newest(store)
    authenticator = Authenticator(store, newest)
    upstream = Upstream(upstream_url, timeout_seconds=timeout_seconds)
    mirroring = Mirroring(store, upstream, file_limit_bytes=file_limit_bytes)
    freshness = Freshness(store, newest)
    pages = PageFinder(store, mirroring)
    handlers: dict[str, ASGIApp] = {
        "simple": SimpleApi(
            store,
            pages=pages,
            freshness=freshness,
            authenticator=authenticator,
            public_url=PUBLIC_URL,
        ),
        "packages": Files(store, mirroring=mirroring, freshness=freshness, authenticator=authenticator),
        "pypi": JsonApi(
            store, pages=pages, mirroring=mirroring, authenticator=authenticator, public_url=None
        ),
    }
    try:
        yield Reader(store, mirroring, handlers)
    finally:
        await mirroring.close()
        await authenticator.close()
        newest.close()


def upload(store: Store, made: Made, *, index: str = "unstable") -> AcceptedUpload:
    """Put a file into an index, as an administrator does."""
    limits = UploadLimits()
    incoming = IncomingFile(store.blobs, limits=limits)
    try:
        incoming.write([made.content])
        received = ReceivedUpload(index, made.filename, UploadForm(made.form), incoming)
        accepted = accept_upload(store, received, identity=ADMINISTRATOR, limits=limits)
    finally:
        incoming.close()
    assert isinstance(accepted, AcceptedUpload)
    return accepted
