from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.blobs import filesystem as shelves
from conveyor.blobs.inventory import hash_file
from conveyor.catalog.care.copies import copied_catalog
from conveyor.domain.care.backups import MARKER
from conveyor.errors import Conflict, InvalidInput, NotFound, StorageFailed, StorageFull
from conveyor.operations.care.backups import BackedUp, back_up, read_backup
from conveyor.operations.care.garbage import collect_garbage
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.care.opening import (
    PASSWORD_FILE,
    RESTORING_FILE,
    close_store,
    open_store,
    opened_store,
)
from conveyor.operations.care.restores import restore_store
from distributions_made import make_wheel
from faulty_disks import enlarge, small_disk
from makers import make_settings, make_store
from operations.stores_compared import contents_of, rows_of
from operations.stores_damaged import blob_path, damage, execute, make_older, mirror, put_garbage
from releases_made import make_release, make_worker, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from conveyor.operations.store.store import Store

MADE = make_wheel()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a release that carries evidence, and a mirrored file."""
    store = make_store(tmp_path / "store")
    make_release(store, make_worker(store))
    mirror(store, make_wheel("upstreams"))
    return store


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder on another file system, where hard links do not reach."""
    shared_memory = Path("/dev/shm")
    folder = shared_memory / f"conveyor-{os.getpid()}-{threading.get_ident()}"
    folder.mkdir()
    assert folder.stat().st_dev != Path.cwd().stat().st_dev
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def backup(store: Store, folder: Path, *, is_verifying: bool = False) -> BackedUp:
    return back_up(store, folder, threads=2, is_verifying=is_verifying)


def restored(source: Path, folder: Path) -> Store:
    settings = make_settings(folder)
    restore_store(source, settings, threads=2)
    assert not initialise_store(settings).is_new
    return make_store(folder)


def check_whole(folder: Path) -> None:
    """Every file of a finished backup is what its marker says."""
    found = read_backup(folder)
    for file in (found.catalog, found.listing):
        hashed = hash_file(folder / file.name)
        assert hashed is not None
        assert (hashed.sha256, hashed.size_bytes) == (file.sha256, file.size_bytes)
    for line in (folder / found.listing.name).read_text().splitlines():
        sha256, size = line.split()
        hashed = hash_file(shelves.blob_path(folder / "blobs", sha256))
        assert hashed is not None
        assert (hashed.sha256, hashed.size_bytes) == (sha256, int(size))


def test_restored_store_has_the_same_rows_and_bytes(store: Store, tmp_path: Path) -> None:
    made = backup(store, tmp_path / "backup").backup
    check_whole(tmp_path / "backup")
    again = restored(tmp_path / "backup", tmp_path / "again")
    assert rows_of(again) == rows_of(store)
    assert contents_of(again) == contents_of(store)
    assert again.newest.read() == store.newest.read() == made.serial
    assert inspect_store(again, grace_seconds=0, threads=2).faults == []
    assert publish(again, make_wheel(version="2.0")).is_new


def test_backup_holds_no_initial_password(tmp_path: Path) -> None:
    settings = replace(make_settings(tmp_path / "store"), admin_password=None)
    initialise_store(settings)
    password = (settings.data / PASSWORD_FILE).read_bytes().strip()
    with opened_store(settings) as store:
        backup(store, tmp_path / "backup")
    assert not [path for path in (tmp_path / "backup").rglob("*") if path.name == PASSWORD_FILE]
    assert all(
        password not in path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file()
    )
    assert (tmp_path / "backup" / read_backup(tmp_path / "backup").catalog.name).stat().st_mode & 0o077 == 0


def test_blobs_are_linked_on_the_same_file_system_and_restored_as_copies(
    store: Store, tmp_path: Path
) -> None:
    done = backup(store, tmp_path / "backup")
    assert (done.linked, done.copied, done.kept) == (done.backup.blobs, 0, 0)
    path = blob_path(store, MADE.sha256)
    assert path.samefile(tmp_path / "backup" / path.relative_to(tmp_path / "store"))
    again = restored(tmp_path / "backup", tmp_path / "again")
    assert not path.samefile(blob_path(again, MADE.sha256))


