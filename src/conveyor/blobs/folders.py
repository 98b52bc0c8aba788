"""Makes folders that survive a power cut, and turns errors of the operating system into errors of ours.

A new name is durable when its folder has been synced. An error says what could not be done, and what to do
now.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conveyor.errors import StorageFailed, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_durable_folders(folder: Path) -> None:
    """Make a folder and its missing parents so that they survive a power cut."""
    missing = [folder, *(parent for parent in folder.parents if not parent.exists())]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def is_open_to_others(path: Path) -> bool:
    """Whether every user of the machine may read a file or folder, by its mode and that of its folder."""
    return bool(path.stat().st_mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durable(descriptor: int, content: bytes) -> None:
    """Write bytes to the disk, as the content of a new file; its name is durable once its folder is synced.

    Raises OSError, and leaves the file as far as it was written.
    """
    # Not a file object: that makes three more system calls, and other threads may run after each.
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an OSError into an error of ours; ``what`` says what could not be done.

    Raises:
        StorageFull: no space is left, or no quota.
        StorageFailed: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"{what}: the disk is full", hint="free some space, then try again; nothing was stored"
            ) from error
        raise StorageFailed(f"{what}: {error.strerror or error}", hint=_hint(error)) from error


def _hint(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "the store's process must be allowed to write there"
    return "nothing was stored; look at the disk, then try again"
