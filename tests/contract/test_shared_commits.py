"""Changes of many threads at once, by two stores on one folder as of two processes, on every database."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, text

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.schema import read_fact
from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import facts
from conveyor.catalog.releases.projects import insert_project, lock_project
from conveyor.operations.store.shared_commits import record_together
from conveyor.operations.store.store import Prepared, read, record_change
from makers import make_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.catalog.database.events import Change
    from conveyor.operations.store.store import Store
    from postgres_server import PostgresServer

WAIT_SECONDS = 60
PAINT = Statement(insert(facts))


def paint(store: Store, number: int) -> int:
    """A change with a row and an event of the actor ``number``; every third is taken back."""

    def work(change: Change) -> Prepared[Change]:
        PAINT.run(change.connection, {"key": f"colour-{number}", "value": "painted"})

        def show() -> None:
            change.event("paint", detail={"number": number})
            if number % 3 == 0:
                raise ValueError(f"no colour {number}")

        return Prepared(change, show)

    # Every fourth stands alone; the others are written first and numbered together.
    key = None if number % 4 == 0 else str(number)
    change = record_together(store, actor=str(number), work=work, key=key)
    assert change.serial is not None
    return change.serial


def test_each_of_many_changes_at_once_is_stored_with_its_own_events_or_raises_its_own_error(
    tmp_path: Path, database_url: str
) -> None:
    stores = [make_store(tmp_path, database_url=database_url) for _ in range(2)]
    before = stores[0].newest.read()
    with ThreadPoolExecutor(12) as pool:
        calls = {number: pool.submit(paint, stores[number % 2], number) for number in range(60)}
        heard = {number: call.exception(WAIT_SECONDS) or call.result() for number, call in calls.items()}
    refused = {number: error for number, error in heard.items() if isinstance(error, ValueError)}
    assert {number: str(error) for number, error in refused.items()} == {
        number: f"no colour {number}" for number in range(0, 60, 3)
    }
    with read(stores[0]) as connection:
        events = events_since(connection, before)
        rows = {number for number in heard if read_fact(connection, f"colour-{number}") is not None}
    assert rows == heard.keys() - refused.keys()
    assert [event.serial for event in events] == list(range(before + 1, before + 1 + len(rows)))
    assert {event.detail["number"]: event.serial for event in events} == {n: heard[n] for n in rows}
    assert all(event.actor == str(event.detail["number"]) for event in events)
    assert stores[0].newest.read() == stores[1].newest.read() == before + len(rows)


def test_change_is_seen_by_everybody_when_it_is_acknowledged(tmp_path: Path, database_url: str) -> None:
    store, other = (make_store(tmp_path, database_url=database_url) for _ in range(2))

    def paint_and_look(number: int) -> tuple[int, int, str | None]:
        serial = paint(store, number)
        newest = other.newest.read()
        with read(other) as connection:
            return serial, newest, read_fact(connection, f"colour-{number}")

    with ThreadPoolExecutor(8) as pool:
        for serial, newest, row in pool.map(paint_and_look, range(1, 60, 3)):
            assert newest >= serial
            assert row == "painted"


def test_leader_and_a_writer_that_wait_for_each_other_both_succeed(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """The writer has the project and wants a serial; the leader has taken a serial and wants the project."""
    store = make_store(tmp_path, database_url=postgres.new_database())
    add_project(store, "demo")
    is_leading, may_begin, has_serial, has_project = (threading.Event() for _ in range(4))

    def hold_the_others(_: Change) -> Prepared[int]:
        is_leading.set()
        assert may_begin.wait(WAIT_SECONDS)
        return Prepared(0)

    def take_a_serial(change: Change) -> Prepared[int]:
        taken = change.event("first")
        if not has_serial.is_set():  # the first time
            has_serial.set()
            assert has_project.wait(WAIT_SECONDS)
            wait_for_a_waiting_writer(store)
        return Prepared(taken)

    def write(change: Change) -> int:
        lock_project(change.connection, "demo")
        has_project.set()
        return change.event("second", project="demo")

    def write_alone() -> int:
        with record_change(store, actor="writer") as change:
            return write(change)

    with ThreadPoolExecutor(4) as pool:
        lead = partial(record_together, store, key=None)
        calls = [pool.submit(lead, actor="holder", work=hold_the_others)]
        assert is_leading.wait(WAIT_SECONDS)
        for work in (take_a_serial, lambda change: Prepared(write(change))):
            calls.append(pool.submit(lead, actor="leader", work=work))
            wait_until(lambda: len(store.waiting._waiters) == len(calls) - 1)
        may_begin.set()
        assert has_serial.wait(WAIT_SECONDS)
        alone = pool.submit(write_alone).result(WAIT_SECONDS)
        _, first, second = (call.result(WAIT_SECONDS) for call in calls)
    assert len({alone, first, second}) == 3
    assert alone < second


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_a_waiting_writer(store: Store) -> None:
    """Until a transaction of this database waits for another."""
    waiting = text("select count(*) from pg_locks where not granted and locktype = 'transactionid'")

    def is_one_waiting() -> bool:
        with read(store) as connection:
            return bool(connection.scalar(waiting))

    wait_until(is_one_waiting)


def add_project(store: Store, name: str) -> None:
    with record_change(store, actor="admin") as change:
        insert_project(change.connection, name, display_name=name, created_at=change.at)
        change.event("add", project=name)


def test_error_of_a_work_is_the_one_it_raised(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path, database_url=database_url)
    before = store.newest.read()
    with pytest.raises(ValueError, match="no colour 0"):
        paint(store, 0)
    assert store.newest.read() == before
    assert paint(store, 1) == before + 1
