"""Blobs as files: ``blobs/ab/<sha256>``, and ``blobs/temporary/`` for what is being written.

A blob becomes visible by one rename, after its bytes are on the disk: file written → fsync of the file →
rename → fsync of the folder, one of those that ``blobs.shelves`` has made.

A blob that is here already is replaced all the same: the bytes are equal by their digest, a copy that the
disk has damaged is mended by it, and garbage collection sees that it is another file than the one it meant to
remove (``blobs.exclusion``). What lies here is listed and set aside by ``blobs.inventory``.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.blobs.errors import storage_errors
from conveyor.blobs.exclusion import Exclusion
from conveyor.blobs.folders import make_durable_folders, sync_folder, write_durable
from conveyor.blobs.shelves import LOCKS, TEMPORARY, blob_path, prepare_shelves
from conveyor.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from conveyor.blobs import Temporary

LEFTOVER_AGE_SECONDS = 3600.0
"""A temporary that nobody has written to for so long belongs to a process that is gone."""


@dataclass(frozen=True)
class TemporaryFile:
    """A file in ``blobs/temporary/``, open for writing and reading."""

    path: Path
    file: BinaryIO

    def write(self, chunk: bytes) -> None:
        """Append a chunk; raises StorageFailed, as when the disk is full."""
        with storage_errors("a file can not be written to disk"):
            self.file.write(chunk)


class FilesystemBlobs:
    """The blob store on a local disk; see the module."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / TEMPORARY
        locks = root / LOCKS
        self.exclusion = Exclusion(locks)
        with storage_errors(f"the folder of blobs {root} can not be made"):
            prepare_shelves(root)
            for folder in (self._temporary, locks):
                folder.mkdir(exist_ok=True)

    @property
    def root(self) -> Path:
        """The folder that holds everything."""
        return self._root

    def adding(self) -> AbstractContextManager[None]:
        """No blob is removed while inside."""
        return self.exclusion.adding()

    @contextmanager
    def new_temporary(self) -> Iterator[TemporaryFile]:
        """A fresh file on the same disk; removed on leaving unless it was adopted."""
        path = self._temporary_path()
        with storage_errors("a temporary file can not be made"):
            file = path.open("x+b")
        try:
            yield TemporaryFile(path, file)
        finally:
            with suppress(OSError):  # bytes that could not be flushed were not adopted either
                file.close()
            with suppress(OSError):
                path.unlink()

    def adopt(self, temporary: Temporary, sha256: str) -> None:
        """Make the temporary's bytes durable as the blob ``sha256``."""
        with storage_errors(f"blob {sha256} can not be written"):
            temporary.file.flush()
            os.fsync(temporary.file.fileno())
            self._make_visible(temporary.path, sha256)

    def put(self, content: bytes) -> str:
        """Store a small content; returns its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._temporary_path()
        with storage_errors(f"blob {sha256} can not be written"):
            try:
                write_durable(path, content)
                self._make_visible(path, sha256)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return sha256

    def open(self, sha256: str) -> BinaryIO:
        """The bytes; raises NotFound when there is no such blob."""
        with storage_errors(f"blob {sha256} can not be read"):
            try:
                return self.path(sha256).open("rb")
            except FileNotFoundError as error:
                raise NotFound(f"there is no blob {sha256}") from error

    def size(self, sha256: str) -> int:
        """How many bytes the blob has; raises NotFound."""
        with storage_errors(f"blob {sha256} can not be read"):
            try:
                return self.path(sha256).stat().st_size
            except FileNotFoundError as error:
                raise NotFound(f"there is no blob {sha256}") from error

    def has(self, sha256: str) -> bool:
        """Whether the blob is here."""
        with storage_errors(f"blob {sha256} can not be read"):
            return self.path(sha256).exists()

    def path(self, sha256: str) -> Path:
        """Where the blob is, or would be."""
        return blob_path(self._root, sha256)

    def remove_leftovers(self) -> int:
        """Remove temporaries that nobody has written to for an hour; returns how many."""
        oldest = time.time() - LEFTOVER_AGE_SECONDS
        removed = 0
        with storage_errors("leftovers of crashed processes can not be removed"):
            for path in list(self._temporary.iterdir()):
                with suppress(FileNotFoundError):  # another process removes leftovers too
                    if path.stat().st_mtime < oldest:
                        path.unlink()
                        removed += 1
        return removed

    def _temporary_path(self) -> Path:
        return self._temporary / f"{os.getpid()}-{secrets.token_hex(8)}"

    def _make_visible(self, path: Path, sha256: str) -> None:
        """Give a file whose bytes are on the disk the name of its blob, durably."""
        target = self.path(sha256)
        try:
            path.rename(target)
        except FileNotFoundError:  # somebody copied this store without its empty folders
            make_durable_folders(target.parent)
            path.rename(target)
        sync_folder(target.parent)
