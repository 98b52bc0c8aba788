"""Routes of the API: a Starlette application around the table of endpoints.

1. the caller is authenticated and must have the endpoint's right; this is checked first;
2. the body is read up to the endpoint's limit, so that nobody can fill the memory; a file goes to the disk;
3. the handler runs in a thread: everything below is plain synchronous code;
4. its value becomes JSON, its error problem+json.

A request that changes something and comes from a page of another site is refused, because browsers send the
credentials of basic authentication automatically.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, request_response

from conveyor import installed_version
from conveyor.domain.indexes.policy import check_docs_size
from conveyor.domain.people.access import must_have
from conveyor.domain.words.records import MAX_TEXT_LENGTH
from conveyor.errors import ConveyorError, InvalidInput, NotFound, TooLarge
from conveyor.operations.uploads.incoming_files import IncomingFile
from conveyor.server.api import (
    evidence,
    indexes,
    kept,
    notices,
    policies,
    projects,
    promotions,
    releases,
    repositories,
    runs,
    signers,
    tokens,
    users,
    withdrawals,
)
from conveyor.server.api.endpoints import PIECE_BYTES, Call, Document, StoredDocument
from conveyor.server.api.openapi import openapi_document
from conveyor.server.http.auth import refuse_other_sites
from conveyor.server.http.problems import as_error, method_not_allowed, nearest_shape, problem, store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
    from typing import Any

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.domain.indexes.policy import UploadLimits
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store
    from conveyor.server.api.endpoints import Answer, Endpoint
    from conveyor.server.http.auth import Authenticator

    AskUpstream = Callable[[NormalizedName], Coroutine[Any, Any, bool]]
    """Whether upstream has a project of that name; raises UpstreamFailed."""
    Keep = Callable[[MirroredFile], Coroutine[Any, Any, None]]
    """Fetches a mirrored file and stores it; raises UpstreamFailed."""

ENDPOINTS: tuple[Endpoint, ...] = (
    *indexes.ENDPOINTS,
    *releases.ENDPOINTS,
    *withdrawals.ENDPOINTS,
    *projects.ENDPOINTS,
    *kept.ENDPOINTS,
    *evidence.ENDPOINTS,
    *promotions.ENDPOINTS,
    *policies.ENDPOINTS,
    *runs.ENDPOINTS,
    *repositories.ENDPOINTS,
    *notices.ENDPOINTS,
    *users.ENDPOINTS,
    *tokens.ENDPOINTS,
    *signers.ENDPOINTS,
)
_PREFIX = "/api/v1"
_SHAPES = frozenset(endpoint.path for endpoint in ENDPOINTS)


def make_api(
    store: Store,
    authenticator: Authenticator,
    limits: UploadLimits,
    *,
    ask_upstream: AskUpstream,
    keep: Keep,
) -> ASGIApp:
    """The application that answers every path below ``/api/``.

    A parameter ``name`` at the end of a path takes the rest of it: steps are named after indexes, whose names
    may contain a slash, and a slash reaches the router decoded.
    """
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(f"{_PREFIX}{endpoint.path}", {})[endpoint.method] = endpoint
    document = JSONResponse(openapi_document(ENDPOINTS, version=installed_version()))

    async def describe(request: Request) -> Response:
        del request
        return document

    routes = [Route(f"{_PREFIX}/openapi.json", describe, methods=["GET"])]
    routes += [
        Route(
            path.replace("{name}", "{name:path}"),
            _EveryMethod(_answering(store, authenticator, limits, methods, ask_upstream, keep)),
        )
        for path, methods in by_path.items()
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _of_framework})


class _EveryMethod:
    """An endpoint that answers every method of its path, if only with 405.

    If it were a function, the router would pass other methods on to the next path that matches:
    ``PATCH /runs/claim`` would change the run named claim.
    """

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._application = request_response(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)


def _answering(
    store: Store,
    authenticator: Authenticator,
    limits: UploadLimits,
    methods: Mapping[str, Endpoint],
    ask_upstream: AskUpstream,
    keep: Keep,
) -> Callable[[Request], Awaitable[Response]]:
    """Answers every method of one path."""
    allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]

    async def answer(request: Request) -> Response:
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        try:
            if endpoint is None:
                raise method_not_allowed(request.scope, *allowed)  # noqa: TRY301 - answered as the others are
            if request.method not in ("GET", "HEAD"):
                refuse_other_sites(request.scope["headers"])
            identity = await authenticator.authenticate(request.scope, request.receive)
            request.scope["state"]["user"] = identity.name or None
            if endpoint.right is not None and endpoint.right != "read":  # what may be read is asked below
                must_have(identity, endpoint.right)
            call = Call(
                store=store,
                identity=identity,
                path=request.path_params,
                query=_query(request),
                body=b"",
                headers=request.headers,
                limits=limits,
                upstream_has=partial(_ask, asyncio.get_running_loop(), ask_upstream),
                keep=partial(_keep, asyncio.get_running_loop(), keep),
            )
            async with _with_body(request, endpoint, call) as whole:
                answered = await asyncio.to_thread(endpoint.handler, whole)
            return _response(answered, store, is_head=request.method == "HEAD")
        except Exception as error:  # noqa: BLE001 - Starlette would log and re-raise what was answered
            return _problem(as_error(error, path=request.url.path), request)

    return answer


def _ask(loop: asyncio.AbstractEventLoop, ask_upstream: AskUpstream, project: NormalizedName) -> bool:
    """Ask upstream from the thread of a handler."""
    return asyncio.run_coroutine_threadsafe(ask_upstream(project), loop).result()


def _keep(loop: asyncio.AbstractEventLoop, keep: Keep, file: MirroredFile) -> None:
    """Fetch a mirrored file from the thread of a handler."""
    asyncio.run_coroutine_threadsafe(keep(file), loop).result()


def _query(request: Request) -> Mapping[str, str]:
    """The parameters of the query; raises InvalidInput when no row could hold one of them."""
    if any("\0" in value for value in request.query_params.values()):
        raise InvalidInput("the query holds a NUL character")
    if any(not 0 < len(value) <= MAX_TEXT_LENGTH for value in request.query_params.values()):
        raise InvalidInput(f"the query holds an empty text, or one of more than {MAX_TEXT_LENGTH} characters")
    return request.query_params


@asynccontextmanager
async def _with_body(request: Request, endpoint: Endpoint, call: Call) -> AsyncIterator[Call]:
    """The call with its body, in memory or as a file; raises TooLarge as soon as it exceeds its limit."""
    try:
        if endpoint.takes_file is None:
            yield replace(call, body=await _body(request, endpoint.max_body_bytes))
            return
        await asyncio.to_thread(endpoint.takes_file, call)
        check_docs_size(_announced(request), call.limits)
        file = IncomingFile(call.store.blobs, limits=call.limits, check_size=check_docs_size)
        try:
            async for pieces in _pieces(request):
                await asyncio.to_thread(file.write, pieces)
            yield replace(call, file=file)
        finally:
            file.close()
    except ClientDisconnect as error:
        raise InvalidInput("the request was broken off by its client") from error


async def _pieces(request: Request) -> AsyncIterator[list[bytes]]:
    """The body, about a mebibyte at a time."""
    pieces: list[bytes] = []
    async for part in request.stream():
        pieces.append(part)
        if sum(map(len, pieces)) >= PIECE_BYTES:
            yield pieces
            pieces = []
    yield pieces


async def _body(request: Request, limit: int) -> bytes:
    if _announced(request) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _announced(request: Request) -> int:
    """The size of the body as its headers say it; 0 if they do not."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isascii() and announced.isdecimal() else 0


