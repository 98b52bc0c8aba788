"""Backups and restores, on every database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from conveyor.blobs.filesystem import blob_path
from conveyor.catalog.database.connection import open_catalog, writing
from conveyor.errors import Conflict, MissingTool, NotFound, StorageFailed, StorageFull
from conveyor.operations.care.backups import back_up, read_backup
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.care.opening import RESTORING_FILE
from conveyor.operations.care.restores import restore_store
from distributions_made import make_wheel
from faulty_disks import fill, small_disk
from makers import make_settings, make_store
from operations.stores_compared import contents_of, rows_of
from operations.stores_damaged import mirror
from releases_made import make_release, make_worker, publish

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Store:
    """A store with a release that carries evidence, and mirrored files with and without a hash."""
    store = make_store(tmp_path / "store", database_url=database_url)
    make_release(store, make_worker(store))
    mirror(store, make_wheel("upstreams"))
    mirror(store, make_wheel("unhashed"), is_hashed=False)
    return store


@pytest.fixture
def new_database_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> str:
    """The URL of another empty database of the same kind."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'again' / 'catalog.sqlite'}"
    url: str = request.getfixturevalue("postgres").new_database()
    return url


def test_restored_store_is_identical_and_goes_on(store: Store, tmp_path: Path, new_database_url: str) -> None:
    made = back_up(store, tmp_path / "backup", threads=2).backup
    settings = make_settings(tmp_path / "again", database_url=new_database_url)
    assert restore_store(tmp_path / "backup", settings, threads=2) == made
    again = make_store(tmp_path / "again", database_url=new_database_url)
    assert rows_of(again) == rows_of(store)
    assert contents_of(again) == contents_of(store)
    assert again.newest.read() == store.newest.read() == made.serial
    assert inspect_store(again, grace_seconds=0, threads=2).faults == []
    assert publish(again, make_wheel(version="2.0")).is_new  # numbers of rows go on where they were
    assert inspect_store(again, grace_seconds=0, threads=2).faults == []


def test_second_backup_writes_only_what_is_new(store: Store, tmp_path: Path) -> None:
    first = back_up(store, tmp_path / "backup", threads=2)
    publish(store, make_wheel(version="2.0"))
    second = back_up(store, tmp_path / "backup", threads=2)
    assert (second.kept, second.linked + second.copied) == (first.backup.blobs, 1)


def test_backups_during_uploads_are_each_of_one_moment(
    store: Store, tmp_path: Path, new_database_url: str
) -> None:
    stopping, published = threading.Event(), threading.Semaphore(0)

    def keep_publishing() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            publish(store, make_wheel("busy", str(number)))
            published.release()

    busy = threading.Thread(target=keep_publishing)
    busy.start()
    try:
        serials = []
        for _ in range(3):
            published.acquire()  # each backup finds something new
            serials.append(back_up(store, tmp_path / "backup", threads=2).backup.serial)
    finally:
        stopping.set()
        busy.join()
    assert serials == sorted(set(serials))
    settings = make_settings(tmp_path / "again", database_url=new_database_url)
    restore_store(tmp_path / "backup", settings, threads=2)
    again = make_store(tmp_path / "again", database_url=new_database_url)
    assert again.newest.read() == serials[-1]
    assert inspect_store(again, grace_seconds=0, threads=2).faults == []


def test_store_is_not_restored_over_another(store: Store, tmp_path: Path, database_url: str) -> None:
    back_up(store, tmp_path / "backup", threads=2)
    before = rows_of(store)
    settings = make_settings(tmp_path / "again", database_url=database_url)
    with pytest.raises(Conflict, match="holds a catalogue"):
        restore_store(tmp_path / "backup", settings, threads=2)
    assert rows_of(store) == before


def test_restore_that_was_killed_after_its_last_row_is_completed(
    store: Store, tmp_path: Path, new_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(store, tmp_path / "backup", threads=2)
    settings = make_settings(tmp_path / "again", database_url=new_database_url)
    monkeypatch.setattr("pathlib.Path.unlink", None)  # the step that is left when the rows are there
    with pytest.raises(TypeError):
        restore_store(tmp_path / "backup", settings, threads=2)
    monkeypatch.undo()
    assert (settings.data / RESTORING_FILE).exists()
    restore_store(tmp_path / "backup", settings, threads=2)
    assert rows_of(make_store(tmp_path / "again", database_url=new_database_url)) == rows_of(store)


def test_rows_that_find_no_room_make_no_backup(store: Store, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="1m") as disk:
        filler = fill(disk, leaving_bytes=8192)
        with pytest.raises(StorageFull):
            back_up(store, disk / "backup", threads=2)
        with pytest.raises(NotFound, match="no finished backup"):
            read_backup(disk / "backup")
        filler.unlink()
        assert back_up(store, disk / "backup", threads=2).backup == read_backup(disk / "backup")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_backup_without_pg_dump_is_one_clear_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="pg_dump is not on the PATH"):
        back_up(store, tmp_path / "backup", threads=2)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_dump_that_cannot_be_loaded_makes_no_store(
    store: Store, tmp_path: Path, new_database_url: str
) -> None:
    """A table that is in the way: nothing of the dump is there afterwards, and no server starts."""
    back_up(store, tmp_path / "backup", threads=2)
    other = make_settings(tmp_path / "other", database_url=new_database_url)
    engine = open_catalog(other.database_url)
    with writing(engine) as connection:
        connection.exec_driver_sql("create table workers (name text)")
    with pytest.raises(StorageFailed, match=r'pg_restore failed: .*"workers" already exists'):
        restore_store(tmp_path / "backup", other, threads=2)
    with pytest.raises(Conflict, match="not finished"):
        make_store(tmp_path / "other", database_url=new_database_url)
    with writing(engine) as connection:
        connection.exec_driver_sql("drop table workers")
    engine.dispose()
    restore_store(tmp_path / "backup", other, threads=2)
    assert rows_of(make_store(tmp_path / "other", database_url=new_database_url)) == rows_of(store)


def test_backup_names_where_each_blob_lies(store: Store, tmp_path: Path) -> None:
    made = back_up(store, tmp_path / "backup", threads=2).backup
    listed = [line.split() for line in (tmp_path / "backup" / made.listing.name).read_text().splitlines()]
    assert len(listed) == made.blobs
    for sha256, size in listed:
        assert blob_path(tmp_path / "backup" / "blobs", sha256).stat().st_size == int(size)
