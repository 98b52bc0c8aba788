"""Shelves: the 256 folders that blobs lie in, ``blobs/ab/<sha256>``, all made before the first blob.

A folder made on the way would have to be synced, and its parent too, before the first blob in it may be
acknowledged. Stores made earlier had two levels, ``blobs/ab/cd/<sha256>``, and paid for that with nearly
every upload; opening such a store moves its blobs up.

``prepare_shelves`` may run in several processes at once and be killed at any line: a file says when all is
done, and until it is there the next process does everything again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from conveyor.blobs.folders import make_durable_folders, sync_folder
from conveyor.domain.words.notation import is_sha256
from conveyor.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

SHELVES = tuple(f"{number:02x}" for number in range(256))
"""In the order of digests."""
READY = "shelves-ready"
"""Lies beside the shelves when they are made, durable, and hold every blob."""
TEMPORARY, LOCKS = "temporary", "locks"
"""Folders beside the shelves: for what is being written, and for the files that locks are held on."""


def blob_path(root: Path, sha256: str) -> Path:
    """Where a blob lies in a folder of blobs, or would lie; raises NotFound for what is no digest."""
    if not is_sha256(sha256):
        raise NotFound(f'"{sha256[:64]}" is no SHA-256 digest')
    return root / sha256[:2] / sha256


def is_blob_path(path: Path) -> bool:
    """Whether a file lies where the blob of its name belongs."""
    return is_sha256(path.name) and path.parent.name == path.name[:2]


def prepare_shelves(root: Path) -> None:
    """Make the shelves of a folder of blobs, and bring older blobs onto them. Raises OSError."""
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
    """Make the folder for its owner alone: blobs of private indexes are no other user's of the machine.

    A folder that is there already is left as its owner made it.
    """
    if not root.parent.exists():
        make_durable_folders(root.parent)
    root.mkdir(mode=0o700, exist_ok=True)
    sync_folder(root.parent)


def _move_up(shelf: Path) -> None:
    """Bring the blobs of ``ab/cd/`` into ``ab/``; somebody else may be doing the same."""
    for folder in [path for path in shelf.iterdir() if path.name in SHELVES]:
        with suppress(FileNotFoundError):
            for path in list(folder.iterdir()):
                with suppress(FileNotFoundError):
                    path.rename(shelf / path.name)
            # First the new names: a file system need not keep the order of renames on its own.
            sync_folder(shelf)
            sync_folder(folder)
            folder.rmdir()