def test_blobs_are_copied_to_another_file_system(store: Store, tmp_path: Path, other_disk: Path) -> None:
    done = backup(store, other_disk / "backup")
    assert (done.linked, done.copied, done.kept) == (0, done.backup.blobs, 0)
    check_whole(other_disk / "backup")
    assert backup(store, other_disk / "backup").kept == done.backup.blobs
    assert rows_of(restored(other_disk / "backup", tmp_path / "again")) == rows_of(store)


def test_second_backup_writes_what_is_new_and_drops_what_is_gone(store: Store, tmp_path: Path) -> None:
    first = backup(store, tmp_path / "backup")
    publish(store, make_wheel(version="2.0"))
    execute(store, "delete from mirrored_files")
    second = backup(store, tmp_path / "backup")
    assert (second.linked, second.copied, second.kept) == (1, 0, first.backup.blobs - 1)
    assert second.backup.serial > first.backup.serial
    check_whole(tmp_path / "backup")
    names = {path.name for path in (tmp_path / "backup").iterdir()}
    expected = {MARKER, "lock", "blobs", second.backup.catalog.name, second.backup.listing.name}
    assert names == expected
    assert not shelves.blob_path(tmp_path / "backup" / "blobs", make_wheel("upstreams").sha256).exists()
    assert rows_of(restored(tmp_path / "backup", tmp_path / "again")) == rows_of(store)


