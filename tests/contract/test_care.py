"""Taking care of a store, on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.operations.care.garbage import Collected, collect_garbage
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.care.repairs import repair_store
from distributions_made import make_wheel
from makers import make_store
from operations.stores_damaged import blob_path, damage, mirror, put_garbage
from releases_made import make_release, make_worker

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store


def make_filled_store(folder: Path, database_url: str) -> Store:
    store = make_store(folder, database_url=database_url)
    make_release(store, make_worker(store))
    mirror(store, make_wheel("upstreams"))
    return store


def test_sound_store_has_no_fault(tmp_path: Path, database_url: str) -> None:
    store = make_filled_store(tmp_path / "store", database_url)
    assert inspect_store(store, grace_seconds=60, threads=2).faults == []


def test_damage_is_found_and_mended(tmp_path: Path, database_url: str) -> None:
    store = make_filled_store(tmp_path / "store", database_url)
    damage(blob_path(store, make_wheel("upstreams").sha256))
    blob_path(store, make_wheel().sha256).unlink()
    put_garbage(store, b"garbage")
    found = repair_store(store, grace_seconds=60, threads=2)
    assert found.kinds == {"wrong-blob": 1, "missing-blob": 1, "unnamed-blob": 1}
    assert [fault.subject for fault in found.remaining] == [make_wheel().filename]
    assert inspect_store(store, grace_seconds=60, threads=2).kinds == {"missing-blob": 1}


def test_garbage_is_collected(tmp_path: Path, database_url: str) -> None:
    store = make_filled_store(tmp_path / "store", database_url)
    put_garbage(store, b"garbage")
    assert collect_garbage(store) == Collected(1, 7)
    assert collect_garbage(store, grace_seconds=-1) == Collected(0, 0)
    assert inspect_store(store, grace_seconds=60, threads=2).faults == []
