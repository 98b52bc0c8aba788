"""Zip archives of every kind: made soundly or oddly, then damaged where it hurts.

``mutated_zip`` builds an archive of a few members, each with a chance of being odd (another method, another
local name, an offset that lies), and then overwrites fields of its records: the same field in one record or,
so that the lie is consistent, in all of them. Blind damage (bytes changed, cut, repeated) comes last.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from distributions_made import make_wheel
from domain.archives_made import ZipEntry, ZipFileMade

if TYPE_CHECKING:
    from random import Random

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR64 = b"PK\x06\x06", b"PK\x06\x07"


def layout(text: str) -> dict[str, tuple[int, int]]:
    """Field → (position, width) of a record whose fields follow each other: ``signature:4 version:2``."""
    fields: dict[str, tuple[int, int]] = {}
    position = 0
    for field in text.split():
        name, _, width = field.partition(":")
        fields[name] = (position, int(width))
        position += int(width)
    return fields


FIELDS = {
    LOCAL: layout(
        "signature:4 version:2 flags:2 method:2 time:2 date:2 crc32:4 packed:4 size:4 name:2 extra:2"
    ),
    CENTRAL: layout(
        "signature:4 made_by:2 version:2 flags:2 method:2 time:2 date:2 crc32:4 packed:4 size:4 name:2"
        " extra:2 comment:2 disk:2 internal:2 attributes:4 offset:4"
    ),
    END: layout("signature:4 disk:2 first_disk:2 here:2 count:2 directory:4 offset:4 comment:2"),
    END64: layout(
        "signature:4 record:8 made_by:2 version:2 disk:4 first_disk:4 here:8 count:8 directory:8 offset:8"
    ),
    LOCATOR64: layout("signature:4 disk:4 offset:8 disks:4"),
}
"""Signature of a record → its fields, little endian (APPNOTE 4.3)."""

_NAMES = (
    *(b"demo/__init__.py", b"demo/a.py", b"demo/A.py", b"demo/", b"demo", b"demo-1.0.dist-info/RECORD"),
    *("demo/ü.py".encode(), "demo/u\u0308.py".encode(), b"\xff.py", b"../a.py", b"/a.py", b"demo\\a.py"),
    *(b"demo/a.py\0.txt", b"demo//a.py", b"./a.py", b"demo/\x7f", b"C:a.py", b"", b"demo/.."),
)
_CONTENTS = (b"", b"1", b"print()\n" * 40, bytes(3000), LOCAL + bytes(30), CENTRAL + END + bytes(22))
_INTERESTING = (0, 1, 2, 8, 9, 20, 45, 63, 64, 0x800, 0x808, 0x7FFF, 0xFFFE, 0xFFFF)
_INTERESTING_WIDE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_EXTRAS = (
    *(b"", b"\x01", struct.pack("<2H", 0x5455, 0), struct.pack("<2H", 0xCAFE, 4) + b"1234"),
    *(struct.pack("<2H2Q", 1, 16, 1, 1), struct.pack("<2HQ", 1, 8, 0), struct.pack("<2H", 1, 0)),
    *(struct.pack("<2HBL", 0x7075, 6, 1, 0) + b"b", struct.pack("<2H", 9, 0) * 2),
)


def mutated_zip(chance: Random) -> bytes:
    """An archive; one in a few is sound."""
    content = bytearray(_made(chance) if chance.random() < 0.7 else _WHEEL)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        _overwrite_field(content, chance)
    if chance.random() < 0.2:
        content = bytearray(damaged(bytes(content), chance))
    return bytes(content)


def mutated_wheel(chance: Random) -> bytes:
    """A sound wheel with fields overwritten: what is accepted of these can be installed."""
    content = bytearray(_WHEEL)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _overwrite_field(content, chance)
    return bytes(content)


def damaged(content: bytes, chance: Random) -> bytes:
    """Any bytes, damaged without knowing what they are: changed, cut out, repeated or exchanged."""
    if len(content) < 4:
        return content
    first, second = sorted(chance.sample(range(len(content)), 2))
    how = chance.choice(("change", "cut", "insert", "repeat", "swap"))
    if how == "change":
        changed = bytearray(content)
        for _ in range(chance.randint(1, 5)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    return {
        "cut": content[:first] + content[second:],
        "insert": content[:first] + chance.randbytes(chance.randint(1, 30)) + content[first:],
        "repeat": content[:second] + content[first:],
        "swap": content[second:] + content[first:second] + content[:first],
    }[how]


def _made(chance: Random) -> bytes:
    entries = [_entry(chance) for _ in range(chance.randint(0, 4))]
    made = ZipFileMade(entries, zip64=chance.random() < 0.2)
    if entries and chance.random() < 0.1:
        made.directory = [chance.choice(entries) for _ in range(len(entries) + chance.choice((-1, 0, 1)))]
    if chance.random() < 0.05:
        made.before_end = chance.choice((b"gap", bytes(30), END + bytes(18)))
    if chance.random() < 0.05:
        made.comment = chance.choice((b"hello", END + bytes(18)))
    return made.written()


def _entry(chance: Random) -> ZipEntry:
    entry = ZipEntry(chance.choice(_NAMES[:5] if chance.random() < 0.8 else _NAMES), chance.choice(_CONTENTS))
    entry.method = chance.choice((0, 8))
    if entry.name.endswith(b"/"):
        entry.content, entry.attributes = b"", 0o40755 << 16
    if not entry.name.isascii():
        entry.flags = 0x800
    if chance.random() < 0.25:
        entry.extra = chance.choice(_EXTRAS)
    if chance.random() < 0.1:
        entry.local_extra = chance.choice(_EXTRAS)
    if chance.random() < 0.05:
        entry.local_name = chance.choice(_NAMES)
    if chance.random() < 0.05:
        entry.before = chance.choice((b"x", LOCAL + bytes(26)))
    if chance.random() < 0.05:
        entry.data = zlib.compress(entry.content, wbits=-15) + chance.choice((b"", b"\0", b"tail"))
    if chance.random() < 0.05:
        entry.size = chance.choice((0, len(entry.content) + 1, 0xFFFFFFFF))
    return entry


def _overwrite_field(content: bytearray, chance: Random) -> None:
    """Give a field another value, in one record or in every record that has it."""
    places = [(at, signature) for signature in FIELDS for at in _all_of(content, signature)]
    if not places:
        return
    at, signature = chance.choice(places)
    field = chance.choice(sorted(FIELDS[signature]))
    position, width = FIELDS[signature][field]
    old = int.from_bytes(content[at + position : at + position + width], "little")
    new = chance.choice((*_INTERESTING, *_INTERESTING_WIDE, old + 1, old - 1, chance.getrandbits(16)))
    everywhere = chance.random() < 0.5
    for start, kind in places if everywhere else [(at, signature)]:
        if field in FIELDS[kind]:
            position, width = FIELDS[kind][field]
            value = new % (1 << 8 * width)
            end = start + position + width
            if end <= len(content):
                content[start + position : end] = value.to_bytes(width, "little")


def _all_of(content: bytearray, signature: bytes) -> list[int]:
    found, at = [], content.find(signature)
    while at >= 0:
        found.append(at)
        at = content.find(signature, at + 1)
    return found


_WHEEL = make_wheel(extra={"demo/data.txt": b"text " * 200, "demo/ü.txt": b"1"}).content
