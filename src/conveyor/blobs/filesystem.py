"""Blobs as files: ``blobs/ab/<sha256>``, and ``blobs/temporary/`` for files being written.

A blob becomes visible by one rename, after its bytes are on the disk: file written → fsync of the file →
rename → fsync of the folder, one of those that ``blobs.filesystem`` has made.

The writer of a temporary holds a lock on it, which the kernel frees when the process dies, however it dies.
So a temporary that nobody holds belongs to a process that is gone, whatever its age.

A blob that exists already is still replaced: the bytes are equal by their digest, a copy that the disk has
damaged is thereby repaired, and garbage collection sees that it is not the file it meant to remove
(``blobs.exclusion``). ``blobs.inventory`` lists the files of this folder and sets them aside.

*Shelves* are the 256 folders that blobs lie in, all made before the first blob. A folder made on the way
would have to be synced, and its parent too, before the first blob in it may be acknowledged. Stores made
earlier had two levels, ``blobs/ab/cd/<sha256>``, and paid for that with nearly every upload; opening such a
store moves its blobs up. ``prepare_shelves`` may run in several processes at once and be killed at any line:
a marker file says when all is done, and until it exists the next process does everything again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.blobs.exclusion import Exclusion, existing_file_locked, new_file_held
from conveyor.blobs.folders import make_durable_folders, storage_errors, sync_folder, write_durable
from conveyor.domain.words.notation import is_sha256
from conveyor.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from conveyor.blobs import Temporary


@dataclass(frozen=True)
class TemporaryFile:
    """A file in ``blobs/temporary/``, open for writing and reading."""

    path: Path
    file: BinaryIO

    def write(self, chunk: bytes) -> None:
        """Append a chunk; raises StorageFailed, as when the disk is full."""
        with storage_errors("a file cannot be written to disk"):
            self.file.write(chunk)


class FilesystemBlobs:
    """The blob store on a local disk; see the module."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / TEMPORARY
        locks = root / LOCKS
        self.exclusion = Exclusion(locks)
        with storage_errors(f"the folder of blobs {root} cannot be made"):
            prepare_shelves(root)
            for folder in (self._temporary, locks):
                folder.mkdir(exist_ok=True)

    @property
    def root(self) -> Path:
        """The folder that holds everything."""
        return self._root

    def adding(self) -> AbstractContextManager[None]:
        """While inside, no blob is removed."""
        return self.exclusion.adding()

    @contextmanager
    def new_temporary(self) -> Iterator[TemporaryFile]:
        """A fresh file on the same disk; removed on leaving unless it was adopted."""
        with storage_errors("a temporary file cannot be made"):
            path, descriptor = self._hold_new()
            file = os.fdopen(descriptor, "w+b")
        try:
            yield TemporaryFile(path, file)
        finally:
            with suppress(OSError):  # bytes that could not be flushed were not adopted either
                file.close()
            with suppress(OSError):
                path.unlink()

    def adopt(self, temporary: Temporary, sha256: str) -> None:
        """Make the temporary's bytes durable as the blob ``sha256``."""
        with storage_errors(f"blob {sha256} cannot be written"):
            temporary.file.flush()
            os.fsync(temporary.file.fileno())
            self._make_visible(temporary.path, sha256)

    def put(self, content: bytes, sha256: str | None = None) -> str:
        """Store small content; returns its SHA-256."""
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        with storage_errors(f"blob {sha256} cannot be written"):
            path, descriptor = self._hold_new()
            try:
                write_durable(descriptor, content)
                self._make_visible(path, sha256)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)
        return sha256

    def open(self, sha256: str) -> BinaryIO:
        """The bytes; raises NotFound."""
        with storage_errors(f"blob {sha256} cannot be read"):
            try:
                return self.path(sha256).open("rb")
            except FileNotFoundError as error:
                raise NotFound(f"there is no blob {sha256}") from error

    def size(self, sha256: str) -> int:
        """The size of the blob in bytes; raises NotFound."""
        with storage_errors(f"blob {sha256} cannot be read"):
            try:
                return self.path(sha256).stat().st_size
            except FileNotFoundError as error:
                raise NotFound(f"there is no blob {sha256}") from error

    def has(self, sha256: str) -> bool:
        """Whether the blob exists."""
        with storage_errors(f"blob {sha256} cannot be read"):
            return self.path(sha256).exists()

    def path(self, sha256: str) -> Path:
        """The path where the blob is, or would be."""
        return blob_path(self._root, sha256)

    def remove_leftovers(self, *, is_dry: bool = False) -> list[int]:
        """Remove the temporaries that nobody holds, or only list them; returns the size of each, in bytes."""
        sizes = []
        with storage_errors("leftovers of crashed processes cannot be removed"):
            for entry in list(os.scandir(self._temporary)):
                path = self._temporary / entry.name
                # Gone: adopted meanwhile, or removed by another process.
                with suppress(FileNotFoundError, BlockingIOError):
                    if entry.is_file(follow_symlinks=False):
                        with existing_file_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                            size = path.lstat().st_size
                            if not is_dry:
                                path.unlink()
                        sizes.append(size)
        return sizes

    def _hold_new(self) -> tuple[Path, int]:
        """A new temporary, and its descriptor, which holds it until it is closed; raises OSError."""
        while True:
            path = self._temporary / f"{os.getpid()}-{secrets.token_hex(8)}"
            descriptor = new_file_held(path)
            if descriptor is not None:
                return path, descriptor

    def _make_visible(self, path: Path, sha256: str) -> None:
        """Give a file whose bytes are on the disk the name of its blob, durably."""
        target = self.path(sha256)
        try:
            path.rename(target)
        except FileNotFoundError:  # somebody copied this store without its empty folders
            make_durable_folders(target.parent)
            path.rename(target)
        sync_folder(target.parent)


