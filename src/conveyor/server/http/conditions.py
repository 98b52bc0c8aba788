"""Conditions that a request states in its header (RFC 9110, section 13), where no time is to be saved.

``If-None-Match`` of the hot path is read there; a request with ``If-Match`` takes the ordinary one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.words.ranges import etag_matches
from conveyor.errors import PreconditionFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

NOT_AT_ONCE = frozenset({b"authorization", b"if-match"})
"""Fields with which a request is not answered from memory without looking closer."""


def field_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The value of a field, its lines combined to one list (section 5.3); empty when there is none."""
    return ", ".join(value.decode("latin-1") for key, value in headers if key == name)


def has_already(headers: Iterable[tuple[bytes, bytes]], etag: str) -> bool:
    """Whether ``If-None-Match`` names the ETag (section 13.1.2): the answer is then 304."""
    return etag_matches(field_value(headers, b"if-none-match"), etag)


def wanted_range(headers: Collection[tuple[bytes, bytes]], etag: str) -> str:
    """The value of ``Range``; empty when there is none, or when ``If-Range`` is not this ETag (13.1.5)."""
    is_the_same = (field_value(headers, b"if-range") or etag).strip() == etag
    return field_value(headers, b"range") if is_the_same else ""


def must_match(headers: Iterable[tuple[bytes, bytes]], etag: str) -> None:
    """Raise PreconditionFailed when ``If-Match`` asks for other representations than that of the ETag."""
    wanted = field_value(headers, b"if-match")
    if wanted and not etag_matches(wanted, etag, is_strong=True):
        raise PreconditionFailed(
            f"what is here has the ETag {etag}, and not the one of If-Match",
            hint="it has changed since; ask for it without If-Match",
        )
