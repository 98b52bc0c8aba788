"""A strict, bounded reader of zip archives, for wheels.

An archive passes when every sound reader must see the same members with the same bytes: whether it goes by
the central directory (pip), by the local headers in file order (streaming readers), or by both. So: local
headers and directory agree in every field, members touch each other without gap or overlap from the first
byte of the file to the directory, and only a comment of the archive follows. Data descriptors, comments of
members, encryption, and other methods than stored and deflate are refused; build tools write none of these.

``ZipArchive.of`` reads the structure; ``chunks`` inflates one member and verifies its size and CRC-32.
Memory: the directory (``ArchiveLimits.names_bytes``) and, for each member that is being read, one chunk.

Decision 0029 says why ``zipfile`` is not used.

Sources: PKWARE APPNOTE 6.3.10 (sections 4.3, 4.4, 4.5.3), the packaging user guide on archives.
"""

from __future__ import annotations

import stat
import zlib
from dataclasses import dataclass
from struct import Struct
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from conveyor.domain.distributions.archives import ArchiveLimits, Tree, Unreadable, path_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.domain.words.faults import Faults

CHUNK_BYTES = 256 * 1024

# The structures of the format, declared once for all that read and write zips here. Each ``Struct``
# begins with its signature; names, extra fields and comments follow it.
LOCAL_HEADER, LOCAL_SIGNATURE = Struct("<4s5H3L2H"), b"PK\x03\x04"
"""4.3.7: version, flags, method, time, date, CRC-32, packed size, size, lengths of name and extra field."""
ENTRY, ENTRY_SIGNATURE = Struct("<4s6H3L5H2L"), b"PK\x01\x02"
"""4.3.12: made by; as the local header; lengths of name, extra field, comment; disk, attributes, offset."""
END, END_SIGNATURE = Struct("<4s4H2LH"), b"PK\x05\x06"
"""4.3.16: two disks, two numbers of members, size and offset of the directory, length of the comment."""
END64, END64_SIGNATURE = Struct("<4sQ2H2L4Q"), b"PK\x06\x06"
"""4.3.14: its own size without the first twelve bytes, two versions, then as the end."""
END64_LOCATOR, END64_LOCATOR_SIGNATURE = Struct("<4sLQL"), b"PK\x06\x07"
"""4.3.15: disk and offset of the record above, number of disks."""
EXTRA_FIELD = Struct("<2H")
"""4.5.1: kind and length of one extra field."""
EXTRA_ZIP64 = 0x0001
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF
"""The content of a field whose value is in a ZIP64 record."""
FLAG_ENCRYPTED, FLAG_DESCRIPTOR = 0x0001, 0x0008

_STORED, _DEFLATED = 0, 8
_NOTHING_DEFLATED = b"\x03\x00"
_FLAG_UTF8 = 0x0800
_FLAGS_ALLOWED = _FLAG_UTF8 | 0x0006
"""Bits 1 and 2 only record the effort of deflate."""
_EXTRA_UNICODE_PATH = 0x7075
_MADE_ON_UNIX = 3
_NEWEST_VERSION = 63
"""6.3, the newest version that Python's ``zipfile`` reads."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One member, as the central directory describes it."""

    name: str
    """The path without the trailing slash of a directory."""
    is_folder: bool
    raw_name: bytes
    flags: int
    method: int
    crc32: int
    compressed_bytes: int
    size_bytes: int
    header_offset: int


