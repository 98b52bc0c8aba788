"""Runs carried by the engine: if one process dies, another finishes its runs, step by step.

``run_here`` carries one commit or tag now and waits for it; called again with the same arguments after a
crash, it continues where it stopped. ``claims`` carries the runs that people and hooks requested. Both call
``carry_run``, the only workflow. Its argument says what to carry; state folder and credentials are those of
the process that carries it, which may be on another machine than the one where the run was begun.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from conveyor.domain.runs.repositories import Reach
from conveyor.errors import Conflict, ConveyorError, StepFailed
from conveyor.pipeline.carrying.outcomes import Outcome, failed
from conveyor.pipeline.carrying.runs import carry
from conveyor.pipeline.carrying.settled import remember, run_key
from conveyor.pipeline.engine import engine
from conveyor.pipeline.engine import keyring as keyrings
from conveyor.pipeline.engine.engine import Engine
from conveyor.pipeline.engine.isolation import Workplace, isolated, watched
from conveyor.pipeline.engine.remotes import remote
from conveyor.pipeline.engine.steps import (
    Done,
    Reporter,
    carry_out,
    say_to_stderr,
    value_of,
    with_patience,
)
from conveyor.pipeline.engine.watchdog import end_children
from conveyor.pipeline.engine.worker import Keeper, open_worker
from conveyor.pipeline.jobs.sources import resolve
from conveyor.project.git import object_of
from conveyor.settings import JobGrants, JobLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conveyor.domain.runs.states import RunReport
    from conveyor.pipeline.engine.engine import Work

R = TypeVar("R")
MOST_AT_A_TIME = 4
REQUEST = "request"
WORK = "work"
"""The folder of the folders of runs, in the state folder."""


@dataclass(frozen=True)
class Job:
    """A run as plain data; the argument of the workflow, kept in the engine's state."""

    work_id: str
    store_url: str
    repository: str
    ref: str
    index: str | None
    """The index where its release enters the store; ``None`` means the only one where it can."""
    run_id: int | None
    """The run's id in the store; ``None`` means that it is requested and claimed first."""
    project: str | None = None
    """Which of the commit's projects is meant; ``None`` if nobody said."""
    begun_by: str | None = None
    """The worker that began the run on another machine and has ended; ``None``: the run begins here."""


@dataclass(frozen=True)
class Bench:
    """What a process brings to every run that it carries."""

    state: Path
    """The worker's state folder."""
    credentials: Path
    """The worker's credentials file."""
    engine_url: str | None = field(default=None, repr=False)
    """The PostgreSQL database of the engine's state; ``None``: a file in the state folder."""
    limits: JobLimits = field(default_factory=JobLimits)
    """The bounds of each jail."""
    grants: JobGrants = field(default_factory=JobGrants)
    """What the operator of this worker gives to jobs."""

    @contextmanager
    def working(self) -> Iterator[Engine]:
        """The engine at work, until the end of the block, in which ``carry_run`` finds this bench."""
        global _bench  # noqa: PLW0603 - workflows get plain data alone; the engine is one per process too
        _bench = self
        engine = Engine(self.state / "engine", database_url=self.engine_url)
        with engine as running, watched(running.executor):
            yield running
        _bench = None


_bench: Bench | None = None


