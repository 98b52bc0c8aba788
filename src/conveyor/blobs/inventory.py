"""The files in a folder of blobs: each listed with its identity, hashed, removed or set aside.

Only for maintaining a store (``fsck``, ``gc``, ``backup``); serving does not use it. A file is removed or set
aside only while it is the one that was listed: an upload of the same digest meanwhile has put another file in
its place, and that one stays. ``blobs.exclusion`` says which locks this takes.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from conveyor.blobs.filesystem import LOCKS, READY, SHELVES, TEMPORARY, FilesystemBlobs, is_blob_path
from conveyor.blobs.folders import make_durable_folders, storage_errors, sync_folder
from conveyor.domain.words.notation import is_sha256
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conveyor.blobs import BlobStore

QUARANTINE = "quarantine"
_OURS = frozenset({*SHELVES, READY, TEMPORARY, LOCKS, QUARANTINE, "lost+found"})
"""Entries directly in a folder of blobs; the last is made by mkfs, if the folder is a disk of its own."""
READ_AT_ONCE_BYTES = 1024 * 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as it was when it was looked at."""

    path: Path
    size_bytes: int
    changed_at: float
    """When its content was written, in seconds since 1970 (UTC)."""
    identity: tuple[int, ...]
    """Device, number, times of content and of inode: equal only while it is the same, unchanged file."""

    @property
    def name(self) -> str:
        """The digest, if the file is a blob."""
        return self.path.name

    def is_alike(self, other: ListedFile) -> bool:
        """Whether it is the same file with the same content; it may have gained another link meanwhile."""
        return (self.size_bytes, self.identity[:3]) == (other.size_bytes, other.identity[:3])


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file whose every byte was read."""

    file: ListedFile
    sha256: str
    size_bytes: int


def local_blobs(blobs: BlobStore) -> FilesystemBlobs:
    """The folder of blobs on this machine; raises InvalidInput when they are elsewhere."""
    if isinstance(blobs, FilesystemBlobs):
        return blobs
    raise InvalidInput("the bytes of this store are not in a folder of this machine")


def listed_blobs(blobs: FilesystemBlobs) -> Iterator[ListedFile]:
    """Every blob, in order of digest; each folder is read only when it is reached."""
    for shelf in SHELVES:
        for path in _names(blobs.root / shelf):
            if is_blob_path(path):
                listed = look_at(path)
                if listed is not None:
                    yield listed


def stray_files(blobs: FilesystemBlobs) -> Iterator[ListedFile]:
    """Files that are not where a blob of their name belongs: on a shelf, or beside them named by a digest."""
    for path in _beside_the_shelves(blobs):
        listed = look_at(path) if is_sha256(path.name) else None
        if listed is not None:
            yield listed
    for shelf in SHELVES:
        for path in _names(blobs.root / shelf):
            listed = None if is_blob_path(path) else look_at(path)
            if listed is not None:
                yield listed


def foreign_files(blobs: FilesystemBlobs) -> Iterator[ListedFile]:
    """Files and folders beside the shelves that were never blobs; a folder counts as one."""
    for path in _beside_the_shelves(blobs):
        listed = None if is_sha256(path.name) else look_at(path)
        if listed is not None:
            yield listed


def look_at(path: Path) -> ListedFile | None:
    """The file at a path as it is now; ``None`` if the path does not exist."""
    with storage_errors(f"{path} cannot be examined"):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
    return ListedFile(path, found.st_size, found.st_mtime, _identity(found))


def hash_file(path: Path) -> HashedFile | None:
    """Digest and length of a file's bytes, in constant memory; ``None`` if there is no such file.

    Raises:
        StorageFailed: the disk cannot read it.
    """
    with storage_errors(f"{path} cannot be read"):
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            return None
        with file:
            found = os.fstat(file.fileno())
            digest, size = hashlib.sha256(), 0
            buffer = memoryview(bytearray(min(READ_AT_ONCE_BYTES, found.st_size + 1)))
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                size += count
    listed = ListedFile(path, found.st_size, found.st_mtime, _identity(found))
    return HashedFile(listed, digest.hexdigest(), size)


def remove_listed(file: ListedFile) -> bool:
    """Remove a file if it is still the one that was listed; returns whether it was. Needs ``removing``."""
    if look_at(file.path) != file:
        return False
    with storage_errors(f"{file.path} cannot be removed"), suppress(FileNotFoundError):
        file.path.unlink()
    return True


def set_aside(blobs: FilesystemBlobs, file: ListedFile) -> Path | None:
    """Move a file to the quarantine if it is still the one that was listed; returns its new path.

    ``None``: it is another file by now. Needs ``removing`` when the file has the name of a blob.
    """
    if look_at(file.path) != file:
        return None
    folder = blobs.root / QUARANTINE
    with storage_errors(f"{file.path} cannot be set aside"):
        make_durable_folders(folder)
        number = 1
        while (target := folder / f"{file.name}.{number}").exists():
            number += 1
        file.path.rename(target)
        sync_folder(folder)
        sync_folder(file.path.parent)
    return target


def quarantined(blobs: FilesystemBlobs, sha256: str) -> list[Path]:
    """The files that were set aside under the name of that digest."""
    return [path for path in _names(blobs.root / QUARANTINE) if path.name.partition(".")[0] == sha256]


def copy_blob(source: Path, target: FilesystemBlobs, sha256: str) -> bool:
    """Store the bytes of a file as the blob ``sha256``, if that is their digest; returns whether it is.

    Raises:
        StorageFailed: they cannot be read or written.
    """
    with storage_errors(f"{source} cannot be read"):
        try:
            file = source.open("rb", buffering=0)
        except FileNotFoundError:
            return False
    with file, target.new_temporary() as temporary:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(READ_AT_ONCE_BYTES))
        while True:
            with storage_errors(f"{source} cannot be read"):
                count = file.readinto(buffer)
            if not count:
                break
            digest.update(buffer[:count])
            temporary.write(bytes(buffer[:count]))
        if digest.hexdigest() != sha256:
            return False
        target.adopt(temporary, sha256)
    return True


def link_blob(source: Path, target: FilesystemBlobs, sha256: str) -> bool:
    """Make the blob ``sha256`` of ``target`` a hard link to a file; false where links are not possible.

    Not durable before the whole file system is (``sync_file_system``). Raises StorageFailed.
    """
    path = target.path(sha256)
    with storage_errors(f"{path} cannot be made"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            os.link(source, path)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
    return True


def sync_file_system(folder: Path) -> None:
    """Make everything durable that was written to the file system of a folder. Raises StorageFailed."""
    with storage_errors(f"the disk of {folder} cannot be written"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(descriptor)


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[Result]:
    """The function's result for each item, in order; only a few items are under way at a time."""
    waiting: deque[Callable[[], Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="care") as pool:
        for item in items:
            waiting.append(pool.submit(function, item).result)
            if len(waiting) >= 4 * threads:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def default_threads() -> int:
    """The number of processors, at most eight: hashing is CPU work, and disks serve few readers best."""
    return min(8, os.cpu_count() or 1)


def _beside_the_shelves(blobs: FilesystemBlobs) -> list[Path]:
    """Foreign entries directly in the folder of blobs, such as a file in a shelf's place."""
    found = _names(blobs.root)
    return [path for path in found if path.name not in _OURS or (path.name in SHELVES and not path.is_dir())]


def _names(folder: Path) -> list[Path]:
    """The entries of a folder, in order; empty if it does not exist."""
    with storage_errors(f"{folder} cannot be read"):
        try:
            return [folder / name for name in sorted(os.listdir(folder))]  # noqa: PTH208 - a tenth of the time
        except (FileNotFoundError, NotADirectoryError):
            return []


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