def test_backup_outlives_what_happens_to_the_store(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    before = contents_of(store)
    for digest in before:
        blob_path(store, digest).unlink()
    close_store(open_store(make_settings(tmp_path / "store")))
    assert contents_of(restored(tmp_path / "backup", tmp_path / "again")) == before


def test_garbage_and_strays_are_not_in_a_backup(store: Store, tmp_path: Path) -> None:
    sha256 = put_garbage(store, b"garbage")
    backup(store, tmp_path / "backup")
    again = restored(tmp_path / "backup", tmp_path / "again")
    assert not again.blobs.has(sha256)
    assert inspect_store(again, grace_seconds=0, threads=2).faults == []


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_lost_bytes_make_no_backup_and_leave_the_one_before(store: Store, tmp_path: Path, how: str) -> None:
    first = backup(store, tmp_path / "backup").backup
    publish(store, make_wheel(version="2.0"))
    lost = blob_path(store, make_wheel(version="2.0").sha256)
    if how == "missing":
        lost.unlink()
    else:
        lost.write_bytes(b"short")
    with pytest.raises(StorageFailed, match=f"has lost the bytes of {lost.name}") as raised:
        backup(store, tmp_path / "backup")
    assert "--incomplete" in (raised.value.hint or "")
    assert read_backup(tmp_path / "backup") == first
    check_whole(tmp_path / "backup")
    second = back_up(store, tmp_path / "backup", threads=2, may_be_incomplete=True).backup
    assert second.missing == (lost.name,)
    restore_store(tmp_path / "backup", make_settings(tmp_path / "again"), threads=2)


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_bytes_that_only_the_backup_before_has_are_kept_in_it(
    store: Store, tmp_path: Path, other_disk: Path, how: str
) -> None:
    backup(store, other_disk / "backup")
    path = blob_path(store, MADE.sha256)
    path.unlink() if how == "missing" else path.write_bytes(b"short")
    assert backup(store, other_disk / "backup").backup.missing == ()
    check_whole(other_disk / "backup")
    again = restored(other_disk / "backup", tmp_path / "again")
    assert blob_path(again, MADE.sha256).read_bytes() == MADE.content


def test_damage_is_noticed_where_bytes_are_copied(store: Store, other_disk: Path) -> None:
    damage(blob_path(store, MADE.sha256))
    with pytest.raises(StorageFailed, match=f"{MADE.sha256} \\(damaged\\)"):
        backup(store, other_disk / "backup")


def test_verifying_replaces_what_the_backup_disk_has_damaged(store: Store, other_disk: Path) -> None:
    backup(store, other_disk / "backup")
    damage(shelves.blob_path(other_disk / "backup" / "blobs", MADE.sha256))
    assert backup(store, other_disk / "backup").copied == 0
    assert backup(store, other_disk / "backup", is_verifying=True).copied == 1
    check_whole(other_disk / "backup")


def test_verifying_notices_damage_of_linked_files(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    damage(blob_path(store, MADE.sha256))
    with pytest.raises(StorageFailed, match="damaged"):
        backup(store, tmp_path / "backup", is_verifying=True)


def test_folder_with_something_else_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("chapter one")
    with pytest.raises(Conflict, match=r"something other than a backup: thesis\.tex"):
        backup(store, tmp_path / "mine")


def test_backup_in_the_store_or_around_it_is_refused_and_makes_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "house" / "blobs")  # a backup may hold a folder of that name
    (tmp_path / "link").symlink_to(tmp_path / "house")
    before = sorted(tmp_path.rglob("*"))
    for name in ("house/blobs", "house/blobs/sub/backup", "house/blobs/blobs/backup", "link/blobs/backup"):
        with pytest.raises(InvalidInput, match=r"lies in the store's own folder .*/blobs") as raised:
            backup(store, tmp_path / name)
        assert "outside it" in (raised.value.hint or "")
    for name in ("house", "link"):
        with pytest.raises(InvalidInput, match=r"holds the store's own folder .*/blobs"):
            backup(store, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_backup_around_blobs_that_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    """They would be the blobs of the backup, and cleared of what it does not need."""
    settings = replace(make_settings(tmp_path / "store"), blobs_url=f"file://{tmp_path}/elsewhere/blobs")
    initialise_store(settings)
    with opened_store(settings) as store:
        sha256 = store.blobs.put(b"not named yet")
        with pytest.raises(InvalidInput, match="holds the store's own folder"):
            backup(store, tmp_path / "elsewhere")
        assert store.blobs.has(sha256)


@pytest.mark.parametrize("size", ["64k", "192k", "1800k"])
def test_full_disk_of_a_backup_is_said_and_leaves_the_one_before(
    store: Store, tmp_path: Path, size: str
) -> None:
    """It is full before the catalogue is written, in the middle of it, or while blobs are."""
    large = make_wheel("large", extra={"large/payload": os.urandom(3_000_000)})
    with small_disk(tmp_path / "disk", size=size) as disk:
        if size == "1800k":
            first = backup(store, disk / "backup").backup
        publish(store, large)
        with pytest.raises(StorageFull, match="disk is full") as raised:
            backup(store, disk / "backup")
        assert "free some space" in (raised.value.hint or "")
        if size == "1800k":
            assert read_backup(disk / "backup") == first
            check_whole(disk / "backup")
        else:
            with pytest.raises(NotFound, match="no finished backup"):
                read_backup(disk / "backup")
        enlarge(disk, size="16m")
        backup(store, disk / "backup")
        check_whole(disk / "backup")


def test_backup_of_another_store_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    with pytest.raises(Conflict, match="backup of another store"):
        backup(make_store(tmp_path / "other"), tmp_path / "backup")
    check_whole(tmp_path / "backup")


def test_damaged_catalogue_is_not_backed_up(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    publish(store, MADE)
    first = backup(store, tmp_path / "backup").backup
    with store.catalog.connect() as connection:
        connection.exec_driver_sql("rollback")
        connection.exec_driver_sql("pragma writable_schema=on")
        connection.exec_driver_sql("begin")
        connection.exec_driver_sql("delete from sqlite_master where name = 'ix_distributions_sha256'")
        connection.commit()
        connection.invalidate()
    with pytest.raises(StorageFailed, match="damaged"):
        backup(store, tmp_path / "backup")
    assert read_backup(tmp_path / "backup") == first


def test_nothing_is_collected_while_a_backup_is_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirrored file is taken back by upstream between the snapshot of rows and the copying of bytes."""
    made = make_wheel("upstreams")
    make_older(blob_path(store, made.sha256), 1e6)

    @contextmanager
    def copied_and_taken_back(engine: Engine, target: Path) -> Iterator[Connection]:
        with copied_catalog(engine, target) as connection:
            yield connection
        execute(store, "delete from mirrored_files")
        with pytest.raises(Conflict, match="under way"):
            collect_garbage(store)

    monkeypatch.setattr("conveyor.operations.care.backups.copied_catalog", copied_and_taken_back)
    backup(store, tmp_path / "backup")
    assert collect_garbage(store).blobs == 1
    again = restored(tmp_path / "backup", tmp_path / "again")
    assert blob_path(again, made.sha256).read_bytes() == made.content
    assert inspect_store(again, grace_seconds=0, threads=2).faults == []


def test_uploads_during_a_backup_are_in_it_whole_or_not_at_all(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    stopping = threading.Event()

    def keep_publishing() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            publish(store, make_wheel(version=str(number)))

    busy = threading.Thread(target=keep_publishing)
    busy.start()
    serials = []
    try:
        for number in range(5):
            serials.append(backup(store, tmp_path / "backup").backup.serial)
            again = restored(tmp_path / "backup", tmp_path / f"again-{number}")
            assert inspect_store(again, grace_seconds=0, threads=2).faults == []
            assert again.newest.read() == serials[-1]
    finally:
        stopping.set()
        busy.join()
    assert serials == sorted(set(serials))


def test_folder_without_a_finished_backup_is_not_restored(store: Store, tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "again")
    (tmp_path / "backup").mkdir()
    with pytest.raises(NotFound, match="no finished backup"):
        restore_store(tmp_path / "backup", settings, threads=2)
    backup(store, tmp_path / "backup")
    (tmp_path / "backup" / MARKER).write_text("{}")
    with pytest.raises(InvalidInput, match="damaged"):
        restore_store(tmp_path / "backup", settings, threads=2)
    assert not settings.data.exists()


def test_backup_of_a_newer_conveyor_is_not_restored(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    marker = tmp_path / "backup" / MARKER
    text = marker.read_text()
    for key, what in (("format", "format 99"), ("schema", "schema 99")):
        marker.write_text(json.dumps({**json.loads(text), key: 99}))
        with pytest.raises(Conflict, match=what):
            restore_store(tmp_path / "backup", make_settings(tmp_path / "again"), threads=2)


@pytest.mark.parametrize("which", ["catalog", "listing"])
@pytest.mark.parametrize("how", ["missing", "wrong"])
def test_damaged_files_of_a_backup_are_noticed_before_anything_is_restored(
    store: Store, tmp_path: Path, which: str, how: str
) -> None:
    made = backup(store, tmp_path / "backup").backup
    path = tmp_path / "backup" / (made.catalog if which == "catalog" else made.listing).name
    damage(path)
    if how == "missing":
        path.unlink()
    with pytest.raises(StorageFailed, match="damaged"):
        restore_store(tmp_path / "backup", make_settings(tmp_path / "again"), threads=2)
    assert not (tmp_path / "again").exists()


def test_damaged_blob_of_a_backup_is_named_and_no_store_is_made(
    store: Store, tmp_path: Path, other_disk: Path
) -> None:
    backup(store, other_disk / "backup")
    bad = shelves.blob_path(other_disk / "backup" / "blobs", MADE.sha256)
    damage(bad)
    settings = make_settings(tmp_path / "again")
    with pytest.raises(StorageFailed, match=MADE.sha256):
        restore_store(other_disk / "backup", settings, threads=2)
    with pytest.raises(Conflict, match="not finished"):
        initialise_store(settings)
    with pytest.raises(Conflict, match="not finished"):
        open_store(settings)
    with pytest.raises(Conflict, match="not finished"), opened_store(settings):
        pass
    bad.write_bytes(MADE.content)
    restore_store(other_disk / "backup", settings, threads=2)  # goes on
    assert rows_of(make_store(tmp_path / "again")) == rows_of(store)


def test_folder_that_is_not_empty_is_not_restored_into(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    for folder in ("mine", "store"):
        with pytest.raises(Conflict, match="is not empty"):
            restore_store(tmp_path / "backup", make_settings(tmp_path / folder), threads=2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


@pytest.mark.parametrize("folder", ["backup", "backup/again"])
def test_restore_into_the_backup_itself_is_refused_and_leaves_it_as_it_is(
    folder: str, store: Store, tmp_path: Path
) -> None:
    backup(store, tmp_path / "backup")
    before = sorted((tmp_path / "backup").rglob("*"))
    with pytest.raises(InvalidInput, match="lies in the backup"):
        restore_store(tmp_path / "backup", make_settings(tmp_path / folder), threads=2)
    assert sorted((tmp_path / "backup").rglob("*")) == before


def test_unfinished_restore_of_another_backup_is_not_gone_on_with(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / RESTORING_FILE).write_text("0" * 64)
    with pytest.raises(Conflict, match="another backup"):
        restore_store(tmp_path / "backup", make_settings(tmp_path / "again"), threads=2)


def test_blobs_that_lie_elsewhere_must_be_empty_too(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    settings = replace(make_settings(tmp_path / "again"), blobs_url=f"file://{tmp_path}/store/blobs")
    with pytest.raises(Conflict, match="holds blobs"):
        restore_store(tmp_path / "backup", settings, threads=2)
    assert list((tmp_path / "again").iterdir()) == []
    settings = replace(settings, blobs_url=f"file://{tmp_path}/elsewhere")
    restore_store(tmp_path / "backup", settings, threads=2)
    assert hash_file(shelves.blob_path(tmp_path / "elsewhere", MADE.sha256)) is not None


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.torture)])
def test_backup_and_restore_killed_before_any_of_their_steps_are_completed_by_the_next(
    tmp_path: Path, stride: int
) -> None:
    program = Path(__file__).with_name("backup_and_die.py")
    ended = subprocess.run(
        [sys.executable, program, tmp_path, str(stride)],
        env={**os.environ, "PYTHONPATH": str(program.parents[1])},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    backing_up, restoring = (int(tried) * stride for tried in ended.stdout.split())
    assert backing_up > 20
    assert restoring > 20


def test_backup_is_restored_into_the_same_kind_of_database_only(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    settings = make_settings(tmp_path / "again", database_url="postgresql+psycopg://nobody@127.0.0.1:9/none")
    with pytest.raises(InvalidInput, match="was in SQLite, and cannot go elsewhere"):
        restore_store(tmp_path / "backup", settings, threads=2)
    assert not settings.data.exists()


def test_restore_to_where_no_blobs_can_be_makes_nothing(store: Store, tmp_path: Path) -> None:
    backup(store, tmp_path / "backup")
    settings = replace(make_settings(tmp_path / "again"), blobs_url="s3://bucket/blobs")
    with pytest.raises(InvalidInput, match="blobs cannot live at"):
        restore_store(tmp_path / "backup", settings, threads=2)
    assert not settings.data.exists()


@pytest.mark.parametrize("left", ["catalog.sqlite", "catalog.sqlite-wal"])
def test_what_is_left_of_another_catalogue_is_not_restored_over(
    store: Store, tmp_path: Path, left: str
) -> None:
    """SQLite would replay the log of another catalogue over the restored one."""
    backup(store, tmp_path / "backup")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / left).write_bytes(b"")
    settings = make_settings(
        tmp_path / "again", database_url=f"sqlite:///{tmp_path}/elsewhere/catalog.sqlite"
    )
    with pytest.raises(Conflict, match="holds a catalogue, or the remains of one"):
        restore_store(tmp_path / "backup", settings, threads=2)
    assert list(settings.data.iterdir()) == []
