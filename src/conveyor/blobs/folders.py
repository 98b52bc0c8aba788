"""Folders: made so that they survive a power cut, and who may read them.

A new name is durable when its folder has been synced.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
