"""How facts are written down: digests, moments of time, signed statements, and the reasons that people give.

Digests are lower case hex. Times are UTC in ISO 8601 with microseconds and ``Z``, so that the order of texts
is that of moments. A reason is said for a yank or a change of status, and shown to everybody who reads pages.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import IO

from conveyor.errors import InvalidInput

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""What a statement says that it is (in-toto attestation framework)."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What an envelope (DSSE) says that it holds."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 digest in lower case hex."""
    return _SHA256.fullmatch(text) is not None


def sha256_of(stream: IO[bytes]) -> str:
    """The digest of what is left to be read in a stream."""
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # readable is enough


def utc_text(moment: datetime) -> str:
    """A moment with a time zone as ``2026-11-21T08:00:00.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_utc_text(text: str) -> datetime:
    """The moment that ``utc_text`` wrote; raises ``ValueError`` when the text is not of that form."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


LONGEST_REASON = 1000
"""Characters."""


def checked_reason(text: str | None) -> str | None:
    """The reason without blanks around it; ``None`` when nothing is left.

    Raises:
        InvalidInput: it is too long, or holds more than one line or characters that nobody sees: installers
            write it to terminals.
    """
    reason = (text or "").strip()
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InvalidInput(
            f"the reason cannot be shown: one line of at most {LONGEST_REASON} printable characters can",
            hint="say it shorter, and put the details where they can be looked up",
        )
    return reason or None
