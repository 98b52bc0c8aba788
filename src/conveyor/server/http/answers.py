"""Short answers: a status, a few headers and all of the body at once.

Pages and files are kept as replies: the messages that send them, built beforehand. Everything else, errors
included, is built and sent from here.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from starlette.types import Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
PLAIN_TEXT = b"text/plain; charset=utf-8"
NEVER_KEPT = (b"cache-control", b"no-store")
NO_BODY: Message = {"type": "http.response.body", "body": b""}


class Reply(NamedTuple):
    """A whole answer, as the two messages that send it."""

    start: Message
    body: Message
    supplied_by: str | None
    """Name of the index that the page or file came from."""


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


@contextmanager
def noticing_departure(receive: Receive, when_gone: Callable[[], None]) -> Iterator[None]:
    """Call a function as soon as the client goes away; sending alone would not tell."""

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        when_gone()

    waiting = asyncio.create_task(wait())
    try:
        yield
    finally:
        waiting.cancel()