SHELVES = tuple(f"{number:02x}" for number in range(256))
"""In order of digest."""
READY = "shelves-ready"
"""A file beside the shelves, present once they are durable and hold every blob."""
TEMPORARY, LOCKS = "temporary", "locks"
"""Folders beside the shelves: for files being written, and for lock files."""


def blob_path(root: Path, sha256: str) -> Path:
    """The path of a blob in a folder of blobs, existing or not; raises NotFound if it is not a digest."""
    if not is_sha256(sha256):
        raise NotFound(f'"{sha256[:64]}" is not a SHA-256 digest')
    return root / sha256[:2] / sha256


def is_blob_path(path: Path) -> bool:
    """Whether a file is where the blob of its name belongs."""
    return is_sha256(path.name) and path.parent.name == path.name[:2]


def prepare_shelves(root: Path) -> None:
    """Make the shelves of a folder of blobs, and move older blobs onto them. Raises OSError."""
    if (root / READY).exists():
        return
    _make_root(root)
    for name in SHELVES:
        (root / name).mkdir(exist_ok=True)
    sync_folder(root)
    for name in SHELVES:
        _move_up(root / name)
    with (root / READY).open("wb") as file:
        os.fsync(file.fileno())
    sync_folder(root)


def _make_root(root: Path) -> None:
    """Make the folder for its owner alone: other users of the machine must not read private indexes.

    An existing folder is left as its owner made it.
    """
    if not root.parent.exists():
        make_durable_folders(root.parent)
    root.mkdir(mode=0o700, exist_ok=True)
    sync_folder(root.parent)


def _move_up(shelf: Path) -> None:
    """Move the blobs of ``ab/cd/`` into ``ab/``; another process may be doing the same."""
    for folder in [path for path in shelf.iterdir() if path.name in SHELVES]:
        with suppress(FileNotFoundError):
            for path in list(folder.iterdir()):
                with suppress(FileNotFoundError):
                    path.rename(shelf / path.name)
            # First the new names: a file system need not keep the order of renames on its own.
            sync_folder(shelf)
            sync_folder(folder)
            folder.rmdir()
