"""The other readers of archives, which must see what the store's own readers saw.

Whatever the store accepts is read again by the standard library (pip's readers) and, for zips, by a reader
that goes by the local headers in file order, as streaming installers do. One that is refused need not be
readable by anybody.
"""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import zipfile
import zlib
from struct import Struct
from typing import TYPE_CHECKING

from uv import find_uv_bin

from conveyor.domain.distributions.archives import ArchiveLimits, Unreadable
from conveyor.domain.distributions.tars import TarArchive, read_tar_gz
from conveyor.domain.distributions.zips import ZipArchive
from conveyor.domain.words.faults import Faults

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = ArchiveLimits(members=1000, names_bytes=1024 * 1024, expanded_bytes=64 * 1024 * 1024)
MOST_READS_PER_BYTE = 4
"""How often, on the average, a reader may look at a byte of the file: headers are read apart from data."""

_LOCAL = Struct("<4s5H3L2H")


class CountingStream(io.BytesIO):
    """Counts what is read of it: the measure of a reader's work that no busy machine changes."""

    bytes_read = 0
    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        self.reads += 1
        return data

    def check(self) -> None:
        """The work must be in proportion to the file."""
        size = len(self.getbuffer())
        assert self.bytes_read <= MOST_READS_PER_BYTE * size + 70_000
        assert self.reads <= size // 8 + 50


def zip_contents(content: bytes) -> dict[str, bytes] | None:
    """The files of a zip as the store reads them; ``None``: refused."""
    stream, faults = CountingStream(content), Faults()
    archive = ZipArchive.of(stream, size_bytes=len(content), limits=LIMITS, faults=faults)
    found: dict[str, bytes] = {}
    try:
        if archive is not None:
            found = {path: b"".join(archive.chunks(member)) for path, member in archive.members.items()}
    except Unreadable:
        return None
    finally:
        stream.check()
    return None if faults else found


def check_zip(content: bytes) -> bool:
    """Whether the zip is accepted; then every reader must see the same files with the same bytes."""
    found = zip_contents(content)
    if found is None:
        return False
    assert _by_directory(content) == found
    assert _by_local_headers(content) == found
    return True


def _by_directory(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        assert len({info.filename for info in infos}) == len(infos)
        assert not any(stat.S_ISLNK(info.external_attr >> 16) for info in infos)
        return {info.filename: archive.read(info) for info in infos}


def _by_local_headers(content: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    position = 0
    while content[position : position + 4] == b"PK\x03\x04":
        _, _, flags, method, _, _, crc32, packed, size, name_bytes, extra_bytes = _LOCAL.unpack_from(
            content, position
        )
        start = position + _LOCAL.size + name_bytes
        name = content[position + _LOCAL.size : start].decode("utf-8" if flags & 0x800 else "ascii")
        if 0xFFFFFFFF in (packed, size):
            packed = int.from_bytes(content[start + 12 : start + 20], "little")
        position = start + extra_bytes + packed
        data = content[position - packed : position]
        data = zlib.decompress(data, -zlib.MAX_WBITS) if method else data
        assert zlib.crc32(data) == crc32
        if not name.endswith("/"):
            found[name] = data
    assert content[position : position + 4] in (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")
    return found


def tar_archive(content: bytes) -> TarArchive | None:
    """A gzipped tar as the store reads it, with the content of every file; ``None``: refused."""
    stream, faults = CountingStream(content), Faults()
    archive = read_tar_gz(
        stream,
        size_bytes=len(content),
        limits=LIMITS,
        faults=faults,
        wanted=lambda path: True,
        wanted_limit_bytes=1024 * 1024,
    )
    stream.check()
    return None if faults else archive


def check_tar(content: bytes) -> bool:
    """Whether the tar is accepted; then the standard library must see the same and unpack all of it."""
    archive = tar_archive(content)
    if archive is None:
        return False
    kinds = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink"}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as other:
        members = other.getmembers()
        seen = [
            (one.name, kinds.get(one.type, "file"), one.linkname if one.islnk() or one.issym() else "")
            for one in members
        ]
        assert seen == [
            (one.path, one.kind, one.target if one.kind in ("symlink", "hardlink") else "")
            for one in archive.members
        ]
        for member in members:
            tarfile.data_filter(member, "/unpacked")
            if member.isreg():
                file = other.extractfile(member)
                assert file is not None
                assert file.read() == archive.contents[member.name]
    return True


def check_unpacking(content: bytes, folder: Path) -> None:
    """GNU tar must unpack an accepted archive into the very files that the store saw."""
    archive = tar_archive(content)
    assert archive is not None
    folder.mkdir(parents=True)
    options = ("--no-same-owner", "--no-same-permissions")
    subprocess.run(["tar", "-xzf", "-", "-C", folder, *options], input=content, check=True)
    assert _paths_in(folder) == {one.path for one in archive.members if one.kind != "folder"}
    for path, expected in archive.contents.items():
        assert (folder / path).read_bytes() == expected


def check_installing(content: bytes, folder: Path) -> None:
    """An accepted wheel of ``mutated_wheel`` must be installed by uv with the bytes that the store saw."""
    found = zip_contents(content)
    assert found is not None
    folder.mkdir(parents=True)
    wheel = folder / "demo-1.0-py3-none-any.whl"
    wheel.write_bytes(content)
    command = [find_uv_bin(), "--no-config", "pip", "install", "-q", "--offline", "--no-cache", "--no-deps"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    subprocess.run([*command, "--target", folder / "installed", wheel], env=kept, check=True)
    for path, expected in found.items():
        if not path.endswith("/RECORD"):  # installers write it anew
            assert (folder / "installed" / path).read_bytes() == expected


def _paths_in(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
