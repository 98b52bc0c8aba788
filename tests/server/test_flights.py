"""Work that several clients wait for is done once at a time for each key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from conveyor.errors import NotFound
from conveyor.server.memory.flights import Flights

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Counted:
    """Work that waits for a word, and counts how often it was begun."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.goes_on = asyncio.Event()
        self.error = error

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.goes_on.wait()
        if self.error is not None:
            raise self.error
        return number


async def test_work_of_one_key_is_done_once_for_all_who_ask_meanwhile() -> None:
    flights, work = Flights(), Counted()
    waiting = [asyncio.create_task(flights.join("a", work).landed()) for _ in range(5)]
    await asyncio.sleep(0)
    other = flights.join("b", work)
    await asyncio.sleep(0)
    work.goes_on.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert await other.landed() == 2
    assert await flights.join("a", work).landed() == 3  # what has landed is done anew


async def test_client_that_leaves_does_not_stop_what_others_wait_for() -> None:
    flights, work = Flights(), Counted()
    leaves, stays = (asyncio.create_task(flights.join("a", work).landed()) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    work.goes_on.set()
    assert await stays == 1


@pytest.mark.parametrize(
    ("make", "logged"), [(Flights, ["work failed"]), (lambda: Flights(is_logged=False), [])]
)
async def test_failure_reaches_everybody_and_the_log_unless_it_is_ordinary(
    make: Callable[[], Flights], logged: list[str]
) -> None:
    flights, work = make(), Counted(NotFound("nothing is there"))
    waiting = [asyncio.create_task(flights.join("a", work).landed()) for _ in range(2)]
    await asyncio.sleep(0)
    work.goes_on.set()
    with capture_logs() as lines:
        told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in told] == ["nothing is there"] * 2
    assert [line["event"] for line in lines] == logged


async def test_work_with_a_face_of_its_own_is_shared_as_it_is() -> None:
    class Shown:
        def __init__(self, work: Callable[[], Coroutine[None, None, int]]) -> None:
            self.task = asyncio.create_task(work())

    flights, work = Flights(), Counted()
    first, second = (flights.board("a", lambda: Shown(work)) for _ in range(2))
    assert first is second
    await flights.close()
    assert first.task.cancelled()
    assert flights.board("a", lambda: Shown(work)) is not first
    await flights.close()
