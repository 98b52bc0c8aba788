"""Copies a zip archive member by member, renaming some members and replacing the content of a few.

A member that is neither renamed nor replaced keeps its *compressed bytes*: they are copied as they are, never
inflated and deflated again, so the copy does not depend on the compressor of this machine. Order, times,
modes, flags and extra fields are those of the source. Archives beyond 4 GB (zip64) are written as Python's
``zipfile`` writes them.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14-16 (end).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from conveyor.domain.distributions.zips import (
    END,
    END64,
    END64_LOCATOR,
    END64_LOCATOR_SIGNATURE,
    END64_SIGNATURE,
    END_SIGNATURE,
    ENTRY,
    ENTRY_SIGNATURE,
    EXTRA_FIELD,
    EXTRA_ZIP64,
    FLAG_DESCRIPTOR,
    FLAG_ENCRYPTED,
    FULL16,
    FULL32,
    LOCAL_HEADER,
    LOCAL_SIGNATURE,
)
from conveyor.errors import InvalidDistribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Member:
    """One member of the source: its two headers, split, and the position of its compressed bytes."""

    name: str
    local: tuple[int, ...]
    """version, flags, method, time, date, crc, compressed size, size; as in the local header."""
    local_extra: bytes
    central: tuple[int, ...]
    """All fields of the central header after its signature."""
    central_extra: bytes
    comment: bytes
    data_start: int
    data_end: int
    """Position after the data and its descriptor, where the next member begins."""
    compressed_size: int
    size: int


def copy_archive(
    source: BinaryIO, target: BinaryIO, *, rename: Callable[[str], str], replaced: Mapping[str, bytes]
) -> None:
    """Write the archive ``source`` to ``target``, with names from ``rename`` and contents from ``replaced``.

    ``replaced`` maps names in the *source* to new contents; they are deflated if they were deflated before,
    at zlib's default level, as ``zipfile`` does.

    Raises:
        InvalidDistribution: the source is not a plain zip archive: bytes before or between its members,
            encrypted members, or a replaced member with another method than stored or deflated.
    """
    start = target.tell()
    directory: list[bytes] = []
    for member in _members(source):
        offset = target.tell() - start
        name = rename(member.name).encode()
        content = replaced.get(member.name)
        if content is None:
            target.write(_local_header(member.local, name, member.local_extra))
            _copy_range(source, target, member.data_start, member.data_end)
            crc, compressed_size, size, flags = member.central[6], member.compressed_size, member.size, None
        else:
            data = _compressed(member, content)
            crc, compressed_size, size = zlib.crc32(content), len(data), len(content)
            flags = member.local[1] & ~FLAG_DESCRIPTOR
            local = (member.local[0], flags, *member.local[2:5], crc, compressed_size, size)
            target.write(_local_header(local, name, _without_zip64(member.local_extra)))
            target.write(data)
        directory.append(_central_header(member, name, offset, crc, (compressed_size, size), flags))
    directory_offset = target.tell() - start
    for header in directory:
        target.write(header)
    directory_size = target.tell() - start - directory_offset
    target.write(_end_records(len(directory), directory_size, directory_offset))


def _members(source: BinaryIO) -> Iterator[_Member]:
    """The members in their order in the archive, which must be the order of its directory."""
    try:
        with zipfile.ZipFile(source) as archive:
            infos = archive.infolist()
            directory_start: int = archive.start_dir
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InvalidDistribution(f"not a zip archive: {error}") from error
    ends = [info.header_offset for info in infos[1:]] + [directory_start]
    position = directory_start
    expected = 0
    for info, end in zip(infos, ends, strict=True):
        source.seek(position)
        fields = ENTRY.unpack(source.read(ENTRY.size))
        raw_name, central_extra, comment = (source.read(fields[index]) for index in (10, 11, 12))
        position = source.tell()
        source.seek(info.header_offset)
        local = LOCAL_HEADER.unpack(source.read(LOCAL_HEADER.size))
        local_name, local_extra = source.read(local[9]), source.read(local[10])
        data_start = source.tell()
        data_end = data_start + info.compress_size
        has_descriptor = bool(local[2] & FLAG_DESCRIPTOR)
        if info.header_offset != expected or local_name != raw_name or info.flag_bits & FLAG_ENCRYPTED:
            raise InvalidDistribution(f"{info.filename}: the archive is not plain (hidden bytes or names)")
        if data_end > end or (data_end != end and not has_descriptor):
            raise InvalidDistribution(f"{info.filename}: the archive is not plain (bytes between members)")
        expected = end
        yield _Member(
            info.filename, tuple(local[1:9]), local_extra, tuple(fields[1:]), central_extra, comment,
            data_start, end, info.compress_size, info.file_size,
        )  # fmt: skip


def _local_header(fields: tuple[int, ...], name: bytes, extra: bytes) -> bytes:
    return LOCAL_HEADER.pack(LOCAL_SIGNATURE, *fields, len(name), len(extra)) + name + extra


def _central_header(
    member: _Member, name: bytes, offset: int, crc: int, sizes: tuple[int, int], flags: int | None
) -> bytes:
    """The directory's entry; ``sizes`` are compressed and plain, ``flags=None`` keeps those of the source."""
    made_by, needed, old_flags, method, time, date = member.central[:6]
    disk, internal, external = member.central[12], member.central[13], member.central[14]
    compressed_size, size = sizes
    large: list[int] = []
    if size > FULL32 or compressed_size > FULL32:
        large += [size, compressed_size]
        size = compressed_size = FULL32
    if offset > FULL32:
        large.append(offset)
        offset = FULL32
    extra = _without_zip64(member.central_extra)
    if large:
        extra = EXTRA_FIELD.pack(EXTRA_ZIP64, 8 * len(large)) + struct.pack(f"<{len(large)}Q", *large) + extra
    fixed = ENTRY.pack(
        ENTRY_SIGNATURE, made_by, needed, old_flags if flags is None else flags, method, time, date, crc,
        compressed_size, size, len(name), len(extra), len(member.comment), disk, internal, external, offset,
    )  # fmt: skip
    return fixed + name + extra + member.comment


