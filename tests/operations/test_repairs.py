from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from conveyor.blobs.inventory import local_blobs
from conveyor.catalog.database.tables import distributions, mirrored_files
from conveyor.errors import Conflict
from conveyor.operations.care.inspection import Inspection, inspect_store
from conveyor.operations.care.repairs import repair_store
from conveyor.operations.indexes.files import find_file
from conveyor.operations.indexes.mirror import store_metadata
from conveyor.operations.store.store import read
from distributions_made import make_sdist, make_wheel
from makers import make_store
from operations.stores_compared import contents_of
from operations.stores_damaged import (
    DAY_SECONDS,
    blob_path,
    damage,
    events_of,
    execute,
    make_metadata_blobs,
    mirror,
    put_garbage,
)
from releases_made import ADMIN, publish

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store

MADE = make_wheel()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = make_store(tmp_path / "store")
    publish(store, MADE)
    return store


def repair(store: Store, *sources: Path) -> Inspection:
    return repair_store(store, grace_seconds=DAY_SECONDS, threads=2, sources=sources)


def faults_of(store: Store) -> list[tuple[str, str]]:
    found = inspect_store(store, grace_seconds=DAY_SECONDS, threads=2)
    return [(fault.kind, fault.subject) for fault in found.faults]


def quarantine(store: Store) -> dict[str, bytes]:
    """Digest of the name → bytes of what was set aside."""
    folder = local_blobs(store.blobs).root / "quarantine"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_sound_store_is_left_as_it_is(store: Store) -> None:
    before = contents_of(store)
    assert repair(store).faults == []
    assert contents_of(store) == before
    assert events_of(store, "fsck") == []


@pytest.mark.parametrize("how", ["missing", "wrong"])
def test_mirrored_file_without_its_bytes_is_marked_as_not_stored(store: Store, how: str) -> None:
    made = make_wheel("upstreams")
    mirror(store, made)
    bad = damage(blob_path(store, made.sha256))
    if how == "missing":
        blob_path(store, made.sha256).unlink()
    found = repair(store)
    assert found.remaining == []
    assert faults_of(store) == []
    mirrored = find_file(store, made.sha256, made.filename, reader=ADMIN).mirrored
    assert mirrored is not None
    assert not mirrored.is_stored
    assert list(quarantine(store).values()) == ([bad] if how == "wrong" else [])
    actions = [event.action for event in events_of(store, "fsck")]
    assert actions == ["forget-mirrored-bytes", *(["set-aside-blob"] if how == "wrong" else [])]
    mirror(store, make_wheel("upstreams", "2.0"))  # the next fetch works as ever


def test_repaired_mirrored_file_is_fetched_and_stored_again(store: Store) -> None:
    made = make_wheel("upstreams")
    file = mirror(store, made)
    damage(blob_path(store, made.sha256))
    repair(store)
    again = mirror(store, made)
    assert again.sha256 == file.sha256
    assert find_file(store, made.sha256, made.filename, reader=ADMIN).mirrored is not None
    assert blob_path(store, made.sha256).read_bytes() == made.content
    assert faults_of(store) == []


def test_wrong_mirrored_metadata_is_set_aside_and_fetched_when_asked_for(store: Store) -> None:
    file = mirror(store, make_wheel("upstreams"))
    digest = store_metadata(store, file, b"Metadata-Version: 2.1\n")
    damage(blob_path(store, digest))
    assert repair(store).remaining == []
    assert not store.blobs.has(digest)
    assert faults_of(store) == []
    with read(store) as connection:
        assert connection.scalars(select(mirrored_files.c.metadata_sha256)).all() == [digest]


@pytest.mark.parametrize("how", ["missing", "wrong"])
def test_lost_file_of_our_own_is_reported_and_keeps_its_rows(store: Store, how: str) -> None:
    bad = damage(blob_path(store, MADE.sha256))
    if how == "missing":
        blob_path(store, MADE.sha256).unlink()
    (fault,) = repair(store).remaining
    assert fault.repair is not None
    assert "lost: upload the identical file again" in fault.repair
    assert list(quarantine(store).values()) == ([bad] if how == "wrong" else [])
    assert faults_of(store) == [("missing-blob", MADE.filename)]
    assert find_file(store, MADE.sha256, MADE.filename, reader=ADMIN).size_bytes == len(MADE.content)


def test_lost_file_is_brought_back_by_uploading_it_again(store: Store) -> None:
    damage(blob_path(store, MADE.sha256))
    (digest,) = make_metadata_blobs(store)
    blob_path(store, digest).unlink()
    repair(store)
    assert not publish(store, MADE).is_new
    assert faults_of(store) == []
    assert blob_path(store, MADE.sha256).read_bytes() == MADE.content


def test_lost_file_is_brought_back_from_a_folder_that_has_it(store: Store, tmp_path: Path) -> None:
    damage(blob_path(store, MADE.sha256))
    backup = make_store(tmp_path / "other")
    publish(backup, MADE)
    found = repair(store, local_blobs(backup.blobs).root)
    assert found.remaining == []
    assert faults_of(store) == []
    assert blob_path(store, MADE.sha256).read_bytes() == MADE.content
    actions = [(event.action, event.project) for event in events_of(store, "fsck")]
    assert actions == [("set-aside-blob", "demo"), ("bring-back-blob", "demo")]


def test_source_with_wrong_bytes_is_not_believed(store: Store, tmp_path: Path) -> None:
    damage(blob_path(store, MADE.sha256))
    backup = make_store(tmp_path / "other")
    publish(backup, MADE)
    damage(blob_path(backup, MADE.sha256))
    assert len(repair(store, local_blobs(backup.blobs).root).remaining) == 1
    assert faults_of(store) == [("missing-blob", MADE.filename)]


