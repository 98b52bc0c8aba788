"""Replies at once, and the part of granian that they depend on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from granian import _futures
from granian._futures import _new_cbscheduler

from conveyor.server.http.messages import NO_BODY, Reply
from conveyor.server.receiving import reply_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Scope

START: Message = {"type": "http.response.start", "status": 204, "headers": []}


class Room:
    """An application that has a reply for some paths in memory."""

    def at_once(self, scope: Scope) -> Reply | None:
        if scope["path"] == "/broken":
            raise RuntimeError("broken")
        return Reply(START, NO_BODY, None) if scope["path"] == "/kept" else None


class Request:
    """A request as granian hands it to a scheduler, noting what happens to it."""

    def __init__(self, path: str) -> None:
        self.scope = {"path": path}
        self.proto = self
        self.said: list[object] = []

    def send(self, message: Message) -> None:
        self.said.append(message)

    def done(self) -> None:
        self.said.append("done")


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> Callable[[Request], None]:
    monkeypatch.setattr(
        _futures, "_cbsched_aioschedule", lambda *_: lambda request: request.said.append("task")
    )
    reply_at_once(Room())
    wrapped: Callable[..., Callable[[Request], None]] = _futures._cbsched_aioschedule
    return wrapped(None, None, None)


def test_reply_in_memory_is_sent_without_a_task(schedule: Callable[[Request], None]) -> None:
    request = Request("/kept")
    schedule(request)
    assert request.said == [START, NO_BODY, "done"]


@pytest.mark.parametrize("path", ["/other", "/broken"])
def test_everything_else_becomes_a_task(path: str, schedule: Callable[[Request], None]) -> None:
    request = Request(path)
    schedule(request)
    assert request.said == ["task"]


def test_granian_makes_its_scheduler_by_the_function_that_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of granian that does it in another way leaves us slower: decision record 0017."""
    asked: list[object] = []

    def make(loop: object, *_: object) -> Callable[[object], None]:
        asked.append(loop)
        return lambda _: None

    monkeypatch.setattr(_futures, "_cbsched_aioschedule", make)
    loop = asyncio.new_event_loop()
    _new_cbscheduler(loop, lambda _: None, impl_asyncio=True)  # type: ignore[no-untyped-call]  # granian's own
    loop.close()
    assert asked == [loop]
