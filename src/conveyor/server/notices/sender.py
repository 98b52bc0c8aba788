"""Sends messages to receivers: looks for them, signs and posts them, and says what became of each.

One loop per process. It looks whenever the store has changed, when the next message is due, and every
``LOOKING_SECONDS`` in case another process left one; a look that finds nothing costs three small questions.
Messages are sent side by side, a few for each receiver, so a receiver that does not answer holds up itself
alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from conveyor.domain.notices.mail import mail_of
from conveyor.domain.notices.receivers import mailbox_of, signature
from conveyor.domain.words.notation import utc_text
from conveyor.errors import ConveyorError, Forbidden, UpstreamFailed
from conveyor.operations.notices.outbox import DeliveryOutcome, give_back, settle, take_due, write_messages
from conveyor.operations.store.store import newest_change
from conveyor.server.http.problems import as_error
from conveyor.upstream.receivers import Poster, Postman

if TYPE_CHECKING:
    from conveyor.domain.notices.mail import MailSettings
    from conveyor.domain.notices.receivers import TakenMessage
    from conveyor.operations.store.store import Store

LOOKING_SECONDS = 10.0
PAUSE_SECONDS = 0.5
"""How often a process asks whether the store has changed."""
NO_MAIL = "this server sends no mail: CONVEYOR_SMTP_URL is not set"
GONE = 410
"""Of a receiver that wants no more of it (Standard Webhooks, RFC 9110)."""


class Sender:
    """The sender of one process; started with ``start``, ended with ``close``."""

    def __init__(
        self, store: Store, mail: MailSettings | None = None, *, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._store = store
        self._postman = None if mail is None else Postman(mail)
        self._pause_seconds = pause_seconds
        self._poster = Poster()
        self._busy: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._given_up: list[TakenMessage] = []
        self._ended = False
        self._woken = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._seen_serial = -1
        self._look_at = ""
        """The time at which to look, whatever the serial says."""

    def start(self) -> None:
        """Begin to look for messages."""
        self._looking = asyncio.create_task(self._look_again_and_again())

    async def close(self) -> None:
        """Stop looking, and give attempts that are under way back to other processes or the next start."""
        self._ended = True
        self._woken.set()
        if self._looking is not None:
            await self._looking
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        for taken in self._given_up:
            with suppress(ConveyorError):  # else its lease ends
                await asyncio.to_thread(give_back, self._store, taken)
        await self._poster.close()
        if self._postman is not None:
            self._postman.close()

    async def _look_again_and_again(self) -> None:
        while not self._ended:
            pause = self._pause_seconds
            try:
                for taken in await asyncio.to_thread(self._look):
                    self._begin(taken)
            except Exception as error:  # noqa: BLE001 - requests are answered all the same
                reason = str(as_error(error, path="messages"))
                structlog.get_logger("conveyor.server").warning("messages wait on", reason=reason)
                pause = LOOKING_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)
            self._woken.clear()

    def _look(self) -> list[TakenMessage]:
        """The messages to send now, taken; runs in a thread."""
        serial = newest_change(self._store)
        now = utc_text(self._store.clock())
        if serial == self._seen_serial and now < self._look_at:
            return []
        write_messages(self._store)
        taken, following = take_due(self._store, busy=self._busy)
        later = utc_text(self._store.clock() + timedelta(seconds=LOOKING_SECONDS))
        self._seen_serial, self._look_at = serial, min(following or later, later)
        return taken

    def _begin(self, taken: TakenMessage) -> None:
        self._busy[taken.receiver.id] += 1
        task = asyncio.create_task(self._send(taken))
        self._sending.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._sending.discard(task)
            self._busy[taken.receiver.id] -= 1
            self._look_at = ""  # the next one of that release
            self._woken.set()

        task.add_done_callback(done)

    async def _send(self, taken: TakenMessage) -> None:
        try:
            answer = await self._post(taken)
            await asyncio.to_thread(settle, self._store, taken, answer)
        except asyncio.CancelledError:
            self._given_up.append(taken)
            raise
        except Exception as error:  # noqa: BLE001 - it is due again when its lease ends
            reason = str(as_error(error, path="messages"))
            structlog.get_logger("conveyor.server").warning(
                "a message waits on", message=taken.id, reason=reason
            )

    async def _mail(self, taken: TakenMessage) -> DeliveryOutcome:
        if self._postman is None:
            return DeliveryOutcome(is_delivered=False, text=NO_MAIL)
        to = str(mailbox_of(taken.receiver.url))
        mail = mail_of(
            taken.body, message_id=taken.id, subject=taken.subject, sender=self._postman.sender, to=to
        )
        try:
            return DeliveryOutcome(is_delivered=True, text=await self._postman.send(mail, to=to))
        except Forbidden as error:
            return DeliveryOutcome(is_delivered=False, text=error.message, is_final=True)
        except UpstreamFailed as error:
            return DeliveryOutcome(is_delivered=False, text=error.message)

    async def _post(self, taken: TakenMessage) -> DeliveryOutcome:
        if taken.secret is None:
            return await self._mail(taken)
        moment, body = int(time.time()), taken.body.encode()
        signed = signature(taken.secret, message_id=taken.id, moment_seconds=moment, body=body)
        headers = {"webhook-id": taken.id, "webhook-timestamp": str(moment), "webhook-signature": signed}
        try:
            status = await self._poster.post(
                taken.receiver.url, headers=headers, body=body, is_local=taken.receiver.is_local
            )
        except UpstreamFailed as error:
            return DeliveryOutcome(is_delivered=False, text=error.message)
        return DeliveryOutcome(is_delivered=200 <= status < 300, text=str(status), is_final=status == GONE)
