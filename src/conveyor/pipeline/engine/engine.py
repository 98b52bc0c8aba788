"""Durable execution: a finished step of a workflow is never done again, whatever kills the process.

The only module that knows DBOS. The rest of the room uses four names: ``workflow`` marks a function, ``step``
calls one function and keeps its result, ``begin`` does so while the workflow goes on, and ``Engine`` runs
workflows, takes over those of dead processes and reports the state of each.

Rules here:

- A step may run twice (a crash between its effect and its record), so effects must be idempotent.
- Arguments and results are plain data; they are pickled into the engine's state. No secret is ever one.
- A workflow calls its steps in the same order each time, with names that do not change.
- Executors are unique per process; each holds a lock on a file while it lives. An executor that can take the
  lock of another knows that the other is dead, and takes over its workflows. A false alarm is harmless: the
  library fences the former owner out at its next step.

The state is one SQLite file, so all executors of one state folder are on one machine.
"""

from __future__ import annotations

import contextvars
import fcntl
import logging
import os
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, Self, TypeVar

from dbos import DBOS, DBOSConfig, SetWorkflowID

from conveyor.errors import ConveyorError, StepFailed, StorageFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future
    from types import TracebackType

SCHEMA = "6"
"""Version of the shape of our workflows; add one whenever steps or their results change. The engine resumes
only workflows of its own version; by default the library would treat every edit as a new version."""
MAX_RECOVERY_ATTEMPTS = 3
"""A job that kills its worker this often is not tried again."""
POLL_SECONDS = 0.1
FOLLOW_SECONDS = 0.25

P = ParamSpec("P")
R = TypeVar("R")
State = Literal["unknown", "active", "succeeded", "failed"]


