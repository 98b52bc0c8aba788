"""The whole way of one commit or tag, told once; carried by the engine or done directly.

1. packaging job → "unstable"                                  (``packaging``)
2. testing job, resolved against "testing" → promoted to "testing"   (``testing``, ``promotion``)
3. a final release: tested again, resolved against "stable" → promoted to "stable", if the gates let it

A run that ends with a release waiting for a person (a QA signature) has succeeded; its detail says what the
release waits for. The same run asked again goes on from there: what is published is not built again, what was
tested against an index with this very file is not tested again.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from conveyor.domain.words.names import is_final, parse_version
from conveyor.errors import Conflict, ConveyorError, Forbidden, PromotionRefused
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.distributions import ENTRY_INDEX
from conveyor.pipeline.jobs.packaging import Packaged, package
from conveyor.pipeline.jobs.promotion import Standing, is_beyond, promote
from conveyor.pipeline.jobs.testing import run_testing_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.steps import Steps
    from conveyor.pipeline.engine.worker import Worker

WAY = (ENTRY_INDEX, "testing", "stable")


@dataclass(frozen=True)
class Outcome:
    """How a run ended, as plain data."""

    state: str
    """``succeeded`` or ``failed``."""
    project: str | None
    version: str | None
    index: str | None
    """Where the release is now."""
    detail: str
    """One sentence."""
    verdicts: tuple[dict[str, Any], ...] = ()
    """Of the next index, when the release waits."""
    error: dict[str, Any] | None = None
    """Class, message, hint and log of what failed."""

    @property
    def is_waiting(self) -> bool:
        """Whether the run did all it could and the release waits for a gate."""
        return self.state == "succeeded" and bool(self.verdicts)


def carry(steps: Steps, place: Workplace, worker: Worker, *, repository: str, ref: str) -> Outcome:
    """Carry a commit or tag as far as evidence carries it; errors of ours become a failed outcome."""
    packaged: Packaged | None = None
    try:
        packaged = package(steps, place, worker, repository=repository, ref=ref)
        outcome = (
            _arrived(packaged, advance(steps, place, worker, packaged))
            if packaged is not None
            else Outcome("succeeded", None, None, None, "nothing to do: the commit carries a release tag")
        )
    except ConveyorError as error:
        outcome = _failed(error, packaged)
    with suppress(Forbidden, Conflict):  # somebody ended the run in the store meanwhile
        steps.note(state=outcome.state, detail=outcome.detail)
    if outcome.state == "succeeded":
        sweep(place)
    return outcome


def advance(steps: Steps, place: Workplace, worker: Worker, packaged: Packaged) -> Standing:
    """Parts 2 and 3: test and promote, index by index, until the end of the way or a gate that waits.

    A final is tested for both indexes at the same time; only the promotions wait for each other.
    """
    goals = WAY[1:] if is_final(parse_version(packaged.version)) else WAY[1:2]
    where = Standing(steps("locate", lambda: locate(worker, packaged)))
    ahead = [goal for goal in goals if not is_beyond(where.index, goal, WAY)]
    tests = {
        goal: steps.begin(f"test for {goal}", _testing_job(place, worker, packaged, goal)) for goal in ahead
    }
    for goal in ahead:
        tests[goal]()
        where = steps(
            f"promote to {goal}", partial(promote, worker, packaged.project, packaged.version, to=goal)
        )
        if where.verdicts:
            break
    return where


def _testing_job(
    place: Workplace, worker: Worker, packaged: Packaged, index: str
) -> Callable[[], Done[None]]:
    return partial(
        run_testing_job, place, worker, project=packaged.project, version=packaged.version, index=index,
        repository=packaged.source.repository,
    )  # fmt: skip


def locate(worker: Worker, packaged: Packaged) -> Done[str]:
    """In which index the release is now."""
    index = worker.client.releases.get(packaged.project, packaged.version).index
    return Done(index, f'in "{index}"')


def sweep(place: Workplace) -> None:
    """Remove what a run that succeeded no longer needs; its logs stay."""
    for entry in place.folder.iterdir():
        if entry.name != "logs" and entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def _arrived(packaged: Packaged, where: Standing) -> Outcome:
    detail = f'{packaged.project} {packaged.version} is in "{where.index}"'
    if where.verdicts:
        waiting = "; ".join(f"{one.gate}: {one.reason}" for one in where.verdicts if not one.lets_pass)
        detail += f", waiting for {', '.join(where.waits_for)} ({waiting})"
    verdicts = tuple(asdict(verdict) for verdict in where.verdicts)
    return Outcome("succeeded", packaged.project, packaged.version, where.index, detail, verdicts)


def _failed(error: ConveyorError, packaged: Packaged | None) -> Outcome:
    facts = {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "log": getattr(error, "log", ""),
        "exit_code": error.exit_code,
    }
    verdicts = (
        tuple(asdict(verdict) for verdict in error.verdicts) if isinstance(error, PromotionRefused) else ()
    )
    return Outcome(
        "failed",
        packaged.project if packaged else None,
        packaged.version if packaged else None,
        None,
        f"{type(error).__name__}: {error.message}",
        verdicts,
        facts,
    )


def next_index(index: str) -> str:
    """The index that follows on the way.

    Raises:
        Conflict: it is the last one, or not on the way.
    """
    if index not in WAY[:-1]:
        raise Conflict(f'no index follows "{index}" on the way {" → ".join(WAY)}', hint="name one with --to")
    return WAY[WAY.index(index) + 1]
