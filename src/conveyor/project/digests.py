"""Digests of files on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.words.notation import sha256_of

if TYPE_CHECKING:
    from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return sha256_of(stream)