def _response(answered: Answer, store: Store, *, is_head: bool) -> Response:
    value, status = answered.value, answered.status
    if value is None:
        return Response(status_code=status, headers=_HEADERS)
    if isinstance(value, Document):
        return Response(value.content, status, _HEADERS, media_type=value.media_type)
    if isinstance(value, StoredDocument):
        headers = {**_HEADERS, "content-length": str(value.size_bytes)}
        pieces = iter(()) if is_head else value.pieces(store.blobs)
        return StreamingResponse(pieces, status, headers, media_type=value.media_type)
    return JSONResponse(answered.json, status_code=status, headers=_HEADERS)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is over the limit of {limit} bytes")


async def _of_framework(request: Request, error: Exception) -> Response:
    """The router's own answers in our form: no such path, no such method."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").split(", ")
        return _problem(method_not_allowed(request.scope, *allowed), request)
    path = request.url.path
    shape = nearest_shape(path.removeprefix(_PREFIX), _SHAPES)
    meant = f"did you mean {_PREFIX}{shape}; " if shape else ""
    hint = f"{meant}{_PREFIX}/openapi.json lists all"
    return _problem(NotFound(f"there is nothing at {path}", hint=hint), request)


def _problem(error: ConveyorError, request: Request) -> Response:
    status, headers, body = problem(error, store_url=store_url(request.scope))
    response = Response(body, status_code=status)
    response.raw_headers = headers
    return response


_HEADERS = {"cache-control": "no-store"}
