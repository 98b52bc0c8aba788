from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.blobs.filesystem import FilesystemBlobs
from conveyor.blobs.inventory import (
    copy_blob,
    foreign_files,
    hash_file,
    in_parallel,
    link_blob,
    listed_blobs,
    look_at,
    remove_listed,
    set_aside,
    stray_files,
    sync_file_system,
)
from conveyor.errors import Conflict, StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def blobs(tmp_path: Path) -> FilesystemBlobs:
    return FilesystemBlobs(tmp_path / "blobs")


def test_every_blob_is_listed_in_order_and_nothing_else(blobs: FilesystemBlobs) -> None:
    digests = sorted(blobs.put(b"%d" % number) for number in range(50))
    with blobs.adding(), blobs.new_temporary():
        (blobs.path(digests[0]).parent / "stray").write_text("")
        assert [listed.name for listed in listed_blobs(blobs)] == digests


def test_everything_else_is_a_stray_or_foreign(blobs: FilesystemBlobs) -> None:
    sha256 = blobs.put(b"content")
    shelf = blobs.path(sha256).parent
    for stray in (shelf / "stray", shelf / ("0" * 64), blobs.root / sha256):
        stray.write_text("")
    (blobs.root / "catalog.sqlite").write_text("")
    (blobs.root / "AB").mkdir()
    (blobs.root / "00").rmdir()
    (blobs.root / "00").write_text("in the place of a shelf")
    (blobs.root / "lost+found").mkdir()
    with blobs.adding(), blobs.new_temporary(), blobs.exclusion.keeping():
        assert [listed.name for listed in listed_blobs(blobs)] == [sha256]
        assert sorted(listed.name for listed in stray_files(blobs)) == sorted(["0" * 64, sha256, "stray"])
        assert [listed.name for listed in foreign_files(blobs)] == ["00", "AB", "catalog.sqlite"]


def test_listed_file_is_removed(blobs: FilesystemBlobs) -> None:
    blobs.put(b"content")
    (listed,) = listed_blobs(blobs)
    assert remove_listed(listed)
    assert list(listed_blobs(blobs)) == []
    assert not remove_listed(listed)


def test_file_that_was_stored_again_since_it_was_listed_is_not_removed(blobs: FilesystemBlobs) -> None:
    sha256 = blobs.put(b"content")
    (listed,) = listed_blobs(blobs)
    assert blobs.put(b"content") == sha256
    assert not remove_listed(listed)
    assert set_aside(blobs, listed) is None
    assert blobs.has(sha256)


def test_nobody_removes_while_somebody_adds(blobs: FilesystemBlobs) -> None:
    has_begun, may_end, is_removing = threading.Event(), threading.Event(), threading.Event()

    def add() -> None:
        with blobs.adding():
            has_begun.set()
            may_end.wait(30)

    def remove() -> None:
        with blobs.exclusion.removing():
            is_removing.set()

    adder, remover = threading.Thread(target=add), threading.Thread(target=remove)
    adder.start()
    assert has_begun.wait(30)
    remover.start()
    assert not is_removing.wait(0.2)
    may_end.set()
    assert is_removing.wait(30)
    adder.join()
    remover.join()


def test_who_removes_gets_its_turn_among_adders_that_overlap_without_end(blobs: FilesystemBlobs) -> None:
    stopping = threading.Event()

    def keep_adding() -> None:
        while not stopping.is_set():
            with blobs.adding():
                stopping.wait(0.002)

    adders = [threading.Thread(target=keep_adding) for _ in range(8)]
    for adder in adders:
        adder.start()
    try:
        for _ in range(20):
            with blobs.exclusion.removing():
                pass
    finally:
        stopping.set()
        for adder in adders:
            adder.join()


HOLDER = """
import sys, time
from pathlib import Path
from conveyor.blobs.exclusion import Exclusion
with getattr(Exclusion(Path(sys.argv[1])), sys.argv[2])():
    print("held", flush=True)
    time.sleep(60)
"""


def test_locks_of_a_killed_process_are_free(blobs: FilesystemBlobs) -> None:
    locks = blobs.root / "locks"
    for name in ("removing", "adding", "alone_removing"):
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, locks, name], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        if name == "alone_removing":
            with pytest.raises(Conflict), blobs.exclusion.alone_removing():
                pass
        holder.kill()
        holder.communicate()
        with blobs.exclusion.removing(), blobs.exclusion.alone_removing():
            pass


def test_lock_that_cannot_be_taken_is_one_clear_error(blobs: FilesystemBlobs) -> None:
    (blobs.root / "locks").rmdir()
    (blobs.root / "locks").write_text("in the way")
    with pytest.raises(StorageFailed, match=r"lock .* cannot be taken"), blobs.adding():
        pass


def test_copy_of_wrong_bytes_is_no_blob(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    other = FilesystemBlobs(tmp_path / "other")
    sha256 = blobs.put(b"content")
    assert copy_blob(blobs.path(sha256), other, sha256)
    blobs.path(sha256).write_bytes(b"damaged")
    assert not copy_blob(blobs.path(sha256), other, "0" * 64)
    assert [listed.name for listed in listed_blobs(other)] == [sha256]
    assert other.path(sha256).read_bytes() == b"content"


def test_link_is_the_same_file_and_outlives_the_first_name(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    other = FilesystemBlobs(tmp_path / "other")
    sha256 = blobs.put(b"content")
    assert link_blob(blobs.path(sha256), other, sha256)
    assert link_blob(blobs.path(sha256), other, sha256)
    sync_file_system(other.root)
    assert other.path(sha256).samefile(blobs.path(sha256))
    blobs.path(sha256).unlink()
    assert other.path(sha256).read_bytes() == b"content"


def test_link_to_another_file_system_is_not_possible_and_said_so(blobs: FilesystemBlobs) -> None:
    memory = Path("/proc/self/status")
    assert not link_blob(memory, blobs, "0" * 64)
    assert look_at(blobs.path("0" * 64)) is None


def test_empty_and_absent_files_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    hashed = hash_file(tmp_path / "empty")
    assert hashed is not None
    assert hashed.sha256.startswith("e3b0c442")
    assert hash_file(tmp_path / "absent") is None


def test_work_in_parallel_keeps_its_order_and_reads_ahead_only_a_little() -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    results = in_parallel(lambda number: number * 2, numbers(), threads=2)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert taken < 30
    assert list(results) == list(range(20, 2000, 2))
