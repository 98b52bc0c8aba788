"""Replies from memory on the thread that received the request, without waking the event loop.

granian receives requests on a thread of its own and makes a task of each for the event loop's thread. A page
in memory needs no task, so the application is first asked whether it has the reply at once. All other
requests go the ordinary way.

granian has no public interface for this, so one of its private functions is wrapped. Decision record 0017
describes the gain, and what happens when a release of granian changes the function.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog
from granian import _futures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Message, Scope

    from conveyor.server.http.messages import Reply


class AnswersAtOnce(Protocol):
    """An application that has some replies in memory."""

    def at_once(self, scope: Scope) -> Reply | None:
        """The reply, or ``None`` to have the application called. Called by any thread; it never blocks."""


class _Connection(Protocol):
    def send(self, message: Message) -> Awaitable[None]: ...


class _Request(Protocol):
    """The object that granian hands to its scheduler."""

    scope: Scope
    proto: _Connection

    def done(self) -> None: ...


def reply_at_once(application: AnswersAtOnce) -> None:
    """Answer requests to this process at once from now on, if the application can."""
    make_scheduler: Callable[..., Callable[[_Request], None]] = _futures._cbsched_aioschedule

    def make_asking_scheduler(*arguments: object) -> Callable[[_Request], None]:
        return partial(_schedule, application, make_scheduler(*arguments))

    _futures._cbsched_aioschedule = make_asking_scheduler


def _schedule(application: AnswersAtOnce, make_task: Callable[[_Request], None], request: _Request) -> None:
    try:
        reply = application.at_once(request.scope)
    except Exception:  # noqa: BLE001 - the application meets the same error in its task, and can answer it
        structlog.get_logger("conveyor.server").exception("no reply at once")
        reply = None
    if reply is None:
        make_task(request)
        return
    # What ``send`` returns need not be awaited: the message was handed over.
    request.proto.send(reply.start)
    request.proto.send(reply.body)
    request.done()
