"""Folders, made so that they survive a power cut, and errors of the operating system as errors of ours.

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
    """Whether every user of the machine may read a file or folder, as far as it and its folder say."""
    return bool(path.stat().st_mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durable(descriptor: int, content: bytes) -> None:
    """Write bytes to the disk, as the content of a new file; its name is durable when its folder was synced.

    Raises OSError; what was written until then is left.
    """
    # No file object: it asks the system three more questions, and other threads go first after each answer.
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
