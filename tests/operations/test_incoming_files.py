from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from conveyor.blobs.filesystem import FilesystemBlobs
from conveyor.domain.distributions.forms import Digests
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.errors import StorageFailed, TooLarge
from conveyor.operations.uploads.incoming_files import MOST_IN_MEMORY_BYTES, IncomingFile

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = UploadLimits(file_bytes=3 * MOST_IN_MEMORY_BYTES)


@pytest.fixture
def blobs(tmp_path: Path) -> FilesystemBlobs:
    return FilesystemBlobs(tmp_path / "blobs")


def temporaries(blobs: FilesystemBlobs) -> list[Path]:
    return list((blobs.root / "temporary").iterdir())


def some_bytes(count: int) -> bytes:
    return hashlib.shake_128(b"some").digest(count)


def pieces(content: bytes, size_bytes: int) -> list[bytes]:
    return [content[start : start + size_bytes] for start in range(0, len(content), size_bytes)]


def digests_of(content: bytes, *, with_md5: bool) -> Digests:
    return Digests(
        sha256=hashlib.sha256(content).hexdigest(),
        blake2b_256=hashlib.blake2b(content, digest_size=32).hexdigest(),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest() if with_md5 else None,
    )


@pytest.mark.parametrize("more_bytes", [-1, 0, 1, MOST_IN_MEMORY_BYTES, 2 * MOST_IN_MEMORY_BYTES])
@pytest.mark.parametrize("piece_bytes", [100_003, MOST_IN_MEMORY_BYTES, 3 * MOST_IN_MEMORY_BYTES])
@pytest.mark.parametrize("is_md5_expected", [True, False])
def test_file_of_any_size_is_read_digested_and_stored_as_it_came(
    blobs: FilesystemBlobs, more_bytes: int, piece_bytes: int, is_md5_expected: bool
) -> None:
    content = some_bytes(MOST_IN_MEMORY_BYTES + more_bytes)
    with closing(IncomingFile(blobs, limits=LIMITS)) as file:
        if is_md5_expected:
            file.expect_md5()
        for piece in pieces(content, piece_bytes):
            file.write([piece[:10], piece[10:]])
        assert len(temporaries(blobs)) == (more_bytes > 0), "only what is large goes to the disk"
        assert file.size_bytes == len(content)
        assert file.digests(with_md5=is_md5_expected) == digests_of(content, with_md5=is_md5_expected)
        assert file.digests(with_md5=True) == digests_of(content, with_md5=True)
        file.stream.seek(0)
        assert file.stream.read() == content
        file.store()
    with blobs.open(hashlib.sha256(content).hexdigest()) as blob:
        assert blob.read() == content
    assert temporaries(blobs) == []


@pytest.mark.parametrize("size_bytes", [1000, MOST_IN_MEMORY_BYTES + 1000])
def test_md5_that_is_expected_in_the_middle_is_of_the_whole_file(
    blobs: FilesystemBlobs, size_bytes: int
) -> None:
    content = some_bytes(size_bytes)
    with closing(IncomingFile(blobs, limits=LIMITS)) as file:
        file.write([content[:500]])
        file.expect_md5()
        file.write([content[500:]])
        assert file.digests(with_md5=True) == digests_of(content, with_md5=True)


def test_nothing_at_all_has_digests_too(blobs: FilesystemBlobs) -> None:
    with closing(IncomingFile(blobs, limits=LIMITS)) as file:
        file.write([])
        assert file.digests(with_md5=True) == digests_of(b"", with_md5=True)
        assert (file.stream.read(), file.size_bytes) == (b"", 0)


@pytest.mark.parametrize("limit_bytes", [5000, MOST_IN_MEMORY_BYTES, MOST_IN_MEMORY_BYTES + 5000])
def test_file_is_refused_with_the_first_byte_over_the_limit(blobs: FilesystemBlobs, limit_bytes: int) -> None:
    with closing(IncomingFile(blobs, limits=UploadLimits(file_bytes=limit_bytes))) as file:
        for piece in pieces(some_bytes(limit_bytes), 4999):
            file.write([piece])
        with pytest.raises(TooLarge):
            file.write([b"1"])
    assert temporaries(blobs) == []


@pytest.mark.parametrize("size_bytes", [1000, MOST_IN_MEMORY_BYTES + 1])
def test_file_that_is_not_stored_leaves_nothing_and_can_be_closed_again(
    blobs: FilesystemBlobs, size_bytes: int
) -> None:
    before = threading.active_count()
    file = IncomingFile(blobs, limits=LIMITS)
    file.write([some_bytes(size_bytes)])
    file.close()
    file.close()
    assert temporaries(blobs) == []
    assert threading.active_count() == before
    assert not blobs.has(hashlib.sha256(some_bytes(size_bytes)).hexdigest())


@pytest.mark.parametrize("size_bytes", [1000, MOST_IN_MEMORY_BYTES + 1])
def test_disk_that_takes_no_file_is_one_clear_error(blobs: FilesystemBlobs, size_bytes: int) -> None:
    """A large file meets it when it arrives, a small one when it is stored."""
    (blobs.root / "temporary").rmdir()

    def write_and_store(file: IncomingFile) -> None:
        file.write([some_bytes(size_bytes)])
        file.store()

    with (
        closing(IncomingFile(blobs, limits=LIMITS)) as file,
        pytest.raises(StorageFailed, match=r"cannot be (made|written)"),
    ):
        write_and_store(file)
    assert not blobs.has(hashlib.sha256(some_bytes(size_bytes)).hexdigest())
