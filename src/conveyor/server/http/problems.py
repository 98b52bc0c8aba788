"""Errors as answers: problem+json (RFC 9457) for programs, plain text for the clients that upload.

An error of ours says what happened and what to do next. Any other error is a bug: it is logged with its
traceback and answered with 500 and the id of the log line, never with its text.

For a path that leads nowhere, the hint names the real path that was most likely meant: people mistype a word
or leave a part out, and their installer shows them the hint of the 404. A shape is a path with names in place
of its variable parts: ``/INDEX/simple/PROJECT/``, ``/projects/{project}``.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import structlog

from conveyor.client.problems import problem_of
from conveyor.domain.words.notation import with_store
from conveyor.domain.words.records import as_json
from conveyor.errors import (
    ConveyorError,
    InvalidInput,
    MethodNotAllowed,
    TooManyAttempts,
    Unauthorized,
    UnexpectedError,
    UpstreamBusy,
)
from conveyor.server.http.messages import NEVER_KEPT, NO_BODY, PLAIN_TEXT, root_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope, Send

    from conveyor.server.http.messages import Headers

CHALLENGE = (b"www-authenticate", b'Basic realm="conveyor"')


def as_error(error: BaseException, *, path: str) -> ConveyorError:
    """The error itself if it is one of ours; any other is logged and becomes an UnexpectedError."""
    if isinstance(error, ConveyorError):
        return error
    log_id = secrets.token_hex(6)
    structlog.get_logger("conveyor.server").error(
        "unexpected error", id=log_id, path=path, exc_info=(type(error), error, error.__traceback__)
    )
    return UnexpectedError(
        "something went wrong inside the store",
        hint=f"the store's log tells more under id {log_id}",
    )


def store_url(scope: Scope) -> str:
    """The store's public URL, or else the URL that this request used; without a slash at its end."""
    return str(scope.get("state", {}).get("public_url") or root_url(scope)).rstrip("/")


def method_not_allowed(scope: Scope, *allowed: str) -> MethodNotAllowed:
    """The error of a request whose path answers only other methods."""
    listed = ", ".join(allowed)
    is_upload = scope["method"] == "POST" and not scope["path"].startswith("/api/")
    return MethodNotAllowed(
        f"{scope['path']} answers {listed}, not {scope['method']}",
        allowed=allowed,
        hint=HINT_OF_UPLOADS if is_upload else None,
    )


def problem(error: ConveyorError, *, store_url: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an error as ``application/problem+json``.

    Commands in its hint name the store at ``store_url``.
    """
    told = problem_of(error)
    placed = replace(told, hint=with_store(told.hint, "--url", store_url))
    body = json.dumps(as_json(placed), ensure_ascii=False).encode()
    return error.http_status, _headers(error, b"application/problem+json", body), body


def plain(error: ConveyorError, *, store_url: str) -> tuple[int, Headers, bytes]:
    """The same as plain text, as twine and uv show it: the message, one line per fault, and the hint."""
    lines = [error.named_message]
    if isinstance(error, InvalidInput) and error.faults:
        # The message already contains a single fault; each of several has a line of its own.
        lines = [error.named_message, *(fault for fault in error.faults if fault not in error.message)]
    if error.hint:
        lines.append(f"hint: {with_store(error.hint, '--url', store_url)}")
    body = ("\n".join(lines) + "\n").encode()
    return error.http_status, _headers(error, PLAIN_TEXT, body), body


async def send_error(
    send: Send,
    error: ConveyorError,
    *,
    store_url: str,
    is_plain: bool = False,
    is_head: bool = False,
) -> None:
    """Answer with an error; ``is_plain`` for the clients that upload."""
    render = plain if is_plain else problem
    status, headers, body = render(error, store_url=store_url)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send(NO_BODY if is_head else {"type": "http.response.body", "body": body})


def _headers(error: ConveyorError, content_type: bytes, body: bytes) -> Headers:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        NEVER_KEPT,
    ]
    if isinstance(error, Unauthorized):
        headers.append(CHALLENGE)
    if isinstance(error, (TooManyAttempts, UpstreamBusy)):
        headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    return headers


PROJECT_PAGE = "/INDEX/simple/PROJECT/"
SHAPES = (
    PROJECT_PAGE,
    "/INDEX/legacy/",
    "/INDEX/pypi/PROJECT/json",
    "/packages/SHA256/FILENAME",
    "/healthz",
    "/readyz",
)
HINT_OF_UPLOADS = "uploads go to /INDEX/legacy/, such as /unstable/legacy/"
_MOST_PARTS, _LONGEST_PART = 8, 40
"""How much of a path is compared, because the time to compare grows with it."""
_LEAST_SCORE = 0.6


def hint_of_path(path: str) -> str:
    """What to ask for instead of a path that leads nowhere, in one line."""
    shape = nearest_shape(path, SHAPES)
    meant = f"a project's page is {PROJECT_PAGE}" if shape is None else f"did you mean {shape}"
    return f"{meant}; / lists the indexes of this store"


def nearest_shape(path: str, shapes: Iterable[str]) -> str | None:
    """The shape most like the path in words and length; ``None`` if no shape is like it."""
    parts = [part[:_LONGEST_PART] for part in path.strip("/").split("/", _MOST_PARTS)[:_MOST_PARTS]]
    scores = {shape: _score(parts, shape) for shape in shapes}
    # Ties go to the last in the alphabet: shapes may come as a set, and the order must not matter.
    nearest = max(scores, key=lambda shape: (scores[shape], shape))
    return nearest if scores[nearest] >= _LEAST_SCORE else None


def _score(parts: list[str], shape: str) -> float:
    wanted = shape.strip("/").split("/")
    words = [word for word in wanted if not (word.isupper() or word.startswith("{"))]
    # A shape without words, such as "/", resembles no path.
    found = sum(_found(word, parts) for word in words) / len(words) if words else 0.0
    return found - 0.1 * abs(len(wanted) - len(parts))


def _found(word: str, parts: list[str]) -> float:
    if word in parts:
        return 1.0
    return 0.9 if get_close_matches(word, parts, n=1, cutoff=0.7) else 0.0
