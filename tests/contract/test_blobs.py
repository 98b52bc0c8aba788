from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from conveyor.blobs import BlobStore, open_blobs
from conveyor.blobs.filesystem import READY, SHELVES
from conveyor.blobs.folders import make_durable_folders
from conveyor.errors import InvalidInput, NotFound, StorageFailed

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"bytes of a wheel"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(f"file://{tmp_path}/blobs%20here")


def files_below(folder: Path) -> list[Path]:
    """All but the mark of a folder of blobs that is ready."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != READY)


def test_adopted_temporary_is_found_by_its_digest(blobs: BlobStore, tmp_path: Path) -> None:
    with blobs.new_temporary() as temporary:
        temporary.write(CONTENT[:5])
        temporary.write(CONTENT[5:])
        assert not blobs.has(SHA256)
        blobs.adopt(temporary, SHA256)
    assert blobs.has(SHA256)
    assert blobs.size(SHA256) == len(CONTENT)
    with blobs.open(SHA256) as stream:
        assert stream.read() == CONTENT
        stream.seek(6)
        assert stream.read(2) == b"of"
    assert files_below(tmp_path) == [tmp_path / "blobs here" / SHA256[:2] / SHA256]
    assert blobs.path(SHA256) == files_below(tmp_path)[0]


def test_blobs_are_closed_to_other_users_of_the_machine(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put(CONTENT)
    assert (tmp_path / "blobs here").stat().st_mode & 0o777 == 0o700


def test_folder_that_was_there_keeps_the_rights_its_owner_gave_it(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    folder.mkdir()
    folder.chmod(0o750)
    open_blobs(f"file://{folder}")
    assert folder.stat().st_mode & 0o777 == 0o750


def test_temporary_can_be_read_back_before_it_is_adopted(blobs: BlobStore) -> None:
    with blobs.new_temporary() as temporary:
        temporary.write(CONTENT)
        temporary.file.seek(0)
        assert temporary.file.read() == CONTENT
        blobs.adopt(temporary, SHA256)
    assert blobs.size(SHA256) == len(CONTENT)


def test_temporary_that_was_not_adopted_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    def refuse() -> None:
        with blobs.new_temporary() as temporary:
            temporary.write(CONTENT)
            raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        refuse()
    assert files_below(tmp_path) == []


def test_same_content_twice_is_one_blob(blobs: BlobStore, tmp_path: Path) -> None:
    assert blobs.put(CONTENT) == SHA256
    assert blobs.put(CONTENT) == SHA256
    assert len(files_below(tmp_path)) == 1


def test_damaged_blob_is_mended_by_storing_it_again(blobs: BlobStore) -> None:
    blobs.put(CONTENT)
    path = blobs.path(SHA256)
    assert path is not None
    path.write_bytes(b"damaged")
    blobs.put(CONTENT)
    assert path.read_bytes() == CONTENT


def test_same_content_stored_by_many_threads_at_once(blobs: BlobStore, tmp_path: Path) -> None:
    contents = [b"%d" % (number % 3) for number in range(24)]
    threads = [threading.Thread(target=blobs.put, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_bytes() for path in files_below(tmp_path)) == [b"0", b"1", b"2"]


def test_blob_that_is_not_here_is_not_found(blobs: BlobStore) -> None:
    assert not blobs.has(SHA256)
    with pytest.raises(NotFound):
        blobs.open(SHA256)
    with pytest.raises(NotFound):
        blobs.size(SHA256)


@pytest.mark.parametrize("name", ["", "abc", "../../../etc/passwd", SHA256.upper(), SHA256 + "0", "g" * 64])
def test_what_is_no_digest_is_never_a_path(blobs: BlobStore, name: str) -> None:
    with pytest.raises(NotFound):
        blobs.open(name)
    with pytest.raises(NotFound):
        blobs.path(name)


def test_what_a_killed_process_left_is_removed_at_any_age_and_what_is_being_written_stays(
    blobs: BlobStore, tmp_path: Path
) -> None:
    program = (
        "import os, sys\n"
        "from conveyor.blobs import open_blobs\n"
        "with open_blobs(sys.argv[1]).new_temporary() as temporary:\n"
        "    temporary.write(b'half'); temporary.file.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, f"file://{tmp_path}/blobs%20here"], check=False)
    with blobs.new_temporary() as temporary:
        temporary.write(CONTENT)
        os.utime(temporary.path, (0, 0))  # an upload whose client sends nothing for hours
        assert blobs.remove_leftovers() == [4]
        assert files_below(tmp_path) == [temporary.path]
        blobs.adopt(temporary, SHA256)
        assert blobs.remove_leftovers() == []
    assert blobs.has(SHA256)


def test_temporary_removed_before_it_could_be_held_is_made_anew(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_lock = fcntl.flock
    removed: list[int] = []

    def lock_late(descriptor: int, kind: int) -> None:
        if not removed:
            removed.append(kind)
            assert blobs.remove_leftovers() == [0]
        really_lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    assert blobs.put(CONTENT) == SHA256
    assert blobs.has(SHA256)


RECORDER = """
import os, sys
really_sync = os.fsync
def fsync(descriptor):
    print("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
    really_sync(descriptor)
os.fsync = fsync
def hear(event, arguments):
    if event in ("os.mkdir", "os.rename"):
        print(event, *arguments[: 2 if event == "os.rename" else 1])
sys.addaudithook(hear)
from conveyor.blobs import open_blobs
open_blobs(sys.argv[1]).put(sys.argv[2].encode())
"""


def test_bytes_and_names_are_synced_before_a_blob_is_acknowledged(tmp_path: Path) -> None:
    root = f"{tmp_path}/a/blobs"
    recorded = subprocess.run(
        [sys.executable, "-c", RECORDER, f"file://{root}", CONTENT.decode()],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    done = [line for line in recorded if str(tmp_path) in line]
    shelf = f"{root}/{SHA256[:2]}"
    moved = next(number for number, call in enumerate(done) if call.startswith("os.rename"))
    assert done[moved].endswith(f" {shelf}/{SHA256}")
    temporary = done[moved].split()[1]
    assert f"fsync {temporary}" in done[:moved]
    assert f"fsync {shelf}" in done[moved:]
    for made, parent in [
        (f"{tmp_path}/a", f"{tmp_path}"),
        (root, f"{tmp_path}/a"),
        (shelf, root),
    ]:
        making = done.index(f"os.mkdir {made}")
        assert f"fsync {parent}" in done[making:moved]


def test_shelf_that_a_copy_of_the_store_has_left_out_is_made_again(blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "blobs here" / SHA256[:2]).rmdir()
    assert blobs.put(CONTENT) == SHA256
    assert blobs.has(SHA256)


def two_levels(root: Path, contents: list[bytes]) -> dict[str, bytes]:
    """Blobs as stores kept them earlier, in ``ab/cd/``; by digest."""
    made = {hashlib.sha256(content).hexdigest(): content for content in contents}
    for sha256, content in made.items():
        folder = root / sha256[:2] / sha256[2:4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / sha256).write_bytes(content)
    return made


def test_blobs_of_a_store_with_two_levels_of_folders_are_moved_when_it_is_opened(tmp_path: Path) -> None:
    made = two_levels(tmp_path, [b"%d" % number for number in range(300)])
    blobs = open_blobs(f"file://{tmp_path}")
    for sha256, content in made.items():
        with blobs.open(sha256) as stream:
            assert stream.read() == content
    assert files_below(tmp_path) == sorted(tmp_path / sha256[:2] / sha256 for sha256 in made)
    assert {path.name for path in tmp_path.iterdir()} == {*SHELVES, "locks", "temporary", READY}
    assert not any(path.is_dir() for shelf in SHELVES for path in (tmp_path / shelf).iterdir())


MOVER = """
import os, signal, sys
deadly = int(sys.argv[2])
def hear(event, arguments):
    global deadly
    if event in ("os.mkdir", "os.rename", "os.rmdir", "open"):
        deadly -= 1
        if deadly == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from conveyor.blobs import open_blobs
sys.addaudithook(hear)
open_blobs(sys.argv[1])
"""


def test_move_that_was_killed_anywhere_is_completed_by_the_next_opening(tmp_path: Path) -> None:
    made = two_levels(tmp_path, [b"%d" % number for number in range(8)])
    for step in range(1, 3000, 47):
        command = [sys.executable, "-c", MOVER, f"file://{tmp_path}", str(step)]
        if subprocess.run(command, check=False).returncode == 0:
            break
        assert {path.name for path in files_below(tmp_path)} == made.keys()
    else:
        pytest.fail("the move never ended")
    assert all(open_blobs(f"file://{tmp_path}").has(sha256) for sha256 in made)


def test_store_with_two_levels_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    made = two_levels(tmp_path, [b"%d" % number for number in range(300)])
    missing: list[str] = []

    def open_and_look() -> None:
        blobs = open_blobs(f"file://{tmp_path}")
        missing.extend(sha256 for sha256 in made if not blobs.has(sha256))

    threads = [threading.Thread(target=open_and_look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []


def test_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageFailed, match="cannot be made"):
        open_blobs(f"file://{tmp_path}/file/blobs")


@pytest.mark.parametrize("url", ["s4://bucket", "file://otherhost/x", "blobs", ""])
def test_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_blobs(url)


def test_durable_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_durable_folders(tmp_path / "a" / "b" / "c")
    make_durable_folders(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
