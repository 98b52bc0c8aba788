"""How long the body of a request is waited for.

A client that stops sending holds a connection and perhaps a temporary file; one that sends a byte now and
then does so too. So a body may neither pause for longer than a limit nor come more slowly, from its begin
until now, than any line that a person would use. The server below waits for ever.

Source: the rule is that of Apache's ``mod_reqtimeout`` (``body=20,MinRate=500``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conveyor.errors import TooSlow

if TYPE_CHECKING:
    from starlette.types import Message, Receive

SLOWEST_BYTES_PER_SECOND = 500
"""On the average since the body began; asked only after the time that it may pause."""

LETTING_GO_SECONDS = 0.05
"""The server below lets go of a body a moment after we do. Answered within that moment, it would wait for
the rest of the body before it closes the connection: measured, in 3 of 200 cases."""


class AwaitedBody:
    """An ASGI ``receive`` that does not wait for ever."""

    def __init__(self, receive: Receive, *, pause_seconds: float) -> None:
        """``pause_seconds``: how long no byte may come."""
        self._receive = receive
        self._pause_seconds = pause_seconds
        self._began_at: float | None = None
        self._received_bytes = 0

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            TooSlow: it did not come in time.
        """
        now = asyncio.get_running_loop().time()
        if self._began_at is None:
            self._began_at = now
        earned_seconds = self._received_bytes / SLOWEST_BYTES_PER_SECOND
        until = min(now, self._began_at + earned_seconds) + self._pause_seconds
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError as error:
            await asyncio.sleep(LETTING_GO_SECONDS)
            raise TooSlow(
                f"the request's body stopped after {self._received_bytes:,} bytes, or came too slowly",
                hint="send it again, without pauses",
            ) from error
        self._received_bytes += len(message.get("body", b""))
        return message