def _end_records(count: int, directory_size: int, directory_offset: int) -> bytes:
    records = b""
    if count > FULL16 or directory_size > FULL32 or directory_offset > FULL32:
        end64 = END64.pack(
            END64_SIGNATURE, END64.size - 12, 45, 45, 0, 0, count, count, directory_size, directory_offset
        )
        records = end64 + END64_LOCATOR.pack(END64_LOCATOR_SIGNATURE, 0, directory_offset + directory_size, 1)
    count, directory_size = min(count, FULL16), min(directory_size, FULL32)
    directory_offset = min(directory_offset, FULL32)
    return records + END.pack(END_SIGNATURE, 0, 0, count, count, directory_size, directory_offset, 0)


def _compressed(member: _Member, content: bytes) -> bytes:
    method = member.local[2]
    if method == zipfile.ZIP_STORED:
        return content
    if method == zipfile.ZIP_DEFLATED:
        compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15)
        return compressor.compress(content) + compressor.flush()
    raise InvalidDistribution(f"{member.name}: compressed by method {method}; wheels are stored or deflated")


def _without_zip64(extra: bytes) -> bytes:
    """The extra fields without the one for 64-bit sizes (header id 1), which is written separately."""
    kept = b""
    while len(extra) >= EXTRA_FIELD.size:
        kind, length = EXTRA_FIELD.unpack_from(extra)
        end = EXTRA_FIELD.size + length
        if kind != EXTRA_ZIP64:
            kept += extra[:end]
        extra = extra[end:]
    return kept + extra


def _copy_range(source: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    left = end - start
    while left:
        chunk = source.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise InvalidDistribution("the archive ends too early")
        target.write(chunk)
        left -= len(chunk)
