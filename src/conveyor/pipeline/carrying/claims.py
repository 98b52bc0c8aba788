"""A worker at work: claims the runs that people and hooks requested, and carries each to its end.

It carries several at a time if it is told to. All the while it looks for runs that dead executors left
unfinished: those of its own state folder it resumes at the step they were in, those of a machine where no
worker lives any more it begins anew, in the name of the worker that had them. Both come before new runs, and
on top of them: nothing that was begun waits.

It may be killed at any line: to stop it *is* to end the process (the watchdog ends its children), and another
worker continues.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from conveyor.client.runs import log_command
from conveyor.domain.runs.states import RunReport
from conveyor.errors import ConveyorError, StepFailed
from conveyor.pipeline.carrying.carrier import WORK, Job, carry_run, next_id, work_folder
from conveyor.pipeline.carrying.runs import sweep
from conveyor.pipeline.carrying.statuses import Statuses
from conveyor.pipeline.engine.steps import say_to_stderr
from conveyor.pipeline.engine.watchdog import end_children
from conveyor.pipeline.engine.worker import Keeper, open_worker
from conveyor.project.foreign import end_work_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from conveyor.domain.runs.states import Run
    from conveyor.pipeline.carrying.carrier import Bench
    from conveyor.pipeline.carrying.outcomes import Outcome
    from conveyor.pipeline.engine.engine import Engine

POLL_SECONDS = 0.2
AWAY_SECONDS = 2.0
"""Pause after a failure to reach the store."""
TAKE_OVER_SECONDS = 0.5
CANCEL_SECONDS = 1.0
TIDY_SECONDS = 3600.0
ELSEWHERE_SECONDS = 30.0
MOST_RUNS = 16
"""Runs at a time; a worker that is to do more needs more machines, not more threads."""
MOST_THREADS = 4 * MOST_RUNS
MOST_TESTS_NAMED = 10


def work(bench: Bench, *, store_url: str | None, most: int, keep_days: int, once: bool) -> int:
    """Claim and carry runs until the process is stopped (``once``: until none waits); return their number.

    Args:
        bench: the state folder, the credentials and the engine's database.
        store_url: overrides the URL in the credentials.
        most: the number of runs that are carried at a time.
        keep_days: for how long logs and records of ended runs are kept.
        once: whether to end when no run waits.
    """
    worker = open_worker(bench.credentials, store_url=store_url)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with bench.working() as engine, ThreadPoolExecutor(MOST_THREADS) as threads:
        desk = _Desk(engine, worker, threads, bench.state)
        tidied = 0.0
        desk.rescue()
        desk.adopt()
        say_to_stderr(f"worker {worker.name} is ready for {worker.store_url}")
        while True:
            try:
                has_claimed = desk.has_room(most) and desk.claim()
            except ConveyorError as error:
                if once or error.http_status in (401, 403):
                    raise
                say_to_stderr(f"{type(error).__name__}: {error.message}")
                time.sleep(AWAY_SECONDS)
                continue
            desk.rescue()
            desk.look_after()
            desk.tell_hosts()
            tidied = tidy(bench, engine, keep_days, tidied)
            if not has_claimed:
                if once and not desk.is_busy:
                    desk.tell_hosts(is_last=True)
                    return desk.carried
                desk.pause()


def tidy(bench: Bench, engine: Engine, keep_days: int, tidied: float) -> float:
    """Remove what runs of long ago have left, once an hour; returns when that was done last (monotonic)."""
    now = time.monotonic()
    if tidied and now - tidied < TIDY_SECONDS:
        return tidied
    before = time.time() - keep_days * 86400
    engine.forget(before)
    with suppress(OSError):
        for folder in (bench.state / WORK).iterdir():
            if folder.stat().st_mtime < before and not engine.find(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
    return now


class _Desk:
    """Turns claimed runs into workflows, and knows which of them go on here."""

    def __init__(self, engine: Engine, worker: Keeper, threads: ThreadPoolExecutor, state: Path) -> None:
        self.engine = engine
        self._state = state
        self.worker = worker
        self.carried = 0
        self._threads = threads
        self._statuses = Statuses(state, prefix=prefix_of(worker.store_url))
        self._telling: Future[int] | None = None
        self._looked_elsewhere = 0.0
        self._told_url: str | None = None
        self._busy: dict[str, Future[None]] = {}
        self._prefix = prefix_of(worker.store_url)
        self._is_unsure = False
        self._looked_at = 0.0
        self._looked_after = 0.0
        self._cancelled: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a run goes on here."""
        self._busy = {work_id: future for work_id, future in self._busy.items() if not future.done()}
        return bool(self._busy)

    def has_room(self, most: int) -> bool:
        """Whether fewer runs than that go on here."""
        return not self.is_busy or len(self._busy) < most

    def pause(self) -> None:
        """Wait a moment, or until a run ends here."""
        if not self._busy:
            time.sleep(POLL_SECONDS)
        else:
            wait(self._busy.values(), timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)

    def claim(self) -> bool:
        """Claim the next run that waits, and begin to carry it; whether there was one."""
        try:
            if self._is_unsure:  # the answer to a claim may have been lost with the connection
                self.adopt()
                self._is_unsure = False
            run = self.worker.client.runs.claim(self.worker.name)
        except ConveyorError:
            self._is_unsure = True
            raise
        if run is None:
            return False
        self.carry(run, f"{self._stem(run.id)}1")
        return True

    def carry(self, run: Run, work_id: str, *, begun_by: str | None = None) -> None:
        """Begin to carry a run that this worker holds."""
        say_to_stderr(f'run {run.id}: {run.ref} of {run.repository}, into "{run.index}"')
        url = self.worker.store_url
        job = Job(work_id, url, run.repository, run.ref, run.index, run.id, run.project, begun_by)
        self.carried += 1
        self._attend(work_id, lambda: self.engine.run(work_id, carry_run, job))

    def rescue(self) -> None:
        """Carry on with the runs that dead executors left unfinished; looks now and then."""
        if time.monotonic() - self._looked_at < TAKE_OVER_SECONDS:
            return
        found = self.engine.take_over(self._prefix, end_children)
        for work_id in found.here:
            if work_id not in self._busy:
                say_to_stderr(f"continuing run {self._run_id(work_id)}, whose worker has ended")
                self._attend(work_id, lambda one=work_id: self.engine.wait(one))  # type: ignore[misc] # bound now
        for work_id in found.stranded:
            try:
                self._begin_anew(work_id)
            except ConveyorError as error:  # tried again at the next look
                say_to_stderr(f"{type(error).__name__}: {error.message}")
        self._looked_at = time.monotonic()

    def look_after(self) -> None:
        """End the children of runs that were cancelled in the store; looks now and then."""
        if time.monotonic() - self._looked_after < CANCEL_SECONDS:
            return
        for work_id in self._busy:
            if self._is_cancelled(work_id):
                end_work_of(work_id)
        self._looked_after = time.monotonic()

    def _is_cancelled(self, work_id: str) -> bool:
        """Whether a run was cancelled in the store, as far as the store can be asked."""
        with suppress(ConveyorError):
            run = self.worker.client.runs.get(self._run_id(work_id))
            if self._statuses.are_told:
                self._statuses.note(run, self._store_url())
            if run.state == "cancelled":
                self._cancelled.add(work_id)
        return work_id in self._cancelled

    def tell_hosts(self, *, is_last: bool = False) -> None:
        """Tell git hosts how runs stand, on a thread: a host that does not answer holds up nothing.

        Runs that ended while no worker was here, or on another machine, are looked up now and then.
        ``is_last``: this worker ends; what a host does not take now, the next one tells.
        """
        if not self._statuses.are_told:
            return
        if is_last or time.monotonic() - self._looked_elsewhere > ELSEWHERE_SECONDS:
            busy = {self._run_id(work_id) for work_id in self._busy}
            for run_id in self._statuses.unfinished():
                if run_id not in busy:
                    self._note_end(run_id)
            self._looked_elsewhere = time.monotonic()
        if self._telling is None or self._telling.done():
            self._telling = self._threads.submit(self._statuses.send)
        if is_last:
            self._telling.result()
            self._statuses.send()

    def _note_end(self, run_id: int) -> None:
        if not self._statuses.are_told:
            return
        with suppress(ConveyorError):
            self._statuses.note(self.worker.client.runs.get(run_id), self._store_url())

    def _store_url(self) -> str:
        """The URL of the store for other people: its public one, as far as it says."""
        if self._told_url is None:
            self._told_url = self.worker.client.status().url or self.worker.store_url
        return self._told_url

    def _begin_anew(self, work_id: str) -> None:
        """Carry a run whose files lie where no worker lives; the store knows what of it is done."""
        with self.engine.claimed(work_id) as is_ours:
            if not is_ours:
                return
            run = self.worker.client.runs.get(self._run_id(work_id))
            if run.state == "running":
                begun = next_id(self._stem(run.id), self.engine.find(self._stem(run.id)))
                self.carry(run, begun, begun_by=run.worker)
                self._await_begin(begun)
            self.engine.cancel(work_id)

    def _await_begin(self, work_id: str) -> None:
        """Wait until the engine has the workflow: only then may the one before be given up."""
        while not self.engine.find(work_id) and not self._busy[work_id].done():
            time.sleep(0.02)

    def adopt(self) -> None:
        """Carry runs that this worker claimed but never began, and end broken ones.

        A run that it asked for itself belongs to the command that asked, which continues it when called
        again.
        """
        for run in self.worker.client.runs.newest():
            if run.state != "running" or run.worker != self.worker.name or run.requested_by == run.worker:
                continue
            found = self.engine.find(self._stem(run.id))
            if not found:
                self.carry(run, f"{self._stem(run.id)}1")
            elif found[-1].state == "failed":
                self._give_up(run.id, "the job ended its worker too often to be tried again")
            elif found[-1].state == "cancelled":
                self.carry(run, next_id(self._stem(run.id), found))

    def _attend(self, work_id: str, carrying: Callable[[], object]) -> None:
        self._busy[work_id] = self._threads.submit(self._see_through, work_id, carrying)

    def _see_through(self, work_id: str, carrying: Callable[[], object]) -> None:
        run_id = self._run_id(work_id)
        try:
            self._see_to_its_end(work_id, run_id, carrying)
        finally:
            self._note_end(run_id)

    def _see_to_its_end(self, work_id: str, run_id: int, carrying: Callable[[], object]) -> None:
        try:
            outcome = cast("Outcome | None", carrying())
        except Exception as error:  # noqa: BLE001 - one broken run must not end the worker
            if self._is_cancelled(work_id):
                self._end_cancelled(work_id)
                return
            reason = error.message if isinstance(error, StepFailed) else f"{type(error).__name__}: {error}"
            self._give_up(run_id, reason)
            return
        if (outcome is None or outcome.state == "failed") and self._is_cancelled(work_id):
            self._end_cancelled(work_id)
            return
        if outcome is None:
            say_to_stderr(f"run {run_id} goes on elsewhere")
            return
        say_to_stderr(f"run {run_id} {outcome.state}: {outcome.detail}")
        for line in end_lines(outcome, log_command(run_id, self.worker.store_url)):
            say_to_stderr(f"  {line}")

    def _end_cancelled(self, work_id: str) -> None:
        """Say so, and remove what nobody needs any more; what failed by itself stays to be looked at."""
        say_to_stderr(f"run {self._run_id(work_id)} was cancelled")
        with suppress(OSError):
            sweep(work_folder(self._state, work_id))

    def _stem(self, run_id: int) -> str:
        return f"{self._prefix}{run_id}-"

    def _run_id(self, work_id: str) -> int:
        return int(work_id.removeprefix(self._prefix).partition("-")[0])

    def _give_up(self, run_id: int, reason: str) -> None:
        say_to_stderr(f"run {run_id} failed: {reason}")
        try:
            self.worker.client.runs.update(run_id, RunReport(state="failed", detail=reason))
        except ConveyorError as error:
            say_to_stderr(f"{type(error).__name__}: {error.message}")


def prefix_of(store_url: str) -> str:
    """What the names of a store's workflows, and of other files about its runs, begin with."""
    return f"store-{hashlib.sha256(store_url.encode()).hexdigest()[:8]}-"


def end_lines(outcome: Outcome, command: str) -> list[str]:
    """What a worker says of a run that failed: the tests that did, the next step, where to see more."""
    error = outcome.error
    if error is None:
        return []
    tests = _FAILED_TEST.findall(error.log)
    lines = tests[:MOST_TESTS_NAMED]
    if len(tests) > len(lines):
        lines.append(f"and {len(tests) - len(lines)} more")
    return [*lines, *([f"hint: {error.hint}"] if error.hint else []), f"to see it all: {command}"]


_FAILED_TEST = re.compile(r"^(?:FAILED|ERROR) \S+::.*", re.MULTILINE)
"""A line of pytest's summary."""


def _stop(number: int, frame: FrameType | None) -> None:
    """End at once: the next worker continues unfinished runs, and children end with this process."""
    del number, frame
    say_to_stderr("worker stopped")
    os._exit(0)
