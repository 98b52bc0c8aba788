"""Archives that are small and unpack to much: refused in bounded time and memory, before they are unpacked.

The readers run in a child with a hard limit on its memory and on its processor time.
"""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from tarfile import USTAR_FORMAT
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.zips import ZipArchive
from conveyor.domain.words.faults import Faults
from distributions_made import tar_file
from domain.archives_made import ZipEntry, ZipFileMade

if TYPE_CHECKING:
    from pathlib import Path

MEBIBYTE = 1024 * 1024
MEMORY_BYTES = 400 * MEBIBYTE
"""Of the child's whole address space, the interpreter and its libraries included."""
CPU_SECONDS = 10
UNPACKED_BYTES = 10 * 1024 * MEBIBYTE
READ = """
import sys
from pathlib import Path
from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.reading import read_distribution
from conveyor.domain.words.faults import Faults
from conveyor.domain.distributions.sdists import read_sdist
from conveyor.domain.distributions.wheels import read_wheel
from conveyor.domain.distributions.filenames import distribution_filename
path = Path(sys.argv[1])
faults = Faults()
read = read_wheel if path.suffix == ".whl" else read_sdist
with path.open("rb") as stream:
    read(
        stream,
        distribution_filename(path.name),
        size_bytes=path.stat().st_size,
        limits=ArchiveLimits(),
        faults=faults,
    )
print("; ".join(faults.sentences))
"""


def faults_of(path: Path) -> str:
    """What the store says of an archive, asked in a child with little memory and time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

    done = subprocess.run(
        [sys.executable, "-c", READ, path],
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def block_of_zeros() -> bytes:
    """One mebibyte of zeros as a deflate block that can stand in a stream any number of times."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(bytes(MEBIBYTE)) + compressor.flush(zlib.Z_FULL_FLUSH)


FINAL = b"\x03\x00"
WHEEL = "demo-1.0-py3-none-any.whl"


def test_one_member_that_inflates_to_ten_gigabytes_is_refused_by_what_it_announces(tmp_path: Path) -> None:
    blocks = UNPACKED_BYTES // MEBIBYTE
    data = block_of_zeros() * blocks + FINAL
    assert len(data) < 12 * MEBIBYTE
    wide = struct.pack("<2H2Q", 1, 16, UNPACKED_BYTES, len(data))
    central = struct.pack("<2HQ", 1, 8, UNPACKED_BYTES)
    entry = ZipEntry(b"demo/a", b"", method=8, data=data, size=0xFFFFFFFF, extra=central, local_extra=wide)
    content = bytearray(ZipFileMade([entry]).written())
    content[18:22] = b"\xff" * 4  # a local header carries both sizes in the wide field
    path = tmp_path / WHEEL
    path.write_bytes(content)
    assert "over 50 times" in faults_of(path)


def test_member_that_lies_about_ten_gigabytes_is_not_inflated(tmp_path: Path) -> None:
    data = block_of_zeros() * (UNPACKED_BYTES // MEBIBYTE) + FINAL
    entry = ZipEntry(b"demo-1.0.dist-info/METADATA", b"Name: demo", method=8, data=data)
    path = tmp_path / WHEEL
    path.write_bytes(ZipFileMade([entry]).written())
    assert "is listed with 10" in faults_of(path)


def test_members_that_share_one_kernel_of_data_are_refused(tmp_path: Path) -> None:
    """The bomb of overlapping members: each directory entry names the same deflated bytes."""
    data = block_of_zeros() * 8 + FINAL
    entry = ZipEntry(b"demo/0", b"", method=8, data=data, size=8 * MEBIBYTE)
    others = [
        ZipEntry(b"demo/%d" % n, b"", method=8, data=data, size=8 * MEBIBYTE, offset=0) for n in range(1280)
    ]
    path = tmp_path / WHEEL
    path.write_bytes(ZipFileMade([entry], directory=[entry, *others]).written())
    assert "hidden or overlapping data" in faults_of(path)


def test_members_quoted_inside_others_are_refused(tmp_path: Path) -> None:
    """The quoting bomb: a stored deflate block that holds the next local header."""
    inner = ZipEntry(b"demo/b", block_of_zeros())
    quoted = ZipFileMade([inner]).written()[: 30 + 6 + len(inner.content)]
    outer = ZipEntry(b"demo/a", quoted)
    made = ZipFileMade([outer], directory=[outer, ZipEntry(b"demo/b", inner.content, offset=30 + 6)])
    path = tmp_path / WHEEL
    path.write_bytes(made.written())
    assert "hidden or overlapping data" in faults_of(path)


def test_directory_of_a_million_entries_is_refused_before_it_is_read(tmp_path: Path) -> None:
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, 46 * 10**6, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 46 * 10**6, 1)
    path = tmp_path / WHEEL
    with path.open("wb") as file:
        file.truncate(46 * 10**6)
        file.seek(0, io.SEEK_END)
        file.write(end + locator + b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2))
    assert "1,000,000 members, more than 100,000" in faults_of(path)


def test_tar_that_inflates_to_ten_gigabytes_is_refused_after_little_of_it(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0.tar.gz"
    with path.open("wb") as file:
        file.write(
            begin_of_tar_gz(8**11 - 1) + block_of_zeros() * (UNPACKED_BYTES // MEBIBYTE) + FINAL + bytes(8)
        )
    assert path.stat().st_size < 12 * MEBIBYTE
    assert "over 50 times" in faults_of(path)


def begin_of_tar_gz(size_bytes: int) -> bytes:
    """The begin of a gzip stream that holds a tar header of one file of that size."""
    info = tar_file("demo-1.0/zeros")
    info.size = size_bytes
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (
        b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
        + compressor.compress(info.tobuf(USTAR_FORMAT))
        + compressor.flush(zlib.Z_FULL_FLUSH)
    )


@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1])
def test_sizes_around_the_limits_of_32_bits_are_read_as_they_are(tmp_path: Path, size: int) -> None:
    """A sparse file with one stored member of that many zeros, with ZIP64 fields where they are needed."""
    is_wide, is_far = size >= 2**32 - 1, size + 39 >= 2**32 - 1
    short = 0xFFFFFFFF if is_wide else size
    local_extra = struct.pack("<2H2Q", 1, 16, size, size) if is_wide else b""
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 33, 0, short, short, 1, len(local_extra))
    extra = struct.pack("<2H2Q", 1, 16, size, size) if is_wide else b""
    central = struct.pack(
        *("<4s6H3L5H2L", b"PK\x01\x02", 0x32D, 45, 0, 0, 0, 33, 0, short, short, 1, len(extra), 0, 0, 0),
        *(0o100644 << 16, 0),
    )
    begin, directory = local + b"a" + local_extra, central + b"a" + extra
    at = len(begin) + size
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.write(begin)
        file.seek(at)
        file.write(directory)
        if is_far:
            record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(directory), at)
            file.write(record + struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(directory), 1))
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), min(at, 2**32 - 1), 0))
    faults = Faults()
    with path.open("rb") as file:
        archive = ZipArchive.of(
            file, size_bytes=path.stat().st_size, limits=ArchiveLimits(ratio=10**6), faults=faults
        )
    assert faults.sentences == ()
    assert archive is not None
    assert archive.members["a"].size_bytes == size
    with zipfile.ZipFile(path) as other:
        assert other.infolist()[0].file_size == size
