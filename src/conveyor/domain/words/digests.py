"""SHA-256 digests: computed of a stream, and told from other text. In every room they are lower case hex."""

from __future__ import annotations

import hashlib
import re
from typing import IO

_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 digest in lower case hex."""
    return _SHA256.fullmatch(text) is not None


def sha256_of(stream: IO[bytes]) -> str:
    """The digest of what is left to be read in a stream."""
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # readable is enough
