from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.schema import read_fact, write_fact
from conveyor.catalog.database.serials import SerialFile, newest_serial
from conveyor.catalog.database.tables import facts
from conveyor.errors import Conflict, StorageFailed
from conveyor.operations.care.opening import close_store, open_store
from conveyor.operations.store.store import read, record_change
from makers import make_settings, make_store

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store


def change(store: Store, action: str = "act") -> int:
    with record_change(store, actor="ann") as one:
        return one.event(action)


def test_change_is_visible_with_its_event_when_it_is_acknowledged(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    with record_change(store, actor="ann") as one:
        write_fact(one.connection, "colour", "blue")
        assert one.event("paint", index="unstable", project="demo", detail={"colour": "blue"}) == before + 1
        assert one.serial == before + 1
    assert store.newest.read() == before + 1
    with read(store) as connection:
        assert read_fact(connection, "colour") == "blue"
        (event,) = events_since(connection, before)
    assert (event.actor, event.action, event.index, event.project) == ("ann", "paint", "unstable", "demo")
    assert event.at == one.at
    assert event.detail == {"colour": "blue"}


def test_change_with_two_events_takes_two_serials_in_one_transaction(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    with record_change(store, actor="ann") as one:
        one.event("first")
        one.event("second")
    assert one.serial == store.newest.read() == before + 2


def test_exception_takes_the_change_its_event_and_its_serial_back(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()

    def fail() -> None:
        with record_change(store, actor="ann") as one:
            write_fact(one.connection, "colour", "blue")
            one.event("paint")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert store.newest.read() == before
    with read(store) as connection:
        assert read_fact(connection, "colour") is None
        assert events_since(connection, before) == []
    assert change(store) == before + 1


def test_same_row_written_by_somebody_else_meanwhile_is_a_conflict(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(Conflict, match="somebody else"), record_change(store, actor="ann") as one:
        one.connection.execute(insert(facts).values(key="store-id", value="mine"))


def test_database_that_fails_is_one_of_our_errors(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(StorageFailed, match="no such table: missing"), read(store) as connection:
        connection.exec_driver_sql("select * from missing")


def test_full_disk_is_named_and_nothing_of_the_change_stays(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()

    def fill_the_disk() -> None:
        with record_change(store, actor="ann") as one:
            pages = one.connection.exec_driver_sql("pragma page_count").scalar_one()
            one.connection.exec_driver_sql(f"pragma max_page_count={pages}")
            one.event("big", detail={"text": "x" * 1_000_000})

    with pytest.raises(StorageFailed, match="the disk is full"):
        fill_the_disk()
    assert store.newest.read() == before


def test_changes_of_parallel_threads_and_two_openings_are_all_seen(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    other = make_store(tmp_path)
    before = store.newest.read()
    seen_too_late: list[int] = []

    def work(own: Store, foreign: Store) -> None:
        for _ in range(20):
            serial = change(own)
            if foreign.newest.read() < serial:
                seen_too_late.append(serial)

    threads = [
        threading.Thread(target=work, args=pair)
        for pair in [(store, other), (other, store)]
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen_too_late == []
    assert store.newest.read() == other.newest.read() == before + 120


def test_writer_that_knows_nothing_of_turns_is_waited_for(tmp_path: Path) -> None:
    """Such as the sqlite3 shell: what keeps writers apart is SQLite's own lock."""
    store = make_store(tmp_path)
    done: list[int] = []
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)) as foreign:
        foreign.execute("begin immediate")
        foreign.execute("insert into facts values ('colour', 'blue')")
        ours = threading.Thread(target=lambda: done.append(change(store)))
        ours.start()
        assert done == []
        foreign.execute("commit")
    ours.join()
    assert done == [store.newest.read()]


def test_turn_that_cannot_be_taken_is_one_clear_error(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.catalog.dispose()
    (tmp_path / "catalog.sqlite-turn").unlink()
    (tmp_path / "catalog.sqlite-turn").mkdir()
    with pytest.raises(StorageFailed, match="the turn to write the catalogue cannot be taken"):
        change(store)


DYING_WRITER = """
import os, signal, sys
from pathlib import Path
from conveyor.operations.store.store import record_change
from conveyor.operations.care.opening import open_store
from conveyor.settings import store_settings
store = open_store(store_settings(Path(sys.argv[1]), environment={}))
def die(newest=None):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "before the announcement":
    type(store.newest).announce = lambda self, newest: die()
if sys.argv[2] == "before the commit":
    announce = type(store.newest).announce
    type(store.newest).announce = lambda self, newest: (announce(self, newest), die())
if sys.argv[2] == "before the publication":
    type(store.newest).publish = lambda self, newest: die()
with record_change(store, actor="ann") as one:
    one.event("last words")
"""


@pytest.mark.parametrize(
    ("moment", "is_committed"),
    [("before the announcement", False), ("before the commit", False), ("before the publication", True)],
)
def test_writer_killed_at_any_moment_leaves_every_process_with_the_right_serial(
    tmp_path: Path, moment: str, is_committed: bool
) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    killed = subprocess.run([sys.executable, "-c", DYING_WRITER, tmp_path, moment], check=False)
    assert killed.returncode == -9
    with read(store) as connection:
        committed = newest_serial(connection)
    assert committed == before + is_committed
    assert store.newest.read() == committed  # this process was open all the time
    assert make_store(tmp_path).newest.read() == committed  # and this one opens now
    assert change(store) == committed + 1
    assert store.newest.read() == committed + 1


def test_serial_is_read_without_the_database_once_everything_is_published(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    serial = change(store)
    store.catalog.dispose()
    (tmp_path / "catalog.sqlite").rename(tmp_path / "elsewhere")
    assert store.newest.read() == serial


def test_serial_follows_a_catalog_that_was_restored_from_an_older_backup(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "store")
    store = make_store(tmp_path / "store")
    backed_up = store.newest.read()
    with closing(sqlite3.connect(settings.data / "catalog.sqlite")) as connection:
        connection.execute("vacuum into ?", [str(tmp_path / "backup")])
    change(store)
    store.catalog.dispose()
    for leftover in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"):
        (settings.data / leftover).unlink(missing_ok=True)
    (tmp_path / "backup").rename(settings.data / "catalog.sqlite")
    restored = open_store(settings)
    try:
        assert restored.newest.read() == backed_up
    finally:
        close_store(restored)


def test_published_serial_never_goes_down(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    serial = change(store)
    assert isinstance(store.newest, SerialFile)
    store.newest.publish(serial - 1)
    assert store.newest.read() == serial
