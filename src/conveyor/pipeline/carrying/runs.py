"""The whole way of one commit or tag, written once; carried by the engine or done directly.

1. way: the store says which indexes it leads through, such as "unstable" → "testing" → "stable"
2. packaging job → the first index                                         (``packaging``)
3. testing job, resolved against the second index; where that index asks for the tests of those that require
   the release, these too (``testing``, ``dependants``) → the store promotes it (``promotion``)
4. a final release: the same for every further index, if the gates let it

A run that ends with a release waiting for a person (a QA signature) has succeeded; its detail says what the
release waits for. The same run, requested again, continues from there: published files are not built again,
and a file that was tested against an index is not tested against it again.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from conveyor.domain.runs.states import RunReport
from conveyor.errors import Conflict, ConveyorError, Forbidden, Unauthorized
from conveyor.pipeline.carrying.outcomes import Outcome, arrived, failed
from conveyor.pipeline.engine.steps import DirectSteps, Done, Reporter, say_to_stderr
from conveyor.pipeline.jobs.dependants import run_dependants_job
from conveyor.pipeline.jobs.packaging import Packaged, package
from conveyor.pipeline.jobs.promotion import Standing, ask_for_promotion, goals_of, index_on
from conveyor.pipeline.jobs.testing import run_testing_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.steps import Steps
    from conveyor.pipeline.engine.worker import Keeper


def carry(
    steps: Steps, place: Workplace, worker: Keeper, *, repository: str, ref: str, index: str | None = None,
    project: str | None = None,
) -> Outcome:  # fmt: skip
    """Carry a commit or tag as far as its evidence allows; errors of ours become a failed outcome.

    ``index`` is where its release enters; ``None`` means the only index where runs of this worker can.
    ``project`` says which of the commit's projects is meant, if there are several.
    """
    packaged: Packaged | None = None
    try:
        way = steps("way", lambda: find_way(worker, index))
        packaged = package(
            steps, place, worker, repository=repository, ref=ref, way=way, project=project
        )  # fmt: skip
        outcome = (
            arrived(packaged.project, packaged.version, advance(steps, place, worker, packaged, way))
            if packaged is not None
            else Outcome("succeeded", None, None, None, "nothing to do: the commit carries a release tag")
        )
    except ConveyorError as error:
        outcome = failed(error, packaged)
    with suppress(Unauthorized, Forbidden, Conflict):  # somebody has ended the run in the store meanwhile
        steps.note(RunReport(state=outcome.state, detail=outcome.detail))
    if outcome.state == "succeeded":
        sweep(place.folder)
    return outcome


@contextmanager
def begun(
    worker: Keeper, *, repository: str, ref: str, index: str | None = None, project: str | None = None,
    version: str | None = None,
) -> Iterator[tuple[DirectSteps, Keeper]]:  # fmt: skip
    """Steps of one job without an engine, and the worker with the token of their run.

    The job of a CI host has no run here; its token ends with the block.

    Raises:
        ConveyorError: the store refuses the run; errors of the block end it as failed.
    """
    if worker.job is not None:
        try:
            yield DirectSteps(Reporter(None, None, say_to_stderr, told=worker.told)), worker
        finally:
            with suppress(ConveyorError):  # it ends by itself soon
                worker.job.burn()
        return
    run = worker.client.runs.create(
        repository, ref, index=index, project=project, claim=True, version=version
    )
    own = worker.for_run(run.id)
    steps = DirectSteps(Reporter(own.client, run.id, say_to_stderr, told=own.told))
    ended = RunReport(state="cancelled", detail="interrupted")
    try:
        yield steps, own
        ended = RunReport(state="succeeded")
    except ConveyorError as error:
        ended = RunReport(state="failed", detail=failed(error).detail)
        raise
    finally:
        steps.reporter.close()
        with suppress(Forbidden, Conflict):
            steps.note(ended)


def find_way(worker: Keeper, index: str | None) -> Done[tuple[str, ...]]:
    """Part 1: the indexes of a run in order, beginning with the one that it enters.

    Raises:
        NotFound, Conflict: no run of this worker can enter there, or none is named where there are several.
    """
    way = worker.client.indexes.way(index)
    return Done(way, " → ".join(way), {"indexes": list(way)})


def advance(
    steps: Steps, place: Workplace, worker: Keeper, packaged: Packaged, way: tuple[str, ...]
) -> Standing:
    """Parts 3 and 4: test, and see the store promote, until the end of the way or a gate that waits.

    A final release is tested for all its indexes at the same time; only the promotions wait for each other.
    """
    where = Standing(steps("locate", lambda: locate(worker, packaged, way)))
    here = way.index(where.index) + (0 if worker.tests_since else 1)  # what is there already is tested again
    ahead = [goal for goal in goals_of(way, packaged.version) if way.index(goal) >= here]
    tests = {
        goal: steps.begin(f"test for {goal}", _testing_job(place, worker, packaged, goal)) for goal in ahead
    }
    for goal in ahead:
        if tests[goal]():
            dependants_job(steps, place, worker, packaged.project, packaged.version, goal)
        reached = steps(
            f"promote to {goal}",
            partial(ask_for_promotion, worker, packaged.project, packaged.version, to=goal),
        )
        if reached.verdicts:
            return replace(reached, index=where.index)  # the release may be elsewhere in the store as well
        where = reached
    return where


def dependants_job(
    steps: Steps, place: Workplace, worker: Keeper, project: str, version: str, goal: str
) -> None:
    """The step that runs the tests of those in an index that require a release."""
    job = partial(run_dependants_job, place, worker, project=project, version=version, index=goal)
    steps(f"dependants in {goal}", job)


def _testing_job(
    place: Workplace, worker: Keeper, packaged: Packaged, index: str
) -> Callable[[], Done[bool]]:
    return partial(
        run_testing_job, place, worker, project=packaged.project, version=packaged.version, index=index,
        repository=packaged.source.repository,
    )  # fmt: skip


def locate(worker: Keeper, packaged: Packaged, way: tuple[str, ...]) -> Done[str]:
    """The index of the way in which the release is now."""
    index = index_on(way, worker.client.releases.get(packaged.project, packaged.version))
    return Done(index, f'in "{index}"')


def sweep(folder: Path) -> None:
    """Remove the files that a run no longer needs, in whose folder they are; its logs stay."""
    for entry in folder.iterdir():
        if entry.name != "logs" and entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def next_index(worker: Keeper, project: str, version: str) -> str:
    """The index that follows the one in which a release is.

    Raises:
        Conflict: no index follows, or several do.
    """
    where = worker.client.releases.get(project, version).index
    target = worker.client.releases.judgement(project, version).target
    if target == where:
        raise Conflict(f'no index follows "{where}", where {project} {version} is', hint="name one with --to")
    return target