class ZipArchive:
    """The members of a zip whose structure is sound; made by ``of``.

    Several threads may read members at the same time, as long as no other code moves the stream.
    """

    def __init__(self, stream: BinaryIO, members: dict[str, ZipMember], data_offsets: dict[int, int]) -> None:
        self._stream = stream
        self._moving = Lock()
        self.members = members
        """Files by path, in file order; directories are left out."""
        self._data_offsets = data_offsets

    @classmethod
    def of(
        cls, stream: BinaryIO, *, size_bytes: int, limits: ArchiveLimits, faults: Faults
    ) -> ZipArchive | None:
        """Read the structure of a seekable stream; ``None`` if its contents cannot be determined.

        Faults of single members are collected, and these members are still included if they can be read.
        """
        try:
            directory_offset, listed = _read_directory(stream, size_bytes, limits, faults)
            listed.sort(key=lambda member: member.header_offset)
            data_offsets = _check_local_headers(stream, listed, directory_offset)
        except Unreadable as unreadable:
            unreadable.add_to(faults, otherwise="zip-structure")
            return None
        tree = Tree(faults, is_unpacked_anywhere=True)
        for member in listed:
            tree.enter(member.name, is_folder=member.is_folder)
        tree.finish()
        expanded_bytes = sum(member.size_bytes for member in listed)
        if bomb := limits.bomb_fault(expanded_bytes, size_bytes):
            faults.add("archive-size", bomb)
            return None
        files = {member.name: member for member in listed if not member.is_folder}
        return cls(stream, files, data_offsets)

    def chunks(self, member: ZipMember) -> Iterator[bytes]:
        """The member's bytes, inflated, at most 256 KiB at a time.

        Raises:
            Unreadable: the data is damaged, or differs in size or CRC-32 from the directory.
        """
        raw = self._inflated(member) if member.method == _DEFLATED else self._stored(member)
        checksum, size_bytes = 0, 0
        for chunk in raw:
            checksum = zlib.crc32(chunk, checksum)
            size_bytes += len(chunk)
            yield chunk
        if size_bytes != member.size_bytes:
            raise Unreadable(
                f"{member.name} holds {size_bytes:,} bytes, but is listed with {member.size_bytes:,}"
            )
        if checksum != member.crc32:
            raise Unreadable(f"{member.name} is damaged: its CRC-32 is not the one listed")

    def read(self, member: ZipMember, *, limit_bytes: int) -> bytes:
        """The whole member; raises Unreadable as ``chunks`` does, and if it is larger than the limit."""
        if member.size_bytes > limit_bytes:
            raise Unreadable(
                f"{member.name} has {member.size_bytes:,} bytes, more than {limit_bytes:,}",
                rule="metadata-size",
            )
        return b"".join(self.chunks(member))

    def _stored(self, member: ZipMember) -> Iterator[bytes]:
        position = self._data_offsets[member.header_offset]
        end = position + member.compressed_bytes
        while position < end:
            with self._moving:
                self._stream.seek(position)
                chunk = self._stream.read(min(end - position, CHUNK_BYTES))
            if not chunk:
                raise Unreadable(f"{member.name} is cut off")
            position += len(chunk)
            yield chunk

    def _inflated(self, member: ZipMember) -> Iterator[bytes]:
        """Never yields more than one chunk beyond the listed size, whatever the data says."""
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        produced = 0
        try:
            for compressed in self._stored(member):
                if inflater.eof:
                    raise Unreadable(f"{member.name} has data after the end of its deflate stream")
                waiting = compressed
                while waiting and not inflater.eof:
                    chunk = inflater.decompress(waiting, CHUNK_BYTES)
                    waiting = inflater.unconsumed_tail
                    produced += len(chunk)
                    if chunk:
                        yield chunk
                    if produced > member.size_bytes:
                        return
            while not inflater.eof and (chunk := inflater.decompress(b"", CHUNK_BYTES)):
                produced += len(chunk)
                yield chunk
                if produced > member.size_bytes:
                    return
        except zlib.error as error:
            raise Unreadable(f"{member.name} is damaged: its deflate stream is broken") from error
        if not inflater.eof:
            raise Unreadable(f"{member.name} is cut off")
        if inflater.unused_data:
            raise Unreadable(f"{member.name} has data after the end of its deflate stream")


# --- the end of the file and the central directory ----------------------------------------------------------


def _read_directory(
    stream: BinaryIO, size_bytes: int, limits: ArchiveLimits, faults: Faults
) -> tuple[int, list[ZipMember]]:
    """The offset of the central directory and its entries, in its own order."""
    count, directory_bytes, directory_offset = _read_end(stream, size_bytes)
    if count > limits.members:
        raise Unreadable(
            f"the archive has {count:,} members, more than {limits.members:,}", rule="archive-size"
        )
    if directory_bytes > limits.names_bytes:
        raise Unreadable(
            f"the archive's directory is larger than {limits.names_bytes:,} bytes", rule="archive-size"
        )
    directory = _read_at(stream, directory_offset, directory_bytes, "the archive's directory")
    members: list[ZipMember] = []
    position = 0
    for _ in range(count):
        member, position = _read_entry(directory, position, faults)
        members.append(member)
    if position != len(directory):
        raise Unreadable("the archive's directory holds more than the number of members it names")
    return directory_offset, members