def workflow(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function as a workflow; its name is part of the schema."""
    name = f"{function.__module__}.{function.__qualname__}"
    return DBOS.workflow(name=name, max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)(function)


def step(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return ``function``'s result, computed now or kept from before a crash. Only inside a workflow."""
    return DBOS.run_step({"name": name}, function, *args, **kwargs)


def begin(name: str, function: Callable[[], R], threads: Executor) -> Future[R]:
    """Like ``step``, in another thread while the workflow goes on; its place in the order is taken now."""
    reservation = DBOS.reserve_step()
    # The library knows by context which workflow a step belongs to; threads begin without one.
    context = contextvars.copy_context()
    return threads.submit(context.run, partial(reservation.run, {"name": name}, function))


@dataclass(frozen=True)
class Work:
    """A workflow as the engine knows it."""

    id: str
    state: State
    executor: str | None


class Engine:
    """Runs workflows on the state in one folder, as one executor. One at a time per process; use ``with``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executor = f"{_boot_id()[:8]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._locks = folder / "executors"

    def __enter__(self) -> Self:
        global _running  # noqa: PLW0603 - the library itself is one per process
        self._locks.mkdir(parents=True, exist_ok=True)
        self._sweep_locks()
        self._lock = self._lock_of(f".{self.executor}")  # under another name until it is locked
        (self._locks / f".{self.executor}").rename(self._locks / self.executor)
        config: DBOSConfig = {
            "name": "conveyor-pipeline",
            "system_database_url": f"sqlite:///{self.folder / 'engine.sqlite'}",
            "executor_id": self.executor,
            "application_version": SCHEMA,
            "log_level": "WARNING",
            "notification_listener_polling_interval_sec": POLL_SECONDS,
        }
        DBOS(config=config)
        self._log_to_file()
        try:
            DBOS.launch()
        except Exception as error:
            self._leave()
            reason = str(error).partition("\n")[0]
            raise StorageFailed(
                f"the engine's state in {self.folder} cannot be opened: {reason}",
                hint="check the folder's permissions and its disk, then try again",
            ) from error
        _running = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _running  # noqa: PLW0603 - see above
        _running = None
        self._leave()

    def _leave(self) -> None:
        DBOS.destroy()
        os.close(self._lock)
        (self._locks / self.executor).unlink(missing_ok=True)

    def run(self, work_id: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a workflow under an id and wait for its result; a known id is not started again.

        Raises:
            StepFailed: the workflow ended with an error that is not one of its results.
        """
        with SetWorkflowID(work_id):
            handle = DBOS.start_workflow(function, *args, **kwargs)
        with _broken(work_id):
            return handle.get_result(polling_interval_sec=POLL_SECONDS)

    def wait(self, work_id: str) -> object:
        """Wait for the result of a workflow that this or another executor runs; raises as ``run`` does."""
        with _broken(work_id):
            return DBOS.retrieve_workflow(work_id).get_result(polling_interval_sec=POLL_SECONDS)

    def follow(self, work_id: str, bury: Callable[[str], object]) -> object:
        """Like ``wait``, and takes the workflow over whenever its executor turns out to be dead."""
        while any(one.state == "active" for one in self.find(work_id)):
            self.take_over(work_id, bury)
            time.sleep(FOLLOW_SECONDS)
        return self.wait(work_id)

    def find(self, prefix: str) -> list[Work]:
        """The workflows whose id begins with ``prefix``, oldest first."""
        found = DBOS.list_workflows(workflow_id_prefix=prefix, load_input=False, load_output=False)
        return [Work(one.workflow_id, _STATES.get(one.status, "failed"), one.executor_id) for one in found]

    def take_over(self, prefix: str, bury: Callable[[str], object]) -> list[str]:
        """Put unfinished workflows of dead executors back to work, here or on a living peer.

        Args:
            prefix: the prefix of the ids to look for; all other work of their executors is taken as well.
            bury: called with each dead executor before its work is taken, to end its remaining children.

        Returns:
            The unfinished ids with ``prefix`` that do not belong to another living executor.
        """
        left = [one for one in self.find(prefix) if one.state == "active"]
        dead = {one.executor for one in left if not self._is_alive_elsewhere(one.executor)}
        for owner in sorted(str(one) for one in dead - {None, self.executor}):
            try:
                lock = self._lock_of(owner)
            except BlockingIOError:  # a peer is burying it right now
                continue
            try:
                bury(owner)
                # The guarded call: it touches only rows that the dead executor still owns. There is no public
                # one with that guard (`resume_workflow` has none).
                DBOS._recover_pending_workflows([owner])
            finally:
                (self._locks / owner).unlink(missing_ok=True)
                os.close(lock)
        return [one.id for one in left if one.executor in dead]

    def _sweep_locks(self) -> None:
        """Remove the files of executors that ended without removing them."""
        for path in self._locks.iterdir():
            if not path.name.startswith(".") and not self._is_alive_elsewhere(path.name):
                path.unlink(missing_ok=True)

    def _is_alive_elsewhere(self, executor: str | None) -> bool:
        """Whether another process of this state folder is that executor."""
        if executor in (None, self.executor) or not (self._locks / str(executor)).exists():
            return False
        try:
            os.close(self._lock_of(str(executor)))
        except BlockingIOError:
            return True
        return False

    def _lock_of(self, executor: str) -> int:
        """Take the lock that the executor holds while it lives; raises BlockingIOError if it lives."""
        descriptor = os.open(self._locks / Path(executor).name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        return descriptor

    def _log_to_file(self) -> None:
        """Send the library's warnings to a file next to its state, not into the middle of our output."""
        logger = logging.getLogger("dbos")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        target = _QuietFile(self.folder / "engine.log", delay=True)
        target.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
        logger.addHandler(target)


class _QuietFile(logging.FileHandler):
    """A log file that a full disk does not make a traceback of: its errors are told where they matter."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is of the base class
        pass


def executor() -> str | None:
    """The id of the executor that runs in this process; ``None`` if there is none."""
    return _running.executor if _running is not None else None


@contextmanager
def _broken(work_id: str) -> Iterator[None]:
    """Turn the library's errors into ours."""
    try:
        yield
    except ConveyorError:
        raise
    except Exception as error:
        raise StepFailed(
            f"{work_id} broke: {type(error).__name__}: {error}",
            hint="see engine.log in the worker's state folder",
        ) from error


_running: Engine | None = None
_STATES: dict[str, State] = {
    "PENDING": "active",
    "ENQUEUED": "active",
    "DELAYED": "active",
    "SUCCESS": "succeeded",
}


def _boot_id() -> str:
    """An id that changes when the machine restarts, so that a process number is never mistaken."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").replace("-", "").strip()
    except OSError:
        return uuid.uuid4().hex
