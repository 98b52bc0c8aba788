"""Reads the metadata out of a wheel of which only parts have been fetched.

A wheel's directory is at its end and its metadata is one small member, so a few kilobytes suffice. The reader
names the part that is missing (``MissingPart``); the caller fetches and adds it, and tries again.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from packaging.utils import canonicalize_name

from conveyor.domain.distributions.zips import LOCAL_HEADER
from conveyor.errors import InvalidDistribution

if TYPE_CHECKING:
    from packaging.utils import NormalizedName

TAIL_BYTES = 64 * 1024
"""Size of the first fetch: holds the directory and, in most wheels, the metadata before it."""

READ_AHEAD_BYTES = 16 * 1024
MIRRORED_METADATA_LIMIT_BYTES = 8 * 1024 * 1024
"""Metadata that upstream accepted is passed on; the limit of uploads here is half of this."""


_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, ArithmeticError, LookupError),
    *(ValueError, NotImplementedError, RuntimeError, EOFError, OSError),
)
"""Exceptions that zipfile raises on damaged archives, as a fuzzer found."""


class MissingPart(Exception):
    """Bytes ``start`` to ``end`` (excluded) are needed but missing."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(f"bytes {start} to {end} are missing")
        self.start = start
        self.end = end


class PartialFile(io.RawIOBase):
    """A file of known size of which some parts are present; reading elsewhere raises MissingPart."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._position = 0
        self._parts: list[tuple[int, bytes]] = []

    def add(self, start: int, content: bytes) -> None:
        """Add a part."""
        self._parts.append((start, content))

    def require(self, start: int, end: int) -> None:
        """Raise MissingPart unless bytes ``start`` to ``end`` can be read."""
        if start < 0:
            raise OSError("position before the beginning of the file")
        self._read_at(start, min(end, self.size_bytes))

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise OSError("position before the beginning of the file")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Bytes at the position; raises MissingPart."""
        end = self.size_bytes if size < 0 else min(self.size_bytes, self._position + size)
        content = self._read_at(self._position, end)
        self._position += len(content)
        return content

    def _read_at(self, start: int, end: int) -> bytes:
        pieces: list[bytes] = []
        position = start
        while position < end:
            piece = self._piece_at(position, end)
            if not piece:
                raise MissingPart(position, min(self.size_bytes, max(end, position + READ_AHEAD_BYTES)))
            pieces.append(piece)
            position += len(piece)
        return b"".join(pieces)

    def _piece_at(self, position: int, end: int) -> bytes:
        for start, content in self._parts:
            if start <= position < start + len(content):
                return content[position - start : end - start]
        return b""


def read_wheel_metadata(file: BinaryIO | PartialFile, *, filename: str) -> bytes:
    """The core metadata of a wheel, from its dist-info folder.

    Raises:
        MissingPart: a part of a ``PartialFile`` is needed.
        InvalidDistribution: the wheel has no metadata, or the archive cannot be read.
    """
    project = canonicalize_name(filename.partition("-")[0])
    try:
        with zipfile.ZipFile(cast("BinaryIO", file)) as archive:
            member = _metadata_member(archive, project, filename)
            if member.file_size > MIRRORED_METADATA_LIMIT_BYTES:
                raise InvalidDistribution(f"the metadata of {filename} has {member.file_size:,} bytes")
            if isinstance(file, PartialFile):
                # The local header repeats the name; its extra field may be longer than the directory's.
                head = LOCAL_HEADER.size + len(member.filename.encode()) + len(member.extra) + 64
                file.require(member.header_offset, member.header_offset + head + member.compress_size)
            with archive.open(member) as stream:
                content = stream.read(MIRRORED_METADATA_LIMIT_BYTES + 1)
    except _UNREADABLE as error:
        raise InvalidDistribution(f"{filename} cannot be read as a wheel: {error}") from error
    if len(content) != member.file_size:
        raise InvalidDistribution(f"the metadata of {filename} is not of the size that is listed")
    return content


def _metadata_member(archive: zipfile.ZipFile, project: NormalizedName, filename: str) -> zipfile.ZipInfo:
    found = [
        member
        for member in archive.infolist()
        if member.filename.endswith(".dist-info/METADATA") and member.filename.count("/") == 1
    ]
    of_project = [
        member for member in found if canonicalize_name(member.filename.partition("-")[0]) == project
    ]
    if len(of_project) != 1:
        raise InvalidDistribution(f"{filename} holds {len(of_project)} METADATA files of its project")
    return of_project[0]