def _read_end(stream: BinaryIO, size_bytes: int) -> tuple[int, int, int]:
    """(number of members, size of the directory, its offset); the records must end where the file ends."""
    if size_bytes < END.size:
        raise Unreadable("the file is not a zip archive: it is too short")
    end_offset, end = _find_end(stream, size_bytes)
    _, disk, first_disk, here, count, directory_bytes, directory_offset, _ = end
    if disk or first_disk or here != count:
        raise Unreadable("the archive is one part of several")
    records_offset = end_offset
    if FULL16 in (here, count) or FULL32 in (directory_bytes, directory_offset):
        count, directory_bytes, directory_offset, records_offset = _read_end64(stream, end_offset, end)
    elif end_offset >= END64_LOCATOR.size:
        before = _read_at(stream, end_offset - END64_LOCATOR.size, 4, "the end of the archive")
        if before == END64_LOCATOR_SIGNATURE:
            count, directory_bytes, directory_offset, records_offset = _read_end64(stream, end_offset, end)
    if directory_offset + directory_bytes != records_offset:
        raise Unreadable("the archive has bytes between its directory and its end")
    return count, directory_bytes, directory_offset


def _read_end64(stream: BinaryIO, end_offset: int, end: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(members, directory size, directory offset, offset of this record) from the ZIP64 records."""
    locator_offset = end_offset - END64_LOCATOR.size
    if locator_offset < END64.size:
        raise Unreadable("the archive lacks its ZIP64 records")
    signature, disk, end64_offset, disks = END64_LOCATOR.unpack(
        _read_at(stream, locator_offset, END64_LOCATOR.size, "the ZIP64 locator")
    )
    if signature != END64_LOCATOR_SIGNATURE:
        raise Unreadable("the archive lacks its ZIP64 records")
    if disk or disks != 1 or end64_offset != locator_offset - END64.size:
        raise Unreadable("the archive's ZIP64 locator points elsewhere than to the record before it")
    record = END64.unpack(_read_at(stream, end64_offset, END64.size, "the ZIP64 record"))
    signature, record_bytes, _, _, disk, first_disk, here, count, directory_bytes, directory_offset = record
    if signature != END64_SIGNATURE or record_bytes != END64.size - 12:
        raise Unreadable("the archive's ZIP64 record is malformed")
    if disk or first_disk or here != count:
        raise Unreadable("the archive is one part of several")
    short = (end[4], end[5], end[6])
    long = (count, directory_bytes, directory_offset)
    for value, full, in_short in zip(long, (FULL16, FULL32, FULL32), short, strict=True):
        if in_short not in (full, value):
            raise Unreadable("the archive's two end records disagree")
    return count, directory_bytes, directory_offset, end64_offset


def _find_end(stream: BinaryIO, size_bytes: int) -> tuple[int, tuple[int, ...]]:
    """The offset of the last record and its fields; the archive's comment may follow it.

    maturin wrote "zip-rs" there until 2021. A comment in which a reader could find another end, or the
    beginning of another archive, is refused.
    """
    offset = size_bytes - END.size
    end = END.unpack(_read_at(stream, offset, END.size, "the end of the archive"))
    if end[0] == END_SIGNATURE and not end[-1]:
        return offset, end
    window = min(size_bytes, END.size + FULL16)
    tail = _read_at(stream, size_bytes - window, window, "the end of the archive")
    found = tail.rfind(END_SIGNATURE)
    if found < 0:
        raise Unreadable("the file is not a zip archive, or is cut off")
    comment = tail[found + END.size :]
    if found + END.size > len(tail):
        raise Unreadable("the end of the archive is cut off")
    end = END.unpack_from(tail, found)
    if end[-1] != len(comment):
        raise Unreadable(f"the archive has {len(comment)} bytes after its end, and a comment of {end[-1]}")
    if b"PK" in comment:
        raise Unreadable("the archive has a comment that may be taken for a part of it", rule="zip-comment")
    return size_bytes - window + found, end


def _read_entry(directory: bytes, position: int, faults: Faults) -> tuple[ZipMember, int]:
    """One entry of the central directory and the position after it."""
    end = position + ENTRY.size
    if end > len(directory):
        raise Unreadable("the archive's directory is cut off")
    entry = ENTRY.unpack_from(directory, position)
    signature, made_by, needed, flags, method, _, _, crc32, compressed, size = entry[:10]
    name_bytes, extra_bytes, comment_bytes, disk, _, attributes, offset = entry[10:]
    after = end + name_bytes + extra_bytes + comment_bytes
    if signature != ENTRY_SIGNATURE or after > len(directory):
        raise Unreadable("the archive's directory is malformed")
    raw_name = directory[end : end + name_bytes]
    name = _decoded(raw_name, flags)
    extra = directory[end + name_bytes : end + name_bytes + extra_bytes]
    size, compressed, offset = _widened(extra, (size, compressed, offset), raw_name, name, is_local=False)
    is_folder = name.endswith("/")
    member = ZipMember(
        name=name.removesuffix("/"),
        is_folder=is_folder,
        raw_name=raw_name,
        flags=flags,
        method=method,
        crc32=crc32,
        compressed_bytes=compressed,
        size_bytes=size,
        header_offset=offset,
    )
    if disk:
        raise Unreadable("the archive is one part of several")
    if comment_bytes:
        faults.add("zip-comment", f"{member.name} has a comment in the archive's directory")
    if fault := path_fault(member.name):
        faults.add("archive-paths", f"{member.name} {fault}")
    _check_version(needed, member.name)
    mode = attributes >> 16 if made_by >> 8 == _MADE_ON_UNIX else 0
    _check_kind(member, mode, faults)
    return member, after


def _check_version(needed: int, name: str) -> None:
    """The version of the format that a header asks its reader to know; its upper byte has no meaning."""
    if needed & 0xFF > _NEWEST_VERSION:
        raise Unreadable(f"{name} uses zip features that not every installer reads")


def _check_kind(member: ZipMember, mode: int, faults: Faults) -> None:
    if member.flags & FLAG_ENCRYPTED:
        raise Unreadable(f"{member.name} is encrypted", rule="zip-encryption")
    if member.flags & FLAG_DESCRIPTOR:
        raise Unreadable(
            f"{member.name} has a data descriptor: build the archive into a file, not into a pipe",
            rule="zip-data-descriptor",
        )
    if member.flags & ~_FLAGS_ALLOWED:
        raise Unreadable(f"{member.name} uses zip features that not every installer reads")
    if member.method not in (_STORED, _DEFLATED):
        raise Unreadable(
            f"{member.name} is compressed by method {member.method}; only stored and deflate are allowed",
            rule="zip-compression",
        )
    if member.method == _STORED and member.compressed_bytes != member.size_bytes:
        raise Unreadable(f"{member.name} is stored, but its two sizes differ")
    if member.is_folder and (member.size_bytes or member.crc32):
        faults.add("zip-members", f"{member.name} is a folder, but holds data")
    if stat.S_ISLNK(mode):
        faults.add("zip-members", f"{member.name} is a symbolic link")
    elif stat.S_IFMT(mode) not in (0, stat.S_IFDIR if member.is_folder else stat.S_IFREG):
        faults.add("zip-members", f"{member.name} is not a plain file")


def _decoded(raw_name: bytes, flags: int) -> str:
    """The name, if it can be read in one way only: ASCII, or UTF-8 that is marked as such."""
    try:
        return raw_name.decode("utf-8" if flags & _FLAG_UTF8 else "ascii")
    except UnicodeDecodeError as error:
        shown = raw_name.decode("ascii", "backslashreplace")
        raise Unreadable(
            f"{shown} has a path that is not marked as UTF-8, or is not UTF-8", rule="archive-paths"
        ) from error


def _widened(
    extra: bytes, values: tuple[int, ...], raw_name: bytes, name: str, *, is_local: bool
) -> tuple[int, ...]:
    """``values`` (32-bit fields) with those that are full replaced from the ZIP64 extra field, in order.

    Also refuses extra fields that are malformed, repeated, or name another path.
    """
    fields: dict[int, bytes] = {}
    position = 0
    while position < len(extra):
        if position + EXTRA_FIELD.size > len(extra):
            raise Unreadable(f"{name} has a malformed extra field")
        kind, length = EXTRA_FIELD.unpack_from(extra, position)
        position += EXTRA_FIELD.size + length
        if position > len(extra) or kind in fields:
            raise Unreadable(f"{name} has a malformed or repeated extra field")
        fields[kind] = extra[position - length : position]
    unicode_path = fields.get(_EXTRA_UNICODE_PATH)
    if unicode_path is not None and unicode_path[5:] != raw_name:
        raise Unreadable(f"{name} has a second path in an extra field")
    wide = fields.get(EXTRA_ZIP64, b"")
    if FULL32 not in values:
        # Some readers prefer these numbers to those of the header, others ignore them.
        if wide and wide != Struct(f"<{len(values)}Q").pack(*values):
            raise Unreadable(f"{name} has a ZIP64 field that disagrees with its header")
        return values
    # A local header carries both sizes when it carries one; the directory carries only those that are full.
    carried = [is_local or value == FULL32 for value in values]
    if len(wide) != 8 * sum(carried):
        raise Unreadable(f"{name} has a malformed ZIP64 field")
    numbers = iter(Struct(f"<{len(wide) // 8}Q").unpack(wide))
    widened = tuple(
        next(numbers) if is_carried else value for value, is_carried in zip(values, carried, strict=True)
    )
    if any(short not in (FULL32, long) for short, long in zip(values, widened, strict=True)):
        raise Unreadable(f"{name} has a ZIP64 field that disagrees with its header")
    return widened


# --- the local headers --------------------------------------------------------------------------------------


def _check_local_headers(stream: BinaryIO, members: list[ZipMember], directory_offset: int) -> dict[int, int]:
    """Offset of the data by offset of the header; ``members``, in file order, must leave no gap."""
    data_offsets: dict[int, int] = {}
    expected = 0
    for member in members:
        if member.header_offset != expected:
            raise Unreadable(
                f"{member.name} does not begin where the member before it ends: hidden or overlapping data"
            )
        header = _read_at(stream, member.header_offset, LOCAL_HEADER.size, f"the header of {member.name}")
        signature, needed, flags, method, *_, crc32, compressed, size, name_bytes, extra_bytes = (
            LOCAL_HEADER.unpack(header)
        )
        if signature != LOCAL_SIGNATURE:
            raise Unreadable(f"{member.name} has no local header where the directory says")
        _check_version(needed, member.name)
        names = stream.read(name_bytes + extra_bytes)
        if len(names) != name_bytes + extra_bytes:
            raise Unreadable(f"the header of {member.name} is cut off")
        size, compressed = _widened(
            names[name_bytes:], (size, compressed), member.raw_name, member.name, is_local=True
        )
        listed = (member.flags, member.method, member.crc32, member.compressed_bytes, member.size_bytes)
        if names[:name_bytes] != member.raw_name or (flags, method, crc32, compressed, size) != listed:
            raise Unreadable(f"{member.name} has a local header that disagrees with the archive's directory")
        if member.is_folder and stream.read(min(member.compressed_bytes, 3)) not in (b"", _NOTHING_DEFLATED):
            raise Unreadable(f"{member.name} is a folder, but holds data")
        data_offsets[expected] = expected + LOCAL_HEADER.size + name_bytes + extra_bytes
        expected = data_offsets[expected] + member.compressed_bytes
    if expected != directory_offset:
        raise Unreadable("the archive has bytes between its last member and its directory")
    return data_offsets


def _read_at(stream: BinaryIO, offset: int, length: int, what: str) -> bytes:
    stream.seek(offset)
    data = stream.read(length)
    if len(data) != length:
        raise Unreadable(f"{what} is cut off")
    return data
