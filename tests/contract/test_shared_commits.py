"""Changes of many threads at once, by two stores on one folder as of two processes, on every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.schema import read_fact, write_fact
from conveyor.operations.store.shared_commits import record_together
from conveyor.operations.store.store import read
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.catalog.database.events import Change
    from conveyor.operations.store.store import Store

WAIT_SECONDS = 60


def paint(store: Store, number: int) -> int:
    """A change with a row and an event of the actor ``number``; every third is taken back."""

    def work(change: Change) -> int:
        write_fact(change.connection, f"colour-{number}", "painted")
        serial = change.event("paint", detail={"number": number})
        if number % 3 == 0:
            raise ValueError(f"no colour {number}")
        return serial

    return record_together(store, actor=str(number), work=work)


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


def test_error_of_a_work_is_the_one_it_raised(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path, database_url=database_url)
    before = store.newest.read()
    with pytest.raises(ValueError, match="no colour 0"):
        paint(store, 0)
    assert store.newest.read() == before
    assert paint(store, 1) == before + 1
