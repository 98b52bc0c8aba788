"""The parts of requests and answers that every handler needs.

*Short answers*: a status, a few headers and all of the body at once. Pages and files are kept as replies: the
messages that send them, built beforehand. Everything else, errors included, is built and sent from here.

*Bodies of requests*: a client that stops sending holds a connection and perhaps a temporary file; so does one
that sends only a byte now and then. So a body must not pause for longer than a limit, and its average rate
must not fall below that of any line that a person would use. The server below would wait indefinitely. The
rule is that of Apache's ``mod_reqtimeout`` (``body=20,MinRate=500``).

*Conditions* (RFC 9110, section 13) outside the hot path, which reads ``If-None-Match`` itself; a request with
``If-Match`` does not take the hot path.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from conveyor.domain.words.ranges import etag_matches
from conveyor.errors import PreconditionFailed, TooSlow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from starlette.types import Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
PLAIN_TEXT = b"text/plain; charset=utf-8"
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
LOCKED_PAGE = (NO_SNIFFING, (b"content-security-policy", _POLICY.encode()))
"""Headers of every page for browsers: it shows names and reasons from strangers, so nothing on it may run."""
NEVER_KEPT = (b"cache-control", b"no-store")
NO_BODY: Message = {"type": "http.response.body", "body": b""}


def root_url(scope: Scope) -> str:
    """The store's URL as the request reached it, with a slash at its end."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"localhost")
    return f"{scope['scheme']}://{host.decode('latin-1')}{scope.get('root_path', '')}/"


class Reply(NamedTuple):
    """A whole answer, as the two messages that send it."""

    start: Message
    body: Message
    supplied_by: str | None
    """Name of the index from which the page or file came."""


async def send_reply(scope: Scope, send: Send, reply: Reply) -> None:
    """Send a reply, and note for the access log where it came from."""
    scope["state"]["supplied_by"] = reply.supplied_by
    await send(reply.start)
    await send(reply.body)


async def send_answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    is_head: bool = False,
) -> None:
    """Send a whole answer with its length; to a HEAD request everything but the body."""
    length = str(len(body)).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"content-length", length), *headers],
        }
    )
    await send(NO_BODY if is_head else {"type": "http.response.body", "body": body})


async def send_head(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send an answer that has no body."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send(NO_BODY)


async def departure(receive: Receive) -> None:
    """Wait until the client goes away; no part of the request's body that arrives meanwhile is lost."""
    if isinstance(receive, AwaitedBody):
        await receive.departure()
        return
    while (await receive())["type"] != "http.disconnect":
        pass


@contextmanager
def noticing_departure(receive: Receive, when_gone: Callable[[], None]) -> Iterator[None]:
    """Call a function as soon as the client goes away, which sending alone would not notice."""

    async def wait() -> None:
        await departure(receive)
        when_gone()

    waiting = asyncio.create_task(wait())
    try:
        yield
    finally:
        waiting.cancel()


SLOWEST_BYTES_PER_SECOND = 500
"""The least average rate since the body began; checked only after the time that a body may pause."""

LETTING_GO_SECONDS = 0.05
"""The server below releases a body a moment after we do. Answered within that moment, it would wait for
the rest of the body before it closes the connection: measured, in 3 of 200 cases."""


READ_AHEAD_BYTES = 64 * 1024
"""How much of a body is read while waiting for its client to leave; beyond that, leaving is not noticed."""


class AwaitedBody:
    """An ASGI ``receive`` that does not wait indefinitely, ended with ``close``."""

    def __init__(self, receive: Receive, *, pause_seconds: float) -> None:
        """``pause_seconds``: the longest time between two bytes."""
        self._receive = receive
        self._pause_seconds = pause_seconds
        self._began_at: float | None = None
        self._received_bytes = 0
        self._ahead: deque[Message] = deque()
        self._coming: asyncio.Future[Message] | None = None

    async def departure(self) -> None:
        """Wait until the client goes away; messages that come meanwhile are kept for the next calls.

        Cancelling this loses nothing: the next call gets a message that is on its way.
        """
        while sum(len(message.get("body", b"")) for message in self._ahead) <= READ_AHEAD_BYTES:
            if self._coming is None:
                self._coming = asyncio.ensure_future(self._receive())
            self._ahead.append(await asyncio.shield(self._coming))
            self._coming = None
            if self._ahead[-1]["type"] == "http.disconnect":
                return
        await asyncio.Event().wait()

    def close(self) -> None:
        """Stop waiting for messages."""
        if self._coming is not None:
            self._coming.cancel()

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            TooSlow: the message did not come in time.
        """
        now = asyncio.get_running_loop().time()
        if self._began_at is None:
            self._began_at = now
        earned_seconds = self._received_bytes / SLOWEST_BYTES_PER_SECOND
        until = min(now, self._began_at + earned_seconds) + self._pause_seconds
        try:
            async with asyncio.timeout_at(until):
                message = await self._next()
        except TimeoutError as error:
            await asyncio.sleep(LETTING_GO_SECONDS)
            raise TooSlow(
                f"the request's body stopped after {self._received_bytes:,} bytes, or came too slowly",
                hint="send it again, without pauses",
            ) from error
        self._received_bytes += len(message.get("body", b""))
        return message

    async def _next(self) -> Message:
        if self._ahead:
            return self._ahead.popleft()
        coming, self._coming = self._coming, None
        return await (coming or self._receive())


NOT_AT_ONCE = frozenset({b"authorization", b"if-match"})
"""Fields that keep a request from being answered from memory at once."""


def field_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The value of a field, its lines combined into one list (section 5.3); empty if it is missing."""
    return ", ".join(value.decode("latin-1") for key, value in headers if key == name)


def has_already(headers: Iterable[tuple[bytes, bytes]], etag: str) -> bool:
    """Whether ``If-None-Match`` names the ETag (section 13.1.2): the answer is then 304."""
    return etag_matches(field_value(headers, b"if-none-match"), etag)


def wanted_range(headers: Collection[tuple[bytes, bytes]], etag: str) -> str:
    """The value of ``Range``; empty if it is missing, or if ``If-Range`` is not this ETag (13.1.5)."""
    is_the_same = (field_value(headers, b"if-range") or etag).strip() == etag
    return field_value(headers, b"range") if is_the_same else ""


def must_match(headers: Iterable[tuple[bytes, bytes]], etag: str) -> None:
    """Raise PreconditionFailed when ``If-Match`` does not name the ETag."""
    wanted = field_value(headers, b"if-match")
    if wanted and not etag_matches(wanted, etag, is_strong=True):
        raise PreconditionFailed(
            f"the file here has the ETag {etag}, not the one of If-Match",
            hint="it has changed since; ask for it without If-Match",
        )
