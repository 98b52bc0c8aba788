"""Advisory locks on files and folders, freed by the death of their holder."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def file_locked(path: Path, kind: int) -> Iterator[None]:
    """A file, made if it is not there, locked as ``flock`` has it; opened anew, so that threads exclude too.

    Raises:
        BlockingIOError: with ``LOCK_NB``, when somebody else holds it.
        OSError: it can not be opened or locked.
    """
    yield from _held(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), kind)


@contextmanager
def existing_file_locked(path: Path, kind: int) -> Iterator[None]:
    """A file that is there, locked; raises as ``file_locked``, and FileNotFoundError."""
    yield from _held(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), kind)


def new_file_held(path: Path) -> int | None:
    """The descriptor of a new file, locked until it is closed; raises OSError, also when the file is there.

    ``None``: who looks for files that nobody holds came between the making and the locking, and removed it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextmanager
def folder_locked(folder: Path, kind: int) -> Iterator[None]:
    """A folder locked; raises OSError as ``file_locked``."""
    yield from _held(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), kind)


def _held(descriptor: int, kind: int) -> Iterator[None]:
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
