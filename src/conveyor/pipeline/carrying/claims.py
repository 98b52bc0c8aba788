"""A worker at work: claims the runs that people and hooks requested, and carries each to its end.

When it starts, and then from time to time, it takes over the runs that dead executors of the same state
folder left unfinished. It may be killed at any line: to stop it *is* to end the process (the watchdog ends
its children), and the next worker continues.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from typing import TYPE_CHECKING

from conveyor.client.runs import log_command
from conveyor.domain.runs.states import RunReport
from conveyor.errors import ConveyorError, StepFailed
from conveyor.pipeline.carrying.carrier import Job, carry_run
from conveyor.pipeline.engine.engine import Engine
from conveyor.pipeline.engine.isolation import watched
from conveyor.pipeline.engine.steps import say_to_stderr
from conveyor.pipeline.engine.watchdog import end_children
from conveyor.pipeline.engine.worker import Keeper, open_worker

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from conveyor.domain.runs.states import Run
    from conveyor.pipeline.carrying.runs import Outcome

POLL_SECONDS = 0.2
AWAY_SECONDS = 2.0
"""Pause after a failure to reach the store."""
TAKE_OVER_SECONDS = 5.0
MOST_TESTS_NAMED = 10


def work(state: Path, credentials: Path, *, store_url: str | None, once: bool) -> int:
    """Claim and carry runs until the process is stopped (``once``: until none waits); return their number."""
    worker = open_worker(credentials, store_url=store_url)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with Engine(state / "engine") as engine, watched(engine.executor):
        desk = _Desk(engine, worker, state, credentials)
        desk.take_over()
        desk.adopt()
        is_unsure = False
        say_to_stderr(f"worker {worker.name} is ready for {worker.store_url}")
        carried = 0
        looked_at = time.monotonic()
        while True:
            try:
                run = worker.client.runs.claim(worker.name)
            except ConveyorError as error:
                if once or error.http_status in (401, 403):
                    raise
                say_to_stderr(f"{type(error).__name__}: {error.message}")
                time.sleep(AWAY_SECONDS)
                is_unsure = True
                continue
            if is_unsure:  # the answer to a claim may have been lost with the connection
                is_unsure = False
                desk.adopt()
            if run is not None:
                desk.carry(run)
                carried += 1
            elif once:
                return carried
            else:
                time.sleep(POLL_SECONDS)
            if time.monotonic() - looked_at > TAKE_OVER_SECONDS:
                desk.take_over()
                looked_at = time.monotonic()


class _Desk:
    """Turns claimed runs into workflows."""

    def __init__(self, engine: Engine, worker: Keeper, state: Path, credentials: Path) -> None:
        self.engine = engine
        self.worker = worker
        self.state = state
        self.credentials = credentials
        self._prefix = hashlib.sha256(worker.store_url.encode()).hexdigest()[:8]

    def carry(self, run: Run) -> None:
        """Carry a claimed run to its end."""
        say_to_stderr(f'run {run.id}: {run.ref} of {run.repository}, into "{run.index}"')
        work_id = self._work_id(run)
        job = Job(
            work_id,
            str(self.state),
            str(self.credentials),
            self.worker.store_url,
            run.repository,
            run.ref,
            run.index,
            run.id,
            run.project,
        )
        try:
            outcome = self.engine.run(work_id, carry_run, job)
        except Exception as error:  # noqa: BLE001 - one broken run must not end the worker
            self._give_up(run, f"{type(error).__name__}: {error}")
        else:
            say_to_stderr(f"run {run.id} {outcome.state}: {outcome.detail}")
            for line in end_lines(outcome, log_command(run.id, self.worker.store_url)):
                say_to_stderr(f"  {line}")

    def take_over(self) -> None:
        """Carry to their end the runs that dead executors of this state folder left unfinished."""
        for work_id in self.engine.take_over(f"store-{self._prefix}-", end_children):
            say_to_stderr(f"continuing {work_id}, whose worker has ended")
            try:
                self.engine.follow(work_id, end_children)
            except StepFailed as error:
                say_to_stderr(error.message)

    def adopt(self) -> None:
        """Carry runs that this worker claimed but never began, and end broken ones."""
        known = {one.id: one for one in self.engine.find(f"store-{self._prefix}-")}
        for run in self.worker.client.runs.newest():
            if run.state != "running" or run.worker != self.worker.name:
                continue
            found = known.get(self._work_id(run))
            if found is None:
                self.carry(run)
            elif found.state == "failed":
                self._give_up(run, "the job ended its worker too often to be tried again")

    def _work_id(self, run: Run) -> str:
        return f"store-{self._prefix}-{run.id}"

    def _give_up(self, run: Run, reason: str) -> None:
        say_to_stderr(f"run {run.id} failed: {reason}")
        try:
            self.worker.client.runs.update(run.id, RunReport(state="failed", detail=reason))
        except ConveyorError as error:
            say_to_stderr(f"{type(error).__name__}: {error.message}")


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
