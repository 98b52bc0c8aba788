"""Disks that fail: blob stores on a real folder that behaves as a full one."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from io import FileIO
from typing import TYPE_CHECKING, BinaryIO, cast

from conveyor.blobs.filesystem import FilesystemBlobs, TemporaryFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FullAfter(FilesystemBlobs):
    """A blob store on a disk where each file finds room for so many bytes, and no more."""

    def __init__(self, root: Path, free_bytes: int) -> None:
        super().__init__(root)
        self._free_bytes = free_bytes

    @contextmanager
    def new_temporary(self) -> Iterator[TemporaryFile]:
        with super().new_temporary() as temporary, _Filling(temporary.path, self._free_bytes) as file:
            yield TemporaryFile(temporary.path, cast("BinaryIO", file))


class _Filling(FileIO):
    """A file on a disk with little room."""

    def __init__(self, path: Path, free_bytes: int) -> None:
        super().__init__(path, "r+b")
        self._free_bytes = free_bytes

    def write(self, chunk: bytes) -> int:  # type: ignore[override]  # callers here write bytes only
        self._free_bytes -= len(chunk)
        if self._free_bytes < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(chunk)
