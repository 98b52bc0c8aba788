"""Which executors live: each holds a lock while it lives, which ends with its process however that ends.

An executor that can take the lock of another knows that the other is dead. Beside its own, an executor shares
the lock of its *place*: the state folder, on one machine, where the files of its runs lie. There are two
kinds of locks:

- ``LockedFiles``: files in the state folder, for executors of one machine;
- ``LockedNames``: advisory locks of a PostgreSQL session, for executors of any number of machines. The
  database ends a session when its process ends, and within seconds when its machine is gone, because it is
  asked to probe the connection every second.

A false alarm (the database was restarted, a machine was cut off) is harmless: the engine fences the former
owner of a workflow out at its next step.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from conveyor.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import psycopg

BEAT_SECONDS = 0.5
AWAY_SECONDS = 30.0
"""How long an executor waits for a database that is away, before it ends."""
_PROBES = "-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2"
_CUT_OFF = 70
"""Exit code of an executor that the database took for dead; EX_SOFTWARE of sysexits.h."""


class Liveness(Protocol):
    """The locks of executors, as one of them sees them."""

    def enter(self) -> None:
        """Take the executor's own locks.

        Raises:
            StorageFailed: they cannot be had.
        """

    def leave(self) -> None:
        """Give them back."""

    def is_alive(self, executor: str) -> bool:
        """Whether another process is that executor."""

    def is_inhabited(self, place: str) -> bool:
        """Whether an executor lives at a place."""

    def claimed(self, name: str) -> AbstractContextManager[bool]:
        """A context: hold the lock of a dead executor, or of work, to deal with it alone.

        Yields false if its executor lives, or if another one is dealing with it right now.
        """


class LockedFiles:
    """Locks on files of one folder; all executors that share it are at one place."""

    def __init__(self, folder: Path, executor: str) -> None:
        self._folder = folder
        self._executor = executor
        self._lock: int | None = None

    def enter(self) -> None:
        """Take the executor's own lock, and remove the files of executors that ended without doing so."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if not path.name.startswith(".") and not self.is_alive(path.name):
                path.unlink(missing_ok=True)
        self._lock = self._lock_of(f".{self._executor}")  # under another name until it is locked
        (self._folder / f".{self._executor}").rename(self._folder / self._executor)

    def leave(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        (self._folder / self._executor).unlink(missing_ok=True)

    def is_alive(self, executor: str) -> bool:
        """Whether another process is that executor."""
        if executor == self._executor or not (self._folder / executor).exists():
            return False
        try:
            os.close(self._lock_of(executor))
        except BlockingIOError:
            return True
        return False

    def is_inhabited(self, place: str) -> bool:
        """Always: the asking executor lives at the only place."""
        del place
        return True

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Hold the lock of a dead executor."""
        try:
            lock = self._lock_of(name)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            (self._folder / Path(name).name).unlink(missing_ok=True)
            os.close(lock)

    def _lock_of(self, executor: str) -> int:
        """Take the lock that the executor holds while it lives; raises BlockingIOError if it lives."""
        descriptor = os.open(self._folder / Path(executor).name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        return descriptor


class LockedNames:
    """Advisory locks of one PostgreSQL session, which a thread keeps open.

    The session must be the process's own: a pooler that shares sessions between transactions breaks this.
    """

    def __init__(self, url: str, executor: str, place: str) -> None:
        self._url = url
        self._executor = executor
        self._place = place
        self._guard = threading.RLock()
        self._ended = threading.Event()
        self._session: psycopg.Connection | None = None
        self._heart = threading.Thread(target=self._beat, name="liveness", daemon=True)

    def enter(self) -> None:
        """Open the session, take the locks, and keep both."""
        self._open(time.monotonic())
        self._heart.start()

    def leave(self) -> None:
        """End the session, and its locks with it."""
        self._ended.set()
        with self._guard:
            if self._session is not None:
                self._session.close()
                self._session = None

    def is_alive(self, executor: str) -> bool:
        """Whether another process is that executor."""
        return executor != self._executor and not self._would_get(executor)

    def is_inhabited(self, place: str) -> bool:
        """Whether an executor lives at a place."""
        return place == self._place or not self._would_get(_place_name(place))

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Hold the lock of a dead executor, or of work, unless another session does."""
        is_ours = name != self._executor and self._ask("select pg_try_advisory_lock(%s)", name)
        try:
            yield is_ours
        finally:
            if is_ours:
                with suppress(StorageFailed):  # the lock ended with the session
                    self._ask("select pg_advisory_unlock(%s)", name)

    def _would_get(self, name: str) -> bool:
        with self.claimed(name) as is_ours:
            return is_ours

    def _ask(self, statement: str, name: str) -> bool:
        import psycopg

        with self._guard:
            for is_second in (False, True):
                if self._session is None:
                    raise StorageFailed("the engine was left")
                try:
                    row = self._session.execute(statement, (_number(name),)).fetchone()
                    return bool(row and row[0])
                except psycopg.OperationalError as error:
                    if is_second:
                        raise StorageFailed(f"the engine's database: {_said(error)}") from error
                    self._open(time.monotonic() + AWAY_SECONDS)
        return False

    def _open(self, deadline: float) -> None:
        """Open the session anew; raises StorageFailed when the database is away until after the deadline."""
        import psycopg

        with self._guard:
            while not self._ended.is_set():
                if self._session is not None:
                    self._session.close()
                try:
                    self._session = psycopg.connect(
                        self._url, autocommit=True, options=_PROBES, connect_timeout=5,
                        application_name=f"conveyor {self._executor}", keepalives_idle=1,
                        keepalives_interval=1, keepalives_count=2,
                    )  # fmt: skip
                    own = self._session.execute(
                        "select pg_try_advisory_lock(%s)", (_number(self._executor),)
                    ).fetchone()
                    if not (own and own[0]):
                        self._give_up("another worker has taken over its runs")
                    self._session.execute(
                        "select pg_advisory_lock_shared(%s)", (_number(_place_name(self._place)),)
                    )
                except psycopg.OperationalError as error:
                    if time.monotonic() > deadline:
                        raise StorageFailed(
                            f"the engine's database cannot be reached: {_said(error)}",
                            hint="check the URL, the password file and that the database is up",
                        ) from error
                    time.sleep(BEAT_SECONDS)
                else:
                    return

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._ask("select %s > 0 or true", "beat")
            except StorageFailed as error:
                if not self._ended.is_set():
                    self._give_up(error.message)

    def _give_up(self, reason: str) -> None:
        """End the process: its runs may be another's, and its children must not go on with them."""
        sys.stderr.write(f"worker ended, its runs go on elsewhere: {reason}\n")
        sys.stderr.flush()
        os._exit(_CUT_OFF)


def place_of(folder: Path) -> str:
    """The name of a state folder on this machine, made when it is first asked for.

    It is the target of a link, so that it is made whole or not at all, on a full disk too.

    Raises:
        StorageFailed: the folder cannot be written.
    """
    link = folder / "place"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(uuid.uuid4().hex[:12])
        return os.readlink(link)  # noqa: PTH115 - a name, not a path
    except OSError as error:
        raise StorageFailed(
            f"the engine's state in {folder} cannot be opened: {error.strerror}",
            hint="check the folder's permissions and its disk, then try again",
        ) from error


def _place_name(place: str) -> str:
    return f"place {place}"


def _number(name: str) -> int:
    """The number of a lock: 64 bits, signed, as PostgreSQL wants it."""
    digest = hashlib.sha256(f"lock of the engine: {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
