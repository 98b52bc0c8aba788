from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from conveyor.operations.care.inspection import Inspection, inspect_store
from distributions_made import make_sdist, make_wheel
from makers import make_store
from operations.stores_damaged import (
    DAY_SECONDS,
    blob_path,
    damage,
    execute,
    make_metadata_blobs,
    mirror,
    put_garbage,
)
from releases_made import make_release, make_worker, publish

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store


def inspect(store: Store, *, grace_seconds: float = DAY_SECONDS) -> Inspection:
    return inspect_store(store, grace_seconds=grace_seconds, threads=4)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a release that carries evidence, and a mirrored file."""
    store = make_store(tmp_path / "store")
    make_release(store, make_worker(store))
    mirror(store, make_wheel("upstreams"))
    mirror(store, make_wheel("unhashed"), is_hashed=False)
    return store


def test_sound_store_has_no_fault_and_every_blob_is_read(store: Store) -> None:
    found = inspect(store)
    assert found.faults == []
    files = [path for path in blob_path(store, "0" * 64).parents[1].glob("??/*") if path.is_file()]
    assert (found.blobs, found.size_bytes) == (len(files), sum(path.stat().st_size for path in files))


def test_progress_counts_every_blob(store: Store) -> None:
    said: list[tuple[int, int, int]] = []
    found = inspect_store(store, grace_seconds=0, threads=2, progress=lambda *numbers: said.append(numbers))
    assert [done for done, _, _ in said] == list(range(1, found.blobs + 1))
    assert said[-1] == (found.blobs, found.blobs, found.size_bytes)


@pytest.mark.parametrize("which", ["file", "metadata", "mirrored"])
def test_one_wrong_byte_is_found(store: Store, which: str) -> None:
    made = make_wheel("upstreams") if which == "mirrored" else make_wheel()
    sha256 = made.sha256
    if which == "metadata":
        sha256 = make_metadata_blobs(store)[0]
    damage(blob_path(store, sha256))
    (fault,) = inspect(store).faults
    assert (fault.kind, fault.sha256) == ("wrong-blob", sha256)
    assert made.filename in fault.what
    assert "its bytes have the digest" in fault.what


def test_provenance_is_named_by_its_file_and_must_be_here(store: Store) -> None:
    sha256 = put_garbage(store, b"provenance")
    execute(store, "update distributions set provenance_sha256 = :it", it=sha256)
    assert inspect(store, grace_seconds=0).faults == []
    blob_path(store, sha256).unlink()
    (fault,) = inspect(store).faults
    assert fault.kind == "missing-blob"
    assert f"the provenance of {make_wheel().filename}" in fault.what


def test_provenance_of_a_mirrored_file_is_named_and_may_be_missing(store: Store) -> None:
    sha256 = put_garbage(store, b"provenance")
    execute(store, "update mirrored_files set provenance_sha256 = :it", it=sha256)
    assert inspect(store, grace_seconds=0).faults == []
    blob_path(store, sha256).unlink()
    assert inspect(store).faults == []


@pytest.mark.parametrize("name", ["demo", "upstreams"])
def test_missing_bytes_are_found(store: Store, name: str) -> None:
    made = make_wheel(name)
    blob_path(store, made.sha256).unlink()
    (fault,) = inspect(store).faults
    assert (fault.kind, fault.subject, fault.file) == ("missing-blob", made.filename, None)


def test_truncated_file_is_found(store: Store) -> None:
    path = blob_path(store, make_wheel().sha256)
    path.write_bytes(path.read_bytes()[:-1])
    assert inspect(store).kinds == {"wrong-blob": 1}


def test_blob_without_a_row_is_a_fault_after_the_grace_time_only(store: Store) -> None:
    put_garbage(store, b"old")
    put_garbage(store, b"young", age_seconds=DAY_SECONDS / 2)
    (fault,) = inspect(store).faults
    assert fault.kind == "unnamed-blob"
    assert inspect(store, grace_seconds=60).kinds == {"unnamed-blob": 2}


def test_wrong_bytes_without_a_row_are_found_at_any_age(store: Store) -> None:
    sha256 = store.blobs.put(b"content")
    damage(blob_path(store, sha256))
    (fault,) = inspect(store).faults
    assert (fault.kind, fault.subject, fault.namers) == ("wrong-blob", sha256, ())


def test_digest_of_mirrored_metadata_that_was_never_fetched_is_no_fault(store: Store) -> None:
    execute(store, "update mirrored_files set metadata_sha256 = :nothing", nothing="0" * 64)
    assert inspect(store).faults == []


def test_stray_files_are_found(store: Store) -> None:
    shelf = blob_path(store, make_wheel().sha256).parent
    (shelf / "notes.txt").write_text("mine")
    (shelf / ("0" * 64)).write_text("in the wrong folder")
    assert sorted((fault.kind, fault.subject) for fault in inspect(store).faults) == [
        ("stray-file", "0" * 64),
        ("stray-file", "notes.txt"),
    ]


def test_what_others_keep_beside_the_shelves_is_warned_of_and_no_fault(store: Store) -> None:
    blobs = blob_path(store, make_wheel().sha256).parents[1]
    (blobs / "notes.txt").write_text("mine")
    (blobs / ".snapshot").mkdir()
    found = inspect(store)
    assert found.faults == []
    assert [warning.partition(":")[0] for warning in found.warnings] == [
        f"{blobs / name} is not of this store" for name in (".snapshot", "notes.txt")
    ]


def test_leftovers_of_killed_processes_are_warned_of_and_those_held_are_not(store: Store) -> None:
    left = blob_path(store, make_wheel().sha256).parents[1] / "temporary" / "1-left"
    left.write_text("half")
    with store.blobs.new_temporary() as temporary:
        temporary.write(b"being uploaded")
        found = inspect(store)
    assert found.faults == []
    assert found.warnings == [
        (
            "1 unfinished files of processes that have ended hold 4 bytes; remove them: "
            "conveyor store gc --data DIR"
        )
    ]
    assert left.exists()


def test_blob_on_no_shelf_is_a_stray(store: Store) -> None:
    blobs = blob_path(store, make_wheel().sha256).parents[1]
    (blobs / ("0" * 64)).write_text("on no shelf")
    found = inspect(store)
    assert [(fault.kind, fault.subject) for fault in found.faults] == [("stray-file", "0" * 64)]
    assert found.warnings == []


def test_what_others_may_read_is_warned_of(store: Store, tmp_path: Path) -> None:
    """Older versions left modes to the umask, and nobody changes those of a folder that is there."""
    data = tmp_path / "store"
    data.chmod(0o755)
    assert inspect(store).warnings == []
    (data / "blobs").chmod(0o755)
    (data / "catalog.sqlite").chmod(0o644)
    found = inspect(store)
    assert found.faults == []
    assert [warning.partition("to keep others out: ")[2] for warning in found.warnings] == [
        f"chmod o= {data}/blobs",
        f"chmod o= {data}/catalog.sqlite*",
    ]
    data.chmod(0o700)
    assert inspect(store).warnings == []


WRONG_ROWS = {
    "wrong-metadata": "update distributions set metadata = x'00' where packagetype = 'sdist'",
    "wrong-placement": "update placements set filename = 'x.tar.gz' where filename = 'demo-1.0.tar.gz'",
    "wrong-serial": "update serial set newest = newest + 1",
    "missing-event": "delete from events where serial = 2",
    "unknown-serial": "update placements set added_serial = 1",
    "missing-release": "delete from releases",
    "open-release": "update placements set index_name = 'stable'",
    "unclaimed-project": "delete from claims",
    "wrong-project-size": "update projects set stored_bytes = stored_bytes + 1",
    "evidence-without-file": "update evidence set sha256 = 'nobody'",
    "wrong-digest": "update distributions set metadata_sha256 = 'x' where packagetype = 'sdist'",
    "wrong-size": "update distributions set size_bytes = 1 where packagetype = 'sdist'",
    "retired-filename": "insert into retired_filenames values ('demo-1.0.tar.gz', 'x', 'now')",
    "wrong-mirror": "update mirrored_files set index_name = 'stable'",
    "mirrored-without-digest": "update mirrored_files set sha256 = null",
    "wrong-first-digest": "update first_digests set sha256 = 'x'",
    "missing-fact": "delete from facts where key = 'upstream'",
    "late-file": (
        "update events set action = 'promote' where serial ="
        " (select min(serial) from events where action = 'upload')"
    ),
}


@pytest.mark.parametrize("kind", WRONG_ROWS)
def test_rows_that_break_a_rule_are_found(store: Store, kind: str) -> None:
    execute(store, WRONG_ROWS[kind])
    found = inspect(store)
    assert kind in found.kinds
    assert all(fault.what and fault.subject for fault in found.faults)


def test_broken_reference_is_found(store: Store) -> None:
    with store.catalog.connect() as connection:
        connection.exec_driver_sql("rollback")
        connection.exec_driver_sql("pragma foreign_keys=off")
        connection.exec_driver_sql("begin")
        connection.exec_driver_sql("delete from projects")
        connection.commit()
        connection.invalidate()
    assert "broken-reference" in inspect(store).kinds


def test_damaged_database_is_found(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    publish(store, make_wheel())
    with store.catalog.connect() as connection:
        connection.exec_driver_sql("rollback")
        connection.exec_driver_sql("pragma writable_schema=on")
        connection.exec_driver_sql("begin")
        # An index over rows that it does not know: what a lost write looks like.
        connection.exec_driver_sql("create table other (name text)")
        connection.exec_driver_sql("create index ix_other on other (name)")
        connection.exec_driver_sql("insert into other values ('one')")
        connection.exec_driver_sql("delete from sqlite_master where name = 'ix_other'")
        connection.commit()
        connection.invalidate()
    assert "damaged-database" in inspect(store).kinds


def test_two_contents_of_one_filename_along_a_chain_are_found(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    publish(store, make_sdist())
    other = make_sdist(extra={"more.txt": b"more"})
    store.blobs.put(other.content)
    execute(
        store,
        "insert into distributions (filename, project, version, packagetype, sha256, blake2b_256, size_bytes,"
        " metadata_sha256, uploaded_at, uploaded_by) select filename, project, version,"
        " packagetype, :sha256, '', :size, metadata_sha256, '', '' from distributions",
        sha256=other.sha256,
        size=len(other.content),
    )
    execute(
        store,
        "insert into placements"
        " select 'testing', project, filename, 2, added_serial, 0, null from placements",
    )
    assert "two-contents" in inspect(store).kinds


def test_wrong_file_that_a_backup_links_meanwhile_is_found_all_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another name changes the times of the file, not what is wrong with it."""
    path = blob_path(store, make_wheel().sha256)
    damage(path)

    def link_meanwhile(blobs: object) -> list[object]:
        (tmp_path / "backup").hardlink_to(path)
        return []

    monkeypatch.setattr("conveyor.operations.care.inspection.stray_files", link_meanwhile)
    assert inspect(store).kinds == {"wrong-blob": 1}


def test_what_others_do_meanwhile_is_no_fault(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    stopping = threading.Event()

    def keep_publishing() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            publish(store, make_wheel(version=str(number)))

    busy = threading.Thread(target=keep_publishing)
    busy.start()
    try:
        found = [inspect(store, grace_seconds=30) for _ in range(15)]
    finally:
        stopping.set()
        busy.join()
    assert [one.faults for one in found] == [[]] * 15
    assert found[-1].blobs > found[0].blobs
