"""Gzipped tar archives of every kind: sound in all formats, then damaged where it hurts.

``mutated_tar`` begins with an archive in one of the formats, overwrites fields of its headers and mostly
mends their checksums, puts headers that announce things (pax, GNU) where they belong and where not, and
moves blocks about. The gzip stream around it is damaged too, now and then.
"""

from __future__ import annotations

import gzip
import tarfile
from typing import TYPE_CHECKING

from distributions_made import tar_file, tar_gz_of
from fuzz.zip_mutations import damaged, layout

if TYPE_CHECKING:
    from random import Random

BLOCK = 512
FIELDS = layout(
    "name:100 mode:8 uid:8 gid:8 size:12 mtime:12 checksum:8 type:1 target:100 magic:8 uname:32 gname:32"
    " major:8 minor:8 prefix:155"
)
"""Field of a header → position and width (POSIX ustar)."""
_TEXTS = (
    *(b"", b"demo-1.0/a.py", b"demo-1.0/b/", b"demo-1.0", b"../a", b"/a", b"demo-1.0/a\0b", b"demo-1.0//a"),
    *("demo-1.0/ü".encode(), b"\xff", b"a\\b", b"demo-1.0/./a", b"x" * 100, b"demo-1.0/l", b"a.py"),
)
_NUMBERS = (
    *(b"", b"0", b"00000000000", b"00000000001\0", b"7777777\0", b"77777777777", b" 1 ", b"1\x002", b"-1"),
    *(b"0x1", b"0b1", b"1_0", b"8", b"\x80\0\0\0\0\0\0\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0" * 12),
)
_TYPES = (*(b"%d" % number for number in range(8)), b"\0", b"x", b"g", b"L", b"K", b"S", b"D", b"A", b"X")
_MAGICS = (
    b"ustar\x0000",
    b"ustar  \0",
    b"ustar\x00  ",
    b"ustar\0\0\0",
    bytes(8),
    b"ustar 00",
    b"USTAR\x0000",
)
_KEYS = (
    *("path", "linkpath", "size", "mtime", "uid", "uname", "comment", "hdrcharset", "GNU.sparse.map"),
    *("GNU.sparse.name", "GNU.sparse.major", "SCHILY.xattr.user.x", "path\n", "path ", "=path", "charset"),
)
_VALUES = ("", "demo-1.0/other.py", "../x", "12", "0", "3", "-1", "9" * 20, "x\0y", "a\nb", "ü", "BINARY")


def mutated_tar(chance: Random) -> bytes:
    """A gzipped archive; one in a few is sound."""
    blocks = [bytearray(block) for block in chance.choice(_SEEDS)]
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        chance.choice((_overwrite_field, _overwrite_field, _announce, _move))(blocks, chance)
    content = b"".join(blocks)
    if chance.random() < 0.1:
        content = damaged(content, chance)
    packed = gzip.compress(content, compresslevel=1, mtime=0)
    how = chance.random()
    if how < 0.03:
        packed += chance.choice((b"\0", packed, gzip.compress(b""), b"tail"))
    elif how < 0.06:
        packed = damaged(packed, chance)
    elif how < 0.08:
        half = len(content) // 2
        packed = gzip.compress(content[:half]) + gzip.compress(content[half:])
    return packed


def _overwrite_field(blocks: list[bytearray], chance: Random) -> None:
    header = chance.choice(_headers(blocks) or blocks)
    field = chance.choice(sorted(FIELDS))
    position, width = FIELDS[field]
    pool = {"type": _TYPES, "magic": _MAGICS}.get(
        field, _TEXTS if field in ("name", "target", "prefix", "uname", "gname") else _NUMBERS
    )
    value = chance.choice(pool)
    if pool is _NUMBERS and chance.random() < 0.5:
        value = b"%0*o\0" % (width - 1, chance.choice((0, 1, 511, 512, 513, 8**7 - 1)))
    header[position : position + width] = value[:width].ljust(width, b"\0")
    if field != "checksum" and chance.random() < 0.9:
        _mend_checksum(header)


def _announce(blocks: list[bytearray], chance: Random) -> None:
    """Put a header that says something of the next member before a block, mostly before a header."""
    kind = chance.choice((b"x", b"x", b"g", b"L", b"K"))
    body = chance.choice(_TEXTS) + bytes(chance.choice((0, 1)))
    if kind in (b"x", b"g"):
        body = b"".join(
            pax_record(chance.choice(_KEYS), chance.choice(_VALUES)) for _ in range(chance.choice((1, 1, 2)))
        )
        if chance.random() < 0.1:
            body = damaged(body, chance)
    header = bytearray(tar_file("announced", kind=kind).tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"%011o\0" % len(body)
    _mend_checksum(header)
    padded = body + bytes(-len(body) % BLOCK)
    at = chance.randrange(len(blocks))
    if chance.random() < 0.8:
        at = blocks.index(chance.choice(_headers(blocks) or blocks))
    blocks[at:at] = [header, *(bytearray(padded[i : i + BLOCK]) for i in range(0, len(padded), BLOCK))]


def _move(blocks: list[bytearray], chance: Random) -> None:
    """Exchange, repeat, drop or empty a block."""
    first, second = chance.randrange(len(blocks)), chance.randrange(len(blocks))
    how = chance.choice(("swap", "repeat", "drop", "zero"))
    if how == "swap":
        blocks[first], blocks[second] = blocks[second], blocks[first]
    elif how == "repeat":
        blocks.insert(first, bytearray(blocks[second]))
    elif how == "zero":
        blocks[first] = bytearray(BLOCK)
    elif len(blocks) > 1:
        del blocks[first]


def pax_record(key: str, value: str) -> bytes:
    """One record, its length right."""
    rest = f" {key}={value}\n".encode()
    length = next(n for n in range(len(rest), len(rest) + 9) if len(str(n)) + len(rest) == n)
    return str(length).encode() + rest


def _headers(blocks: list[bytearray]) -> list[bytearray]:
    return [block for block in blocks if block[257:262] == b"ustar"]


def _mend_checksum(header: bytearray) -> None:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % (sum(header) % 8**6)


def _seed(tar_format: int) -> list[bytes]:
    long = "demo-1.0/" + "/".join(["folder"] * 20) + "/file.py"
    packed = tar_gz_of(
        [
            (tar_file("demo-1.0", kind=tarfile.DIRTYPE), b""),
            (tar_file("demo-1.0/a.py"), b"print()\n" * 90),
            (tar_file("demo-1.0/ü.py" if tar_format == tarfile.PAX_FORMAT else "demo-1.0/u.py"), b"1"),
            (tar_file("demo-1.0/l", kind=tarfile.SYMTYPE, target="a.py"), b""),
            (tar_file("demo-1.0/h", kind=tarfile.LNKTYPE, target="demo-1.0/a.py"), b""),
            (tar_file(long), b"2"),
            (tar_file("demo-1.0/PKG-INFO"), b"Name: demo\n"),
        ],
        tar_format=tar_format,
    )
    content = gzip.decompress(packed)
    return [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]


_SEEDS = [_seed(each) for each in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
