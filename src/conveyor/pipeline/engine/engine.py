"""Durable execution: a finished step of a workflow is never done again, whatever kills the process.

The only module that knows DBOS. The rest of the room uses four names: ``workflow`` marks a function, ``step``
calls one function and keeps its result, ``begin`` does so while the workflow goes on, and ``Engine`` runs
workflows, takes over those of dead processes and reports the state of each.

Rules here:

- A step may run twice (a crash between its effect and its record), so effects must be idempotent.
- Arguments and results are plain data; they are pickled into the engine's state. No secret is ever one.
- A workflow calls its steps in the same order each time, with names that do not change.
- Executors are unique per process; each holds a lock while it lives (``liveness``). One that can take the
  lock of another knows that the other is dead, and takes over its workflows.
- A workflow belongs to a *place*, the state folder where its files lie. Executors of that place resume it at
  the step it was in. When none lives there any more, it is *stranded*: it is begun anew elsewhere, and what
  the store has by then is not done again.

The state is one SQLite file, for the executors of one state folder; or a PostgreSQL database, for executors
on any number of machines.
"""

from __future__ import annotations

import contextvars
import logging
import os
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, Self, TypeVar

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._error import DBOSAwaitedWorkflowCancelledError

from conveyor.errors import ConveyorError, StepFailed, StorageFailed
from conveyor.pipeline.engine.liveness import LockedFiles, LockedNames, place_of
from conveyor.pipeline.engine.steps import MOST_REPEATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future
    from types import TracebackType

    from dbos import WorkflowHandle, WorkflowStatus

    from conveyor.pipeline.engine.liveness import Liveness

SCHEMA = "8"
"""Version of the shape of our workflows; add one whenever steps or their results change. The engine resumes
only workflows of its own version; by default the library would treat every edit as a new version."""
MOST_FORGOTTEN = 1000
POOL = 8
"""Connections to PostgreSQL, at most; the steps of a run use one for a moment each."""
MAX_RECOVERY_ATTEMPTS = MOST_REPEATS
"""A job that kills its worker this often is not tried again."""
POLL_SECONDS = 0.1
FOLLOW_SECONDS = 0.25

P = ParamSpec("P")
R = TypeVar("R")
State = Literal["unknown", "active", "succeeded", "failed", "cancelled"]


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
class Rescue:
    """The ids of unfinished work after a look at its executors."""

    here: list[str]
    """Work of this executor, taken over or begun by itself."""
    stranded: list[str]
    """Work that nobody alive can resume: it is begun anew by whoever ``claimed`` it."""


@dataclass(frozen=True)
class Work:
    """A workflow as the engine knows it."""

    id: str
    state: State
    executor: str | None
    version: str | None = None
    """The schema and the place that it belongs to."""


