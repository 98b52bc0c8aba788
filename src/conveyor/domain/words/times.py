"""Times as the store writes them: UTC, ISO 8601, microseconds, ``Z``; the order of texts is that of times."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(moment: datetime) -> str:
    """A moment with a time zone as ``2026-11-21T08:00:00.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_utc_text(text: str) -> datetime:
    """The moment that ``utc_text`` wrote; raises ``ValueError`` when the text is not of that form."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
