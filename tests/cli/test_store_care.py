from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conveyor.cli import run
from distributions_made import make_wheel
from makers import make_store
from operations.stores_damaged import blob_path, damage, execute, put_garbage
from releases_made import publish

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store

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
    assert said.err.startswith("1 blob with")
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
    assert f": conveyor store fsck --repair --data {data}" in said.err


def test_fsck_warns_and_succeeds(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path / "store", tmp_path / "store" / "blobs"):
        folder.chmod(0o755)
    (tmp_path / "store" / "blobs" / ".Trash-0").mkdir()
    assert run(["store", "fsck", "--data", data]) == 0
    said = capsys.readouterr()
    assert f"warning: every user of this machine may read {data}/blobs" in said.err
    assert f"warning: {data}/blobs/.Trash-0 is not of this store" in said.err
    assert run(["store", "fsck", "--json", "--data", data]) == 0
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 2


def test_fsck_repairs_and_says_what_it_did(
    store: Store, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_garbage(store, b"garbage")
    assert run(["store", "fsck", "--repair", "--json", "--data", data]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(fault["kind"], fault["repair"], fault["is_mended"]) for fault in said["faults"]] == [
        ("unnamed-blob", "removed", True)
    ]
    assert said["blobs"] == 2


def test_fsck_fails_when_something_is_lost(
    store: Store, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    blob_path(store, MADE.sha256).unlink()
    assert run(["store", "fsck", "--repair", "--data", data]) == 7
    said = capsys.readouterr()
    assert f"missing-blob: blob {MADE.sha256} (the file {MADE.filename}): its bytes are missing" in said.out
    assert "→ lost: upload the identical file again" in said.out
    assert "1 fault in the store" in said.err
    assert "hint: each line says what is left to do" in said.err


def test_fsck_says_that_a_backup_helps_against_rows_that_contradict_each_other(
    store: Store, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their lines name no repair, and the hint promised one."""
    execute(store, "delete from claims")
    assert run(["store", "fsck", "--repair", "--data", data]) == 7
    said = capsys.readouterr()
    assert "→" not in said.out
    assert "a backup helps: conveyor store restore BACKUP --data NEW" in said.err


def test_fsck_takes_lost_bytes_from_a_backup(store: Store, data: str, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other")
    publish(other, MADE)
    blob_path(store, MADE.sha256).unlink()
    assert run(["store", "fsck", "--repair", "--from", str(tmp_path / "other"), "--data", data]) == 0
    assert blob_path(store, MADE.sha256).read_bytes() == MADE.content


def test_backup_without_repair_is_refused(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "fsck", "--from", data, "--data", data]) == 2
    assert "--from needs --repair" in capsys.readouterr().err


def test_gc_says_what_it_removed(store: Store, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = put_garbage(store, b"garbage")
    assert run(["store", "gc", "--dry-run", "--data", data]) == 0
    assert capsys.readouterr().out == "1 blob with 7 bytes would be removed\n"
    assert store.blobs.has(sha256)
    assert run(["store", "gc", "--grace", "72", "--data", data]) == 0
    assert capsys.readouterr().out == "0 blobs with 0 bytes removed\n"
    assert run(["store", "gc", "--data", data]) == 0
    assert capsys.readouterr().out == "1 blob with 7 bytes removed\n"
    assert not store.blobs.has(sha256)


def test_gc_removes_what_a_killed_upload_left_and_says_so(
    store: Store, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left = store.data / "blobs" / "temporary" / "1-left"
    left.write_bytes(b"half")
    assert run(["store", "gc", "--dry-run", "--json", "--data", data]) == 0
    counted = {"blobs": 0, "size_bytes": 0, "leftovers": 1, "leftover_bytes": 4}
    assert json.loads(capsys.readouterr().out) == counted
    assert run(["store", "gc", "--data", data]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "1 unfinished file with 4 bytes removed"
    assert not left.exists()


def test_backup_and_restore_say_what_they_wrote(
    store: Store, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup, again = str(tmp_path / "backup"), str(tmp_path / "again")
    size = len(MADE.content)
    assert run(["store", "backup", backup, "--data", data]) == 0
    said = capsys.readouterr().out
    serial = store.newest.read()
    assert said == (
        f"backup of serial {serial}: 1 blob with {size} bytes (1 linked, 0 copied, 0 there already)\n"
    )
    assert run(["store", "backup", backup, "--verify", "--data", data]) == 0
    assert "(0 linked, 0 copied, 1 there already)" in capsys.readouterr().out
    assert run(["store", "restore", backup, "--data", again]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"restored serial {serial} of ")
    assert said.endswith(f": 1 blob with {size} bytes\n")
    assert run(["store", "fsck", "--data", again]) == 0


def test_backup_without_lost_bytes_names_them(
    store: Store, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blob_path(store, MADE.sha256).unlink()
    backup = str(tmp_path / "backup")
    assert run(["store", "backup", backup, "--data", data]) == 7
    assert f"the store has lost the bytes of {MADE.sha256}" in capsys.readouterr().err
    assert run(["store", "backup", backup, "--incomplete", "--data", data]) == 0
    assert capsys.readouterr().err == f"not in the backup, lost before: {MADE.sha256}\n"
    assert run(["store", "restore", backup, "--data", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().err == f"was lost before the backup was made: {MADE.sha256}\n"


def test_restore_of_what_is_no_backup_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    assert run(["store", "restore", str(tmp_path / "folder"), "--data", str(tmp_path / "again")]) == 5
    assert "NotFound: there is no finished backup" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", ["fsck", "gc", "backup"])
def test_care_of_a_folder_without_a_store_makes_none(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "backup")] if name == "backup" else []
    assert run(["store", name, *arguments, "--data", str(tmp_path / "empty")]) == 5
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]
