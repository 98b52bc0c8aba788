"""Archives written byte by byte, for what no library writes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field


@dataclass
class ZipEntry:
    """A member, with everything that a writer could get wrong."""

    name: bytes
    content: bytes = b""
    method: int = 0
    flags: int = 0
    extra: bytes = b""
    local_extra: bytes | None = None
    local_name: bytes | None = None
    local_flags: int | None = None
    data: bytes | None = None
    """What is written instead of the content, compressed as ``method`` says."""
    crc32: int | None = None
    size: int | None = None
    local_size: int | None = None
    comment: bytes = b""
    needed: int = 20
    local_needed: int | None = None
    """Version of the format that a reader must know, times ten."""
    attributes: int = 0o100644 << 16
    made_on: int = 3
    before: bytes = b""
    after: bytes = b""
    """Bytes between the members."""
    offset: int | None = None


@dataclass
class ZipFileMade:
    """Writes a zip of entries; ``directory`` lists other entries than were written."""

    entries: list[ZipEntry]
    directory: list[ZipEntry] | None = None
    comment: bytes = b""
    end: bytes = b""
    before_end: bytes = b""
    count: int | None = None
    zip64: bool = False
    _offsets: dict[int, int] = field(default_factory=dict)

    def written(self) -> bytes:
        """The archive."""
        out = bytearray()
        for entry in self.entries:
            out += entry.before
            self._offsets[id(entry)] = len(out)
            out += self._local(entry) + entry.after
        start = len(out)
        listed = self.entries if self.directory is None else self.directory
        for entry in listed:
            out += self._central(entry)
        size = len(out) - start
        count = len(listed) if self.count is None else self.count
        out += self.before_end
        if self.zip64:
            record = len(out)
            out += struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
            out += struct.pack("<4sLQL", b"PK\x06\x07", 0, record, 1)
            count, size, start = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
        out += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, start, len(self.comment))
        return bytes(out + self.comment + self.end)

    @staticmethod
    def _data(entry: ZipEntry) -> bytes:
        if entry.data is not None:
            return entry.data
        if entry.method == 8:
            compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
            return compressor.compress(entry.content) + compressor.flush()
        return entry.content

    def _facts(self, entry: ZipEntry) -> tuple[int, int, int]:
        crc32 = zlib.crc32(entry.content) if entry.crc32 is None else entry.crc32
        return crc32, len(self._data(entry)), len(entry.content) if entry.size is None else entry.size

    def _local(self, entry: ZipEntry) -> bytes:
        crc32, compressed, size = self._facts(entry)
        size = size if entry.local_size is None else entry.local_size
        name = entry.name if entry.local_name is None else entry.local_name
        extra = entry.extra if entry.local_extra is None else entry.local_extra
        flags = entry.flags if entry.local_flags is None else entry.local_flags
        needed = entry.needed if entry.local_needed is None else entry.local_needed
        header = struct.pack(
            *("<4s5H3L2H", b"PK\x03\x04", needed, flags, entry.method, 0, 33),
            *(crc32, compressed, size, len(name), len(extra)),
        )
        return header + name + extra + self._data(entry)

    def _central(self, entry: ZipEntry) -> bytes:
        crc32, compressed, size = self._facts(entry)
        offset = self._offsets.get(id(entry), 0) if entry.offset is None else entry.offset
        header = struct.pack(
            *(
                "<4s6H3L5H2L",
                b"PK\x01\x02",
                entry.made_on << 8 | 20,
                entry.needed,
                entry.flags,
                entry.method,
                0,
                33,
            ),
            *(crc32, compressed, size, len(entry.name), len(entry.extra), len(entry.comment)),
            *(0, 0, entry.attributes, offset),
        )
        return header + entry.name + entry.extra + entry.comment
