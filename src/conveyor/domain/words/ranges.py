"""Byte ranges of a file, as a client asks for them (RFC 9110, section 14)."""

from __future__ import annotations

import re

MAX_RANGES = 16
"""If there are more, the answer is the whole file, as the standard allows. Installers ask for one."""

_RANGE = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")


def parse_ranges(header: str, size_bytes: int) -> list[tuple[int, int]] | None:
    """The ranges asked for, as (first, end) with the end excluded, in the order asked.

    ``None``: the header is to be ignored, since it is not well-formed, of another unit, or asks for more
    ranges or more bytes than the file has. An empty list: no range lies within the file (416).
    """
    unit, equals, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    found: list[tuple[int, int]] = []
    parts = [part.strip() for part in ranges.split(",")]
    if len(parts) > MAX_RANGES:
        return None
    for part in parts:
        match = _RANGE.fullmatch(part)
        if match is None or part == "-":
            return None
        first, last = match[1], match[2]
        if not first:  # the last so many bytes
            start, end = max(0, size_bytes - int(last)), size_bytes
        else:
            start, end = int(first), min(size_bytes, int(last) + 1 if last else size_bytes)
            if last and int(last) < start:
                return None
        if start < end:
            found.append((start, end))
    if sum(end - start for start, end in found) > size_bytes:
        return None  # overlapping ranges would make one request send the file many times
    return found


def etag_matches(header: str, etag: str, *, is_strong: bool = False) -> bool:
    """Whether a list of ETags names this one (RFC 9110, section 8.8.3.2), or is ``*``, which names any.

    ``If-None-Match`` compares weakly, ``If-Match`` strongly: there a weak ETag names nothing.
    """
    if header.strip() == "*":
        return True
    candidates = (candidate.strip() for candidate in header.split(","))
    return any((one if is_strong else one.removeprefix("W/")) == etag for one in candidates)