def test_good_bytes_that_were_set_aside_come_back(store: Store) -> None:
    """A disk that reads wrong once and right later."""
    path = blob_path(store, MADE.sha256)
    aside = local_blobs(store.blobs).root / "quarantine" / f"{MADE.sha256}.1"
    aside.parent.mkdir()
    path.rename(aside)
    assert repair(store).remaining == []
    assert faults_of(store) == []


@pytest.mark.parametrize("how", ["missing", "wrong"])
def test_lost_metadata_is_read_out_of_its_distribution(store: Store, how: str) -> None:
    publish(store, make_sdist("source"))
    digests = make_metadata_blobs(store)
    for digest in digests:
        damage(blob_path(store, digest))
        if how == "missing":
            blob_path(store, digest).unlink()
    found = repair(store)
    assert len(found.faults) == len(digests)
    assert found.remaining == []
    for digest in digests:
        assert hashlib.sha256(blob_path(store, digest).read_bytes()).hexdigest() == digest
    assert faults_of(store) == []


def test_file_and_metadata_lost_together_come_back_together(store: Store, tmp_path: Path) -> None:
    backup = make_store(tmp_path / "other")
    publish(backup, MADE)
    (digest,) = make_metadata_blobs(store)
    damage(blob_path(store, digest))
    damage(blob_path(store, MADE.sha256))
    assert repair(store, local_blobs(backup.blobs).root).remaining == []
    assert faults_of(store) == []


def test_wrong_metadata_in_a_row_is_read_out_of_its_distribution(store: Store, tmp_path: Path) -> None:
    publish(store, make_sdist("source"))
    with read(store) as connection:
        good = connection.scalars(select(distributions.c.metadata)).all()
    execute(store, "update distributions set metadata = x'00'")
    backup = make_store(tmp_path / "other")
    publish(backup, MADE)
    damage(blob_path(store, MADE.sha256))  # it comes back first, then what it says of itself
    assert repair(store, local_blobs(backup.blobs).root).remaining == []
    assert faults_of(store) == []
    with read(store) as connection:
        assert connection.scalars(select(distributions.c.metadata)).all() == good
    projects = [event.project for event in events_of(store, "fsck") if event.action == "bring-back-metadata"]
    assert sorted(map(str, projects)) == ["demo", "source"]


def test_wrong_metadata_stays_a_fault_as_long_as_its_distribution_is_lost(store: Store) -> None:
    execute(store, "update distributions set metadata = x'00'")
    blob_path(store, MADE.sha256).unlink()
    assert {fault.kind for fault in repair(store).remaining} == {"missing-blob", "wrong-metadata"}


def test_garbage_and_strays_are_cleared(store: Store) -> None:
    put_garbage(store, b"old")
    young = put_garbage(store, b"young", age_seconds=60)
    shelf = blob_path(store, MADE.sha256).parent
    (shelf / "notes.txt").write_text("mine")
    found = repair(store)
    assert len(found.faults) == 2
    assert found.remaining == []
    assert store.blobs.has(young)
    assert quarantine(store) == {"notes.txt.1": b"mine"}
    assert faults_of(store) == []
    actions = {event.action for event in [*events_of(store, "fsck"), *events_of(store, "gc")]}
    assert actions == {"set-aside-blobs", "collect-blobs"}


def test_file_beside_the_shelves_is_left_to_people(store: Store) -> None:
    notes = blob_path(store, MADE.sha256).parents[1] / "notes.txt"
    notes.write_text("mine")
    found = repair(store)
    assert found.faults == []
    assert len(found.warnings) == 1
    assert notes.read_text() == "mine"


def test_lost_file_that_lies_beside_the_shelves_is_brought_back(store: Store) -> None:
    path = blob_path(store, MADE.sha256)
    path.rename(path.parents[1] / path.name)
    assert [fault.kind for fault in repair(store).faults] == ["stray-file", "missing-blob"]
    assert path.read_bytes() == MADE.content
    assert faults_of(store) == []


def test_wrong_bytes_that_no_row_names_are_set_aside_too(store: Store) -> None:
    sha256 = put_garbage(store, b"content")
    bad = damage(blob_path(store, sha256))
    assert repair(store).remaining == []
    assert quarantine(store) == {f"{sha256}.1": bad}


def test_each_wrong_copy_is_kept(store: Store) -> None:
    for _ in range(3):
        damage(blob_path(store, MADE.sha256))
        repair(store)
        publish(store, MADE)
    assert sorted(quarantine(store)) == [f"{MADE.sha256}.{number}" for number in (1, 2, 3)]


def test_what_is_wrong_between_rows_is_left_to_people(store: Store) -> None:
    execute(store, "delete from claims")
    (fault,) = repair(store).remaining
    assert (fault.kind, fault.repair) == ("unclaimed-project", None)


def test_size_of_a_project_is_counted_anew(store: Store) -> None:
    execute(store, "update projects set stored_bytes = 1")
    (fault,) = repair(store).faults
    assert (fault.kind, fault.subject, fault.repair) == ("wrong-project-size", "demo", "counted again")
    assert inspect_store(store, grace_seconds=0, threads=2).faults == []
    assert events_of(store, "fsck")[-1].project == "demo"


def test_repair_waits_for_nobody(store: Store) -> None:
    with local_blobs(store.blobs).exclusion.keeping(), pytest.raises(Conflict, match="under way"):
        repair(store)
