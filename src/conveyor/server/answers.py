"""Short answers: a status, a few headers and all of the body at once.

Pages and files are sent by their own modules, which build their messages beforehand; everything else, errors
included, is sent from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Send

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
PLAIN_TEXT = b"text/plain; charset=utf-8"
NEVER_KEPT = (b"cache-control", b"no-store")
NO_BODY: Message = {"type": "http.response.body", "body": b""}


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