class DurableSteps:
    """Steps whose results the engine keeps; usable only inside a workflow."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._threads = ThreadPoolExecutor(MOST_AT_A_TIME)

    def close(self) -> None:
        """Wait for the steps that still run; nothing of a run must go on after its end."""
        self._threads.shutdown()
        self.reporter.close()

    def __call__(self, name: str, function: Callable[[], Done[R]]) -> R:
        """Return the value of the step, done now or kept from before a crash."""
        return value_of(engine.step(name, carry_out, self.reporter, name, function))

    def begin(self, name: str, function: Callable[[], Done[R]]) -> Callable[[], R]:
        """Begin a step in its own thread; the returned function waits for its value."""
        future = engine.begin(name, partial(carry_out, self.reporter, name, function), self._threads)
        return lambda: value_of(future.result())

    def note(self, report: RunReport) -> None:
        """Tell the store once."""
        engine.step("note", self.reporter.run, report)


@engine.workflow
def carry_run(job: Job) -> Outcome:
    """Carry a run to its end; errors of ours become an outcome, so that the engine keeps only data."""
    assert _bench is not None  # noqa: S101 - the engine works inside ``Bench.working`` alone
    state, credentials = _bench.state, _bench.credentials
    try:
        worker = open_worker(credentials, store_url=job.store_url)
        run_id = job.run_id
        if run_id is None:
            run_id = engine.step(REQUEST, partial(with_patience, partial(request_run, worker, job)))
        with_patience(partial(take_hold, worker, run_id))
        with suppress(Conflict):  # it has ended: what is left is to say so again
            worker = with_patience(partial(worker.for_run, run_id))
    except ConveyorError as error:
        return failed(error)
    if job.begun_by is not None:
        say_to_stderr(
            f"begun by {job.begun_by}, whose files are not on this machine: "
            "what it had not published is built, and trained, once more"
        )
    keyring = state / keyrings.FOLDER
    place = Workplace(
        work_folder(state, job.work_id), cache=state / "cache", executor=engine.executor(), run=run_id,
        reach=worker.reach, keyring=keyring, told=worker.told, store=worker.public_url,
        grants=_bench.grants,
    )  # fmt: skip
    place.folder.mkdir(parents=True, exist_ok=True)
    secrets = (credentials, state / "engine", *keyrings.folders_of_secrets(state))
    reporter = Reporter(worker.client, run_id, say_to_stderr, told=worker.told)
    reporter.mark, place = place.folder.name, replace(place, output=reporter.output)
    with (
        isolated(place, worker, secrets, say_to_stderr, _bench.limits) as place,
        closing(DurableSteps(reporter)) as steps,
    ):
        return carry(
            steps, place, worker, repository=job.repository, ref=job.ref, index=job.index, project=job.project
        )  # fmt: skip


def request_run(worker: Keeper, job: Job) -> int:
    """Request a run, which this worker holds at once, and return its id."""
    asked = worker.client.runs.create(
        job.repository, job.ref, index=job.index, project=job.project, claim=True
    )
    return asked.id


def take_hold(worker: Keeper, run_id: int) -> None:
    """Become the holder of a run that goes on, if the worker that this one continues held it."""
    held_by = worker.client.runs.get(run_id).worker
    if held_by is not None and held_by != worker.name:
        worker.client.runs.claim(worker.name, run_id=run_id, held_by=held_by)


def run_here(
    bench: Bench, *, store_url: str | None, repository: str, ref: str, index: str | None,
    project: str | None = None,
) -> Outcome:  # fmt: skip
    """Carry a commit or tag through now, or continue where a killed call with the same arguments stopped.

    Args:
        bench: the state folder, created if it does not exist, the credentials and the engine's database.
        store_url: overrides the URL in the credentials.
        repository: path or URL.
        ref: tag, branch, commit or full ref name.
        index: where its release enters the store; ``None`` means the only index where it can.
        project: which of the commit's projects is meant; ``None`` if nobody said.

    Raises:
        ConveyorError: the run could not begin: no credentials, no such ref.
        StepFailed: the job killed its worker too often to be tried again, or was cancelled.
    """
    worker = open_worker(bench.credentials, store_url=store_url)
    where = remote(repository, Reach(is_typed=True), bench.state / keyrings.FOLDER)
    source = resolve(where, ref).value
    key = run_key(worker.store_url, repository, ref, source.commit, index, project)
    # A tag that is signed later names the same commit, and is another object.
    settled_key = run_key(worker.store_url, repository, ref, object_of(where, ref), index, project)
    stem = f"here-{key}-"
    with bench.working() as running:
        outcome, unfinished = None, running.unfinished(stem)
        if unfinished:
            say_to_stderr("continuing the run that was begun before")
            outcome = running.follow(unfinished[-1].id, end_children)
        if outcome is None:
            before = running.find(stem)
            job = Job(next_id(stem, before), worker.store_url, repository, ref, index, None, project)
            if any(one.state == "active" for one in before):  # stranded: its machine is gone
                job = replace(job, begun_by="another machine")
                for one in before:
                    running.cancel(one.id)
            outcome = running.run(job.work_id, carry_run, job)
    if outcome is None:
        raise StepFailed("the run was cancelled")
    done = cast("Outcome", outcome)
    if done.state == "succeeded":
        remember(bench.state, settled_key, done)
    return done


def next_id(stem: str, before: Iterable[Work]) -> str:
    """The id after those that begin with ``stem``; one whose runs are all forgotten begins anew."""
    numbers = [int(one.id.removeprefix(stem)) for one in before]
    return f"{stem}{max(numbers, default=0) + 1}"


def work_folder(state: Path, work_id: str) -> Path:
    """The folder in which a run works, and which holds its logs."""
    return state / WORK / work_id
