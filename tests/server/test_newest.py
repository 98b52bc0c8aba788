"""The newest serial, asked of a database that answers when the test says so."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from conveyor.errors import StorageFailed
from conveyor.server.memory.newest import Newest
from makers import make_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_SECONDS = 10


class SlowDatabase:
    """A ``NewestSerial``: a question looks at ``committed``, and is answered when the test allows it."""

    def __init__(self) -> None:
        self.committed = 1
        self.questions = 0
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.is_broken = False

    def peek(self) -> None:
        """Nothing is known without asking."""

    def read(self) -> int:
        self.questions += 1
        if self.is_broken:
            raise OperationalError("select newest", {}, Exception("the connection was closed"))
        seen = self.committed
        self.begun.release()
        assert self.allowed.acquire(timeout=WAIT_SECONDS)
        return seen

    def announce(self, newest: int) -> None: ...
    def publish(self, newest: int) -> None: ...
    def settle(self) -> None: ...
    def repair(self) -> None: ...
    def close(self) -> None: ...


@contextmanager
def asking(tmp_path: Path) -> Iterator[tuple[SlowDatabase, Newest]]:
    database = SlowDatabase()
    newest = Newest(replace(make_store(tmp_path), newest=database))
    try:
        yield database, newest
    finally:
        newest.close()


async def has_begun(database: SlowDatabase) -> None:
    assert await asyncio.to_thread(database.begun.acquire, timeout=WAIT_SECONDS)


async def test_all_who_ask_at_once_wait_for_one_question(tmp_path: Path) -> None:
    with asking(tmp_path) as (database, newest):
        database.allowed.release()
        assert await asyncio.gather(*(newest.read() for _ in range(100))) == [1] * 100
        assert database.questions == 1


async def test_who_asks_while_a_question_is_under_way_is_not_given_its_answer(tmp_path: Path) -> None:
    """It may have looked before a change that was acknowledged before the request came."""
    with asking(tmp_path) as (database, newest):
        early = asyncio.create_task(newest.read())
        await has_begun(database)
        database.committed = 2
        late = [asyncio.create_task(newest.read()) for _ in range(5)]
        await asyncio.sleep(0)
        database.allowed.release(2)
        assert await early == 1
        assert await asyncio.gather(*late) == [2] * 5
        assert database.questions == 2


async def test_client_that_leaves_takes_nobodys_answer_away(tmp_path: Path) -> None:
    with asking(tmp_path) as (database, newest):
        leaving = asyncio.create_task(newest.read())
        staying = asyncio.create_task(newest.read())
        await has_begun(database)
        leaving.cancel()
        database.allowed.release()
        assert await staying == 1
        assert leaving.cancelled()


async def test_failure_is_told_to_all_who_wait_and_forgotten(tmp_path: Path) -> None:
    with asking(tmp_path) as (database, newest):
        database.is_broken = True
        failed = await asyncio.gather(newest.read(), newest.read(), return_exceptions=True)
        assert [type(error) for error in failed] == [StorageFailed] * 2
        database.is_broken = False
        database.allowed.release()
        assert await newest.read() == 1


async def test_shared_memory_is_believed_without_a_question(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    newest = Newest(store)
    assert newest.peek() == store.newest.read() == await newest.read()
    # Somebody is committing, or died while doing it: memory does not know which serial is the newest.
    store.newest.announce(store.newest.read() + 1)
    assert newest.peek() is None
    assert await newest.read() == 1
    newest.close()
