"""A strict, bounded reader of gzipped tar archives, for sdists.

One pass over the stream, inflating as it goes: every header and the CRC of the gzip stream are verified, and
only the file contents asked for are kept. Constructs that readers are known to interpret differently are
refused: more than one gzip member, a size in a pax record beside another one in the header, pax records for
all members that rename or resize, sparse and special members, links that leave the archive's folder, data
after the end.

The standard library's ``tarfile`` is not used: it reads a pax record of any length into memory, and skips
over headers it does not understand (decision 0029).

Sources: POSIX.1-2017 pax (ustar and pax interchange formats), GNU tar manual (long names), RFC 1952 (gzip).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from conveyor.domain.distributions.archives import ArchiveLimits, Tree, Unreadable, path_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.domain.words.faults import Faults

CHUNK_BYTES = 256 * 1024
BLOCK = 512
LONGEST_RECORD_BYTES = 256 * 1024
"""Largest size of one long name or one set of pax records."""

MemberKind = Literal["file", "folder", "symlink", "hardlink"]
_KINDS: dict[bytes, MemberKind] = {
    b"0": "file",
    b"\0": "file",
    b"5": "folder",
    b"2": "symlink",
    b"1": "hardlink",
}
_PAX_THAT_MOVE = frozenset({"path", "linkpath", "size"})
_PAX_NUMBERS = frozenset({"uid", "gid", "mtime", "atime", "ctime"})
_PAX_NUMBER = re.compile(rb"[0-9]{1,10}(\.[0-9]{1,18})?")
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_OCTAL_OR_NOTHING = re.compile(rb" *[0-7]*[ \0]*")
_BINARY_NUMBER = 0x80
"""First byte of GNU tar's form of a large number."""
_NOTED_NUMBERS = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))
"""The fields of a header for mode, owner, group, time and device. Their values are not used here, but
Python's ``tarfile`` takes a malformed one for the end of the archive, and would hide every member from there
on."""
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member; ``target`` is the path that a link names, as written, else empty."""

    path: str
    kind: MemberKind
    size_bytes: int
    target: str


@dataclass(frozen=True)
class TarArchive:
    """The result: all members in file order, and the bytes of the wanted ones."""

    members: tuple[TarMember, ...]
    contents: dict[str, bytes]


def read_tar_gz(
    stream: BinaryIO,
    *,
    size_bytes: int,
    limits: ArchiveLimits,
    faults: Faults,
    wanted: Callable[[str], bool],
    wanted_limit_bytes: int,
) -> TarArchive | None:
    """Read a whole gzipped tar from its beginning; ``None`` if it cannot be read to its end.

    Args:
        stream: read forward only.
        size_bytes: of the compressed file, for the ratio.
        limits: of the archive's contents.
        faults: receives a sentence for each fault of a member, and for the one that ended the reading.
        wanted: whether to keep the content of the file at this path.
        wanted_limit_bytes: how large such a file may be.
    """
    source = _Inflated(stream, size_bytes, limits)
    members: list[TarMember] = []
    contents: dict[str, bytes] = {}
    names_bytes = 0
    try:
        while (member := _next_member(source, faults)) is not None:
            names_bytes += len(member.path) + len(member.target)
            _check_count(len(members), names_bytes, limits)
            members.append(member)
            if member.kind == "file" and wanted(member.path):
                contents[member.path] = source.read_file(member, limit_bytes=wanted_limit_bytes)
            else:
                source.skip(member.size_bytes, member.path)
            source.skip(-member.size_bytes % BLOCK, member.path)
        source.expect_zeros()
    except Unreadable as unreadable:
        unreadable.add_to(faults, otherwise="tar-structure")
        return None
    _check_tree(members, faults)
    return TarArchive(tuple(members), contents)


def _check_count(count: int, names_bytes: int, limits: ArchiveLimits) -> None:
    if count >= limits.members or names_bytes > limits.names_bytes:
        raise Unreadable(
            f"the archive has more than {limits.members:,} members, or too long paths", rule="archive-size"
        )


def _check_tree(members: list[TarMember], faults: Faults) -> None:
    tree = Tree(faults)
    files: set[str] = set()
    symlinks = {member.path for member in members if member.kind == "symlink"}
    for member in members:
        if fault := path_fault(member.path):
            faults.add("archive-paths", f"{member.path} {fault}")
        tree.enter(member.path, is_folder=member.kind == "folder")
        if member.kind == "file":
            files.add(member.path)
        elif member.kind == "hardlink" and member.target not in files:
            faults.add(
                "tar-links", f"{member.path} is a hard link to {member.target}, which is not a file before it"
            )
        elif member.kind == "symlink" and _leaves_archive(member, symlinks):
            faults.add(
                "tar-links", f"{member.path} is a symbolic link that may leave the archive: {member.target}"
            )
    tree.finish()


def _leaves_archive(link: TarMember, symlinks: set[str]) -> bool:
    """Whether following the link could leave the archive's top folder, also by way of another link."""
    *reached, _ = link.path.split("/")
    steps = link.target.split("/")
    for number, step in enumerate(steps, start=1):
        if step == ".":
            continue
        if step == ".." and reached:
            reached.pop()
        elif step == ".." or path_fault(step):
            return True
        else:
            reached.append(step)
        if number < len(steps) and "/".join(reached) in symlinks:
            return True
    return reached[:1] != [link.path.split("/", 1)[0]]


