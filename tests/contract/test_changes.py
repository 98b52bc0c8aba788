from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.schema import read_fact, write_fact
from conveyor.catalog.database.tables import facts
from conveyor.errors import Conflict
from conveyor.operations.store.store import read, record_change
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store


def test_change_of_one_process_is_seen_by_another_when_it_is_acknowledged(
    tmp_path: Path, database_url: str
) -> None:
    store, other = (make_store(tmp_path, database_url=database_url) for _ in range(2))
    for number in range(5):
        with record_change(store, actor="ann") as change:
            write_fact(change.connection, "number", str(number))
            serial = change.event("count")
        assert other.newest.read() == serial
        with read(other) as connection:
            assert read_fact(connection, "number") == str(number)


def test_exception_leaves_no_row_no_event_and_no_serial(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path, database_url=database_url)
    before = store.newest.read()

    def fail() -> None:
        with record_change(store, actor="ann") as change:
            write_fact(change.connection, "colour", "blue")
            change.event("paint")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert store.newest.read() == before
    with read(store) as connection:
        assert read_fact(connection, "colour") is None
        assert events_since(connection, before) == []


def test_same_row_written_twice_is_a_conflict(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path, database_url=database_url)
    with pytest.raises(Conflict, match="somebody else"), record_change(store, actor="ann") as change:
        change.connection.execute(insert(facts).values(key="store-id", value="mine"))


def test_events_of_parallel_changes_are_whole_and_in_serial_order(tmp_path: Path, database_url: str) -> None:
    stores = [make_store(tmp_path, database_url=database_url) for _ in range(2)]
    before = stores[0].newest.read()
    seen_too_late: list[int] = []

    def work(own: Store, foreign: Store) -> None:
        for _ in range(10):
            with record_change(own, actor="ann") as change:
                first = change.event("first")
                second = change.event("second")
            if second != first + 1 or foreign.newest.read() < second:
                seen_too_late.append(second)

    threads = [threading.Thread(target=work, args=pair) for pair in [stores, stores[::-1]] for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen_too_late == []
    with read(stores[1]) as connection:
        events = events_since(connection, before)
    assert [event.serial for event in events] == list(range(before + 1, before + 121))
    assert [event.action for event in events] == ["first", "second"] * 60
