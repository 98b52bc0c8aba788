"""Keeps storing and removing blobs apart, between threads, processes and nodes that share a folder.

A blob is named by a row, but bytes are stored before rows: between the two, nothing names the blob. It must
not be taken for unnamed and removed while a writer is about to name it. So:

**An adder** holds ``adding`` (shared) from before the bytes are stored until the row is committed:

    a1 begin adding   a2 a new file is renamed to the digest's name   a3 the row is committed   a4 end

**A remover** goes through four steps (``operations.care.garbage``, ``operations.care.repairs``):

    c1 list the blobs, each with the identity of its file (number, time of change)
    c2 hold ``removing`` (exclusive) for a moment and release it: every earlier adder has ended
    c3 read which digests rows name; unnamed blobs may be removed
    c4 under ``removing``: remove a file that is still the one that was listed

Every interleaving of the two, by the moment of a3:

- *a3 before c3*: the row is seen, the blob stays.
- *a3 after c3*: then a4 is after c2. ``adding`` and ``removing`` exclude each other, so a1 is after c2 too,
  and with it a2 after c1: the name leads to another file than the one listed. Either a2 is before c4, then c4
  finds another file and leaves it; or c4 is before a1, then it removes the old file and a2 stores the bytes
  again. (c4 cannot lie between a1 and a4.)

That holds for any grace time, any delay, any clock. It rests on two things: storing always renames a new file
over the name, also when the blob is there already; and every row that promises bytes is committed inside the
``adding`` in which its blob was stored.

*Killed at any line*: the kernel frees the locks of dead processes. An adder that dies before a3 has
acknowledged nothing; one that dies after it is covered by the cases above, since its lock is freed later than
a3. Both databases have a state in between, "committing": PostgreSQL may complete a commit after its sender
has died, and SQLite may find, when it recovers after *all* processes were killed, a transaction whose writer
died before telling the others. A minimum grace time (``operations.care.garbage``) guards against the first;
the second cannot come back once another transaction has been written after it, so the remover writes its
event before c4. A remover that dies has removed unnamed blobs only.

*Nobody starves*: shared holders may follow each other without end, so all first pass a turnstile
(``turn``): adders for a moment, a remover until it holds the lock. ``removing`` is held for milliseconds.
So ``adding`` must not begin inside ``adding``: a remover in between would wait for the first, the second
for the remover.

A backup relies on blobs that rows named when it began, and whose rows may be deleted meanwhile. It holds
``keeping`` (shared) throughout; a remover holds ``alone_removing`` (exclusive, taken at once or not at all).

The locks are ``flock`` on files below ``blobs/locks/``, each opened for every use, so that threads of one
process exclude each other too. Nodes that share the folder need a file system that forwards ``flock`` (NFS 4
does).
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from conveyor.errors import Conflict, StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Exclusion:
    """The locks of one folder of blobs; see the module."""

    def __init__(self, folder: Path) -> None:
        """``folder``: an existing folder for the lock files."""
        self._folder = folder

    @contextmanager
    def adding(self) -> Iterator[None]:
        """While inside, nothing is removed; any number of holders may be inside."""
        with self._through_the_turnstile(fcntl.LOCK_SH):
            yield

    @contextmanager
    def removing(self) -> Iterator[None]:
        """While inside, nobody is adding; leave within milliseconds, since all adders wait."""
        with self._through_the_turnstile(fcntl.LOCK_EX):
            yield

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """While inside, no blob is removed, even when its row is; waits for a remover that is at work."""
        with self._locked("keeping", fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone_removing(self) -> Iterator[None]:
        """While inside, this is the only remover, and no backup is under way; raises Conflict otherwise."""
        with self._locked("keeping", fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def _through_the_turnstile(self, kind: int) -> Iterator[None]:
        with ExitStack() as held:
            with self._locked("turn", kind):
                held.enter_context(self._locked("adding", kind))
            yield

    @contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(file_locked(self._folder / name, kind))
            except BlockingIOError as error:
                raise Conflict(
                    "a backup, a repair or another collection of this store is under way",
                    hint="wait until it has ended, then try again",
                ) from error
            except OSError as error:
                raise StorageFailed(
                    f"the lock {self._folder / name} cannot be taken: {error.strerror or error}",
                    hint="this process must be able to write there, and the file system must support flock",
                ) from error
            yield


@contextmanager
def file_locked(path: Path, kind: int) -> Iterator[None]:
    """A file, made if missing, locked with ``flock``; opened for each use, so that threads exclude too.

    Raises:
        BlockingIOError: with ``LOCK_NB``, when another holder has it.
        OSError: it cannot be opened or locked.
    """
    yield from _held(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), kind)


@contextmanager
def existing_file_locked(path: Path, kind: int) -> Iterator[None]:
    """An existing file, locked; raises as ``file_locked``, and FileNotFoundError."""
    yield from _held(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), kind)


def new_file_held(path: Path) -> int | None:
    """The descriptor of a new file, locked until it is closed; raises OSError, also when the file exists.

    ``None``: a process that removes files without a holder came between making and locking, and removed it.
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
    """A locked folder; raises OSError as ``file_locked``."""
    yield from _held(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), kind)


def _held(descriptor: int, kind: int) -> Iterator[None]:
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