# --- headers ------------------------------------------------------------------------------------------------


@dataclass
class _Announced:
    """Facts about a member from the headers before it; ``None`` if they do not say."""

    path: str | None = None
    target: str | None = None
    size_bytes: int | None = None

    def add(self, path: str | None, target: str | None, size_bytes: int | None) -> None:
        """Add the facts of one more header; a repeated fact is refused."""
        pairs = ((self.path, path), (self.target, target), (self.size_bytes, size_bytes))
        if any(None not in pair for pair in pairs):
            raise Unreadable("the archive announces the path or size of a member twice")
        self.path = self.path if path is None else path
        self.target = self.target if target is None else target
        self.size_bytes = self.size_bytes if size_bytes is None else size_bytes


def _next_member(source: _Inflated, faults: Faults) -> TarMember | None:
    """The next member with its long names applied, its data not yet read; ``None`` at the end mark."""
    announced, announcing = _Announced(), b""
    while (block := source.read(BLOCK)) != bytes(BLOCK):
        path, kind, size_bytes, target = _header(block)
        if kind not in (b"L", b"K", b"x", b"g"):
            return _member(path, kind, size_bytes, target, announced=announced, faults=faults)
        if kind in announcing or (kind == b"g" and announcing):
            # Some readers combine all of them, others take only the last one.
            raise Unreadable("the archive announces a member in a way that not every tool reads")
        if size_bytes > LONGEST_RECORD_BYTES:
            raise Unreadable(f"the archive has a header of {size_bytes:,} bytes")
        record = source.read_exactly(size_bytes, "a header")
        if source.read_exactly(-size_bytes % BLOCK, "a header").strip(b"\0"):
            # Python's tarfile goes on reading names and pax records there.
            raise Unreadable("the archive has a header that continues after its end")
        announcing += kind
        if kind == b"L":
            announced.add(_text(record.rstrip(b"\0")), None, None)
        elif kind == b"K":
            announced.add(None, _text(record.rstrip(b"\0")), None)
        elif kind == b"x":
            records = _pax_records(record)
            announced.add(records.get("path"), records.get("linkpath"), _pax_size(records))
        elif _PAX_THAT_MOVE & _pax_records(record).keys():
            raise Unreadable("the archive has pax records that rename or resize all members")
    if announcing:
        raise Unreadable("the archive ends after a header that announces a member")
    return None


def _pax_size(records: dict[str, str]) -> int | None:
    size = records.get("size")
    if size is None:
        return None
    if re.fullmatch(r"[0-9]{1,15}", size) is None:
        raise Unreadable("the archive has a pax record with a malformed size")
    return int(size)


def _member(
    path: str, kind: bytes, size_bytes: int, target: str, *, announced: _Announced, faults: Faults
) -> TarMember:
    path = path if announced.path is None else announced.path
    target = target if announced.target is None else announced.target
    if kind not in _KINDS:
        raise Unreadable(f"{path} is not a file, folder or link (tar type {kind!r})", rule="tar-members")
    known = _KINDS[kind]
    if announced.size_bytes not in (None, size_bytes):
        raise Unreadable(f"{path} has one size in its header and another in its pax record")
    if known != "file" and size_bytes:
        raise Unreadable(f"{path} is a {known}, but has a size")
    if known == "folder":
        path = path.removesuffix("/")
    elif path.endswith("/"):
        faults.add("archive-paths", f"{path} is a {known}, but its path ends with a slash")
    return TarMember(path, known, size_bytes, target)


def _header(block: bytes) -> tuple[str, bytes, int, str]:
    """(path, type, size, link target) of one 512-byte header."""
    if len(block) < BLOCK:
        raise Unreadable("the archive is cut off, or lacks its end mark")
    checksum = _OCTAL.fullmatch(block[148:156])
    if checksum is None or int(checksum[1], 8) != sum(block) - sum(block[148:156]) + 8 * 32:
        raise Unreadable("the archive has a damaged header, or is not a tar archive")
    magic = block[257:263]
    if magic not in (b"ustar\0", b"ustar "):
        raise Unreadable(
            "the archive has a header of the old tar format; build it with a current tool", rule="tar-format"
        )
    for begin, end in _NOTED_NUMBERS:
        if block[begin] != _BINARY_NUMBER and not _OCTAL_OR_NOTHING.fullmatch(block, begin, end):
            raise Unreadable("the archive has a header with a malformed number")
    path = _text(block[:100].split(b"\0", 1)[0])
    if block[156] == 0 and path.endswith("/"):
        raise Unreadable(
            f"{path} is a folder of the old tar format; build it with a current tool", rule="tar-format"
        )
    if prefix := block[345:500].split(b"\0", 1)[0]:
        if magic != b"ustar\0":
            raise Unreadable(
                f"{path} has a GNU header with times or a path that not every tool reads", rule="tar-format"
            )
        path = f"{_text(prefix)}/{path}"
    return path, block[156:157], _number(block[124:136]), _text(block[157:257].split(b"\0", 1)[0])


