"""Deletions: what was taken out of the store for ever."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeletedFile:
    """A distribution that was deleted; its filename is never given again."""

    filename: str
    version: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Deletion:
    """What was deleted of a project: files of one release, or of all."""

    project: str
    files: tuple[DeletedFile, ...]
    """By version as text, then filename."""

    @property
    def size_bytes(self) -> int:
        """What garbage collection will give back, of bytes that nothing else holds."""
        return sum(file.size_bytes for file in self.files)
