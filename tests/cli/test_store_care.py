from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conveyor.cli import run
from distributions_made import make_wheel
from makers import make_store
from operations.stores_damaged import blob_path, damage, put_garbage
from releases_made import publish

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store import Store

MADE = make_wheel()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = make_store(tmp_path / "store")
    publish(store, MADE)
    return store


@pytest.fixture
def data(store: Store, tmp_path: Path) -> str:
    return str(tmp_path / "store")


def test_fsck_of_a_sound_store_prints_no_fault(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "fsck", "--data", data]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("2 blobs with")
    assert said.err.endswith("read, 0 faults, 0 mended\n")


def test_fsck_prints_one_line_per_fault_and_fails(
    store: Store, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(blob_path(store, MADE.sha256))
    put_garbage(store, b"garbage")
    assert run(["store", "fsck", "--data", data]) == 7
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["wrong-blob", "unnamed-blob"]
    assert f"StorageFailed: 2 faults in the store at {data}" in said.err
    assert f"hint: conveyor store fsck --repair --data {data}" in said.err


def test_fsck_repairs_and_says_what_it_did(
    store: Store, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_garbage(store, b"garbage")
    assert run(["store", "fsck", "--repair", "--json", "--data", data]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(fault["kind"], fault["repair"], fault["is_mended"]) for fault in said["faults"]] == [
        ("unnamed-blob", "removed", True)
    ]
    assert said["blobs"] == 3


def test_fsck_fails_when_something_is_lost(
    store: Store, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    blob_path(store, MADE.sha256).unlink()
    assert run(["store", "fsck", "--repair", "--data", data]) == 7
    said = capsys.readouterr()
    assert f"missing-blob: blob {MADE.sha256} (the file {MADE.filename}): its bytes are not here" in said.out
    assert "→ lost: upload the identical file again" in said.out
    assert "1 fault in the store" in said.err


def test_fsck_takes_lost_bytes_from_a_backup(store: Store, data: str, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other")
    publish(other, MADE)
    blob_path(store, MADE.sha256).unlink()
    assert run(["store", "fsck", "--repair", "--from", str(tmp_path / "other"), "--data", data]) == 0
    assert blob_path(store, MADE.sha256).read_bytes() == MADE.content


def test_backup_without_repair_is_refused(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "fsck", "--from", data, "--data", data]) == 2
    assert "--from is of use with --repair only" in capsys.readouterr().err


def test_gc_says_what_it_removed(store: Store, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = put_garbage(store, b"garbage")
    assert run(["store", "gc", "--dry-run", "--data", data]) == 0
    assert capsys.readouterr().out == "1 blobs with 7 bytes would be removed\n"
    assert store.blobs.has(sha256)
    assert run(["store", "gc", "--grace", "72", "--data", data]) == 0
    assert capsys.readouterr().out == "0 blobs with 0 bytes removed\n"
    assert run(["store", "gc", "--data", data]) == 0
    assert capsys.readouterr().out == "1 blobs with 7 bytes removed\n"
    assert not store.blobs.has(sha256)


@pytest.mark.parametrize("name", ["fsck", "gc"])
def test_care_of_a_folder_without_a_store_makes_none(name: str, tmp_path: Path) -> None:
    assert run(["store", name, "--data", str(tmp_path)]) == 5
    assert list(tmp_path.iterdir()) == []
