"""Compiled modules of Linux: which sections two of them differ in, and why that usually is.

Two builds of one commit should give the same module. When they do not, the section that differs tells the
reason: debug information holds paths, read-only data holds versions and times, code depends on the compiler.

Source: System V ABI, "Object Files" (ELF), 32 and 64 bit, both byte orders.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from os.path import commonprefix

MAGIC = b"\x7fELF"
_NO_BITS = 8
"""The type of a section without content in the file, such as ``.bss``."""
_MOST_NAMED = 6
_LONGEST_TEXT = 60

_CAUSES = {
    ".rodata": "a constant: a version, a time (__DATE__, __TIME__) or a path (__FILE__)",
    ".text": "code: another compiler, other options, or other libraries to inline from",
    ".dynstr": "names of symbols, or the folders in which libraries are looked for (RPATH)",
    ".dynamic": "libraries that the module needs, or where they are looked for (RPATH)",
    ".data": "an initial value: a version, a time or a path",
    ".comment": "another version of the compiler",
    ".debug": "debug information: a folder of the build, or another compiler or its options",
    ".gnu_debuglink": "the name of the file with debug information, and its checksum",
    ".note.gnu.build-id": "a digest of the whole file, which follows from the rest",
}
"""Beginning of a section's name → what is in it; the first one that differs is the likeliest reason."""


@dataclass(frozen=True)
class Section:
    """A named part of an ELF file."""

    name: str
    content: bytes


def sections_of(content: bytes) -> tuple[Section, ...]:
    """The sections of an ELF file in their order; empty if it is none or is damaged."""
    try:
        return _sections(content)
    except (struct.error, IndexError, UnicodeDecodeError):
        return ()


def differing_sections(one: bytes, other: bytes) -> tuple[str, ...]:
    """The names of the sections in which two ELF files differ, the likeliest reason first."""
    left = {section.name: section.content for section in sections_of(one)}
    right = {section.name: section.content for section in sections_of(other)}
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    return tuple(sorted(names, key=_rank))


def explain_difference(one: bytes, other: bytes) -> str | None:
    """In which sections two compiled modules differ, the usual cause, and the first text that only one has.

    ``None`` if they are no ELF files, or equal in all sections.
    """
    names = differing_sections(one, other)
    if not names:
        return None
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    said = f"differs in {', '.join(names[:_MOST_NAMED])}{more}"
    causes = [cause for beginning, cause in _CAUSES.items() if names[0].startswith(beginning)]
    if causes:
        said += f" ({names[0]} is {causes[0]})"
    texts = _texts_of_one(one, other, names)
    return f"{said}; {texts}" if texts else said


def _texts_of_one(one: bytes, other: bytes, names: tuple[str, ...]) -> str | None:
    """The first text in the differing sections that only one of both files has, from either."""
    left, right = (_all_texts(content, names) for content in (one, other))
    gone, new = sorted(left - right), sorted(right - left)
    if not gone or not new:
        return None
    # Long paths often have the same beginning: what counts is where they part.
    start = max(0, len(commonprefix([gone[0], new[0]])) - _LONGEST_TEXT // 3)  # noqa: RUF071 - of texts
    shown = [("…" if start else "") + text[start : start + _LONGEST_TEXT] for text in (gone[0], new[0])]
    return f'"{shown[0]}" became "{shown[1]}"'


def _rank(name: str) -> int:
    ranks = [rank for rank, beginning in enumerate(_CAUSES) if name.startswith(beginning)]
    return ranks[0] if ranks else len(_CAUSES)


def _all_texts(content: bytes, names: tuple[str, ...]) -> set[str]:
    named = [section for section in sections_of(content) if section.name in names]
    return {text for section in named for text in _texts(section.content)}


def _texts(content: bytes) -> list[str]:
    """Texts of at least five characters that hold a digit, a slash or a blank: not names of symbols alone."""
    found = (match[0].decode("ascii") for match in re.finditer(rb"[\x20-\x7e]{5,}", content))
    return [text for text in found if re.search(r"[0-9/ ]", text)]


def _sections(content: bytes) -> tuple[Section, ...]:
    if content[:4] != MAGIC:
        return ()
    is_64, order = content[4] == 2, "<" if content[5] == 1 else ">"
    offset_at, counts_at = (40, 58) if is_64 else (32, 46)
    (offset,) = struct.unpack_from(f"{order}{'Q' if is_64 else 'I'}", content, offset_at)
    entry_size, count, names_at = struct.unpack_from(f"{order}HHH", content, counts_at)
    form = f"{order}IIQQQQ" if is_64 else f"{order}IIIIII"
    headers = [struct.unpack_from(form, content, offset + number * entry_size) for number in range(count)]
    if not headers:
        return ()
    names = _content_of(content, headers[names_at])
    found = []
    for header in headers:
        name = names[header[0] : names.index(b"\0", header[0])].decode("ascii") if names else ""
        if name and header[1] != _NO_BITS:
            found.append(Section(name, _content_of(content, header)))
    return tuple(found)


def _content_of(content: bytes, header: tuple[int, ...]) -> bytes:
    _, _, _, _, offset, size = header
    return content[offset : offset + size]