class Engine:
    """Runs workflows on the state in one folder, as one executor. One at a time per process; use ``with``.

    ``folder`` holds the state and is its place; with the URL of a PostgreSQL database, the state is there.
    """

    def __init__(self, folder: Path, *, database_url: str | None = None) -> None:
        self.folder = folder
        self.executor = f"{_boot_id()[:8]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._database_url = database_url

    def __enter__(self) -> Self:
        global _running  # noqa: PLW0603 - the library itself is one per process
        place = place_of(self.folder)
        self._version = f"{SCHEMA}-{place}"
        self._liveness: Liveness = (
            LockedFiles(self.folder / "executors", self.executor)
            if self._database_url is None
            else LockedNames(_plain(self._database_url), self.executor, place)
        )
        self._liveness.enter()
        config: DBOSConfig = {
            "name": "conveyor-pipeline",
            "system_database_url": _plain(self._database_url or f"sqlite:///{self.folder / 'engine.sqlite'}"),
            "sys_db_pool_size": POOL,
            "executor_id": self.executor,
            "application_version": self._version,
            "log_level": "WARNING",
            "notification_listener_polling_interval_sec": POLL_SECONDS,
        }
        DBOS(config=config)
        self._log_to_file()
        try:
            DBOS.launch()
        except Exception as error:
            self._leave()
            where = f"in {self.folder}" if self._database_url is None else "in its database"
            reason = str(error).partition("\n")[0]
            raise StorageFailed(
                f"the engine's state {where} cannot be opened: {reason}",
                hint="check the folder's permissions and its disk, then try again"
                if self._database_url is None
                else "check that its user may create tables there, then try again",
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
        self._liveness.leave()

    def run(self, work_id: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Start a workflow under an id and wait for its result; a known id is not started again.

        Returns ``None`` if the workflow was cancelled.

        Raises:
            StepFailed: the workflow ended with an error that is not one of its results.
        """
        with SetWorkflowID(work_id):
            handle = DBOS.start_workflow(function, *args, **kwargs)
        return _result(handle)

    def wait(self, work_id: str) -> object | None:
        """Wait for the result of a workflow that this or another executor runs; as ``run``."""
        return _result(DBOS.retrieve_workflow(work_id))

    def follow(self, work_id: str, bury: Callable[[str], object]) -> object | None:
        """Like ``wait``, and takes the workflow over whenever its executor turns out to be dead.

        Returns ``None`` also if it is stranded.
        """
        while any(one.state == "active" for one in self.find(work_id)):
            if work_id in self.take_over(work_id, bury).stranded:
                return None
            time.sleep(FOLLOW_SECONDS)
        return self.wait(work_id)

    def find(self, prefix: str) -> list[Work]:
        """The workflows whose id begins with ``prefix``, oldest first."""
        return _listed(DBOS.list_workflows(workflow_id_prefix=prefix, load_input=False, load_output=False))

    def unfinished(self, prefix: str) -> list[Work]:
        """Those that are active."""
        return _listed(
            DBOS.list_workflows(
                workflow_id_prefix=prefix, status=[*_ACTIVE], load_input=False, load_output=False
            )
        )

    def take_over(self, prefix: str, bury: Callable[[str], object]) -> Rescue:
        """Put unfinished workflows of dead executors back to work, if an executor lives at their place.

        Args:
            prefix: the prefix of the ids to look for; other work of their executors is taken as well.
            bury: called with each dead executor before its work is taken, to end its remaining children.
        """
        left = self.unfinished(prefix)
        here = [one for one in left if one.version == self._version]
        owners = {one.executor for one in here} - {None, self.executor}
        taken: list[str] = []
        for owner in sorted(map(str, owners)):
            if self._liveness.is_alive(owner):
                continue
            with self._liveness.claimed(owner) as is_ours:
                if is_ours:  # else a peer is burying it right now
                    bury(owner)
                    # The guarded call: it touches only rows that the dead executor still owns. There is no
                    # public one with that guard (`resume_workflow` has none).
                    handles = DBOS._recover_pending_workflows([owner])
                    taken += [one.workflow_id for one in handles]  # it becomes ours a moment later
        stranded = [one.id for one in left if self._is_stranded(one)]
        own = [one.id for one in here if one.executor == self.executor]
        return Rescue([*own, *(one for one in taken if one.startswith(prefix))], stranded)

    def _is_stranded(self, work: Work) -> bool:
        """Whether no executor lives that could resume it: none at its place, or none of its schema."""
        if work.version in (None, self._version):
            return False
        schema, _, place = str(work.version).partition("-")
        if work.executor is not None and self._liveness.is_alive(work.executor):
            return False
        return schema != SCHEMA or not self._liveness.is_inhabited(place)

    @contextmanager
    def claimed(self, work_id: str) -> Iterator[bool]:
        """Deal with stranded work alone; yields false if another executor does, or has done so."""
        with self._liveness.claimed(f"work {work_id}") as is_ours:
            yield is_ours and any(one.id == work_id for one in self.unfinished(work_id))

    def cancel(self, work_id: str) -> None:
        """Let no further step of a workflow begin."""
        DBOS.cancel_workflow(work_id)

    def forget(self, before: float) -> None:
        """Delete the records of workflows that ended before a time, in seconds since 1970."""
        moment = datetime.fromtimestamp(before, UTC).isoformat()
        ended = DBOS.list_workflows(
            completed_before=moment, load_input=False, load_output=False, limit=MOST_FORGOTTEN
        )
        DBOS.delete_workflows([one.workflow_id for one in ended if one.status not in _ACTIVE])

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


def _result(handle: WorkflowHandle[R]) -> R | None:
    """The result of a workflow, or ``None`` if it was cancelled; the library's errors become ours."""
    try:
        return handle.get_result(polling_interval_sec=POLL_SECONDS)
    except ConveyorError:
        raise
    except DBOSAwaitedWorkflowCancelledError:
        return None
    except Exception as error:
        raise StepFailed(
            f"{handle.get_workflow_id()} broke: {type(error).__name__}: {error}",
            hint="see engine.log in the worker's state folder",
        ) from error


_running: Engine | None = None
_ACTIVE = ("PENDING", "ENQUEUED", "DELAYED")
_STATES: dict[str, State] = {
    **dict.fromkeys(_ACTIVE, "active"),
    "SUCCESS": "succeeded",
    "CANCELLED": "cancelled",
}


def _listed(found: Iterable[WorkflowStatus]) -> list[Work]:
    return [
        Work(one.workflow_id, _STATES.get(one.status, "failed"), one.executor_id, one.app_version)
        for one in found
    ]


def _plain(url: str) -> str:
    """The URL of a database as its driver wants it: without the driver's name."""
    scheme, separator, rest = url.partition("://")
    return scheme.partition("+")[0] + separator + rest


def _boot_id() -> str:
    """An id that changes when the machine restarts, so that a process number is never mistaken."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").replace("-", "").strip()
    except OSError:
        return uuid.uuid4().hex