def _number(field: bytes) -> int:
    """An octal number; the binary form of GNU tar is not needed below 8 GiB, and is refused."""
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise Unreadable("the archive has a header with a malformed number")
    return int(match[1], 8)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = raw.decode("ascii", "backslashreplace")
        raise Unreadable(f"{shown} has a path that is not UTF-8", rule="archive-paths") from error


def _pax_records(data: bytes) -> dict[str, str]:
    """The records (decimal length, blank, key, equals sign, value, newline) by key; each key once."""
    records: dict[str, str] = {}
    position = 0
    while position < len(data):
        match = re.compile(rb"([1-9]\d{0,6}) ([^=\n]+)=").match(data, position)
        end = position + int(match[1]) if match else 0
        if match is None or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise Unreadable("the archive has malformed pax records")
        key, value = _text(match[2]), data[match.end() : end - 1]
        if key in records or key.startswith("GNU.sparse.") or key == "hdrcharset":
            raise Unreadable(f"the archive has a repeated pax record, or one not every tool reads: {key}")
        if key in _PAX_NUMBERS and not _PAX_NUMBER.fullmatch(value):
            raise Unreadable(f"the archive has a pax record with a malformed number: {key}")
        records[key] = _text(value) if key in _PAX_THAT_MOVE else ""
        position = end
    return records


# --- the gzip stream ----------------------------------------------------------------------------------------


class _Inflated:
    """The bytes inside a gzip stream of one member; stops at the limits before it has inflated much more."""

    def __init__(self, stream: BinaryIO, size_bytes: int, limits: ArchiveLimits) -> None:
        self._stream = stream
        self._size_bytes = size_bytes
        self._limits = limits
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        self._buffer = b""
        self._position = 0
        self._produced = 0

    def read(self, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end of the stream."""
        end = self._position + length
        if end <= len(self._buffer):
            data = self._buffer[self._position : end]
            self._position = end
            return data
        parts = [self._buffer[self._position :]]
        missing = length - len(parts[0])
        self._buffer, self._position = b"", 0
        while missing and (chunk := self._next_chunk()):
            parts.append(chunk[:missing])
            self._buffer, self._position = chunk, min(missing, len(chunk))
            missing -= self._position
        return b"".join(parts)

    def read_exactly(self, length: int, what: str) -> bytes:
        """``length`` bytes; raises Unreadable when the stream ends before."""
        data = self.read(length)
        if len(data) != length:
            raise Unreadable(f"the archive is cut off in {what}")
        return data

    def read_file(self, member: TarMember, *, limit_bytes: int) -> bytes:
        """The content of a file that is to be kept; raises Unreadable when it is over the limit."""
        if member.size_bytes > limit_bytes:
            raise Unreadable(
                f"{member.path} has {member.size_bytes:,} bytes, more than {limit_bytes:,}",
                rule="metadata-size",
            )
        return self.read_exactly(member.size_bytes, member.path)

    def skip(self, length: int, what: str) -> None:
        """Pass over ``length`` bytes without keeping them."""
        while length:
            length -= len(self.read_exactly(min(length, CHUNK_BYTES), what))

    def expect_zeros(self) -> None:
        """Read to the end of the file: one more zero block at least, zeros only, then nothing."""
        block = self.read(BLOCK)
        if block != bytes(BLOCK):
            raise Unreadable("the archive has data after its end mark, or only half an end mark")
        while rest := self.read(CHUNK_BYTES):
            if rest.count(0) != len(rest):
                raise Unreadable("the archive has data after its end mark")
        if not self._inflater.eof:
            raise Unreadable("the gzip stream is cut off")
        if self._inflater.unused_data or self._stream.read(1):
            raise Unreadable("the file continues after its gzip stream")

    def _next_chunk(self) -> bytes:
        while not self._inflater.eof:
            compressed = self._inflater.unconsumed_tail or self._stream.read(CHUNK_BYTES)
            try:
                chunk = self._inflater.decompress(compressed, CHUNK_BYTES)
            except zlib.error as error:
                raise Unreadable("the file is not a gzip stream, or is damaged") from error
            self._produced += len(chunk)
            if bomb := self._limits.bomb_fault(self._produced, self._size_bytes):
                raise Unreadable(bomb, rule="archive-size")
            if chunk:
                return chunk
            if not compressed:
                raise Unreadable("the gzip stream is cut off")
        return b""
