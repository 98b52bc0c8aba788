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
def folder_locked(folder: Path, kind: int) -> Iterator[None]:
    """A folder locked; raises OSError as ``file_locked``."""
    yield from _held(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), kind)


def _held(descriptor: int, kind: int) -> Iterator[None]:
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
