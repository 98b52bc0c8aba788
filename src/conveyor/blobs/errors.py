"""Errors of the operating system as errors of ours: what could not be done, and what to do now."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conveyor.errors import StorageFailed, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator


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
