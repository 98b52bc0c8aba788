"""How runs end, as plain data: kept by the engine, reported to the store, recalled without either.

Nothing of the jobs is imported here: a call that has nothing left to do should cost little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.problems import Problem, problem_of
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.domain.runs.states import RunState
from conveyor.domain.words.records import Record

if TYPE_CHECKING:
    from conveyor.errors import ConveyorError
    from conveyor.pipeline.jobs.packaging import Packaged
    from conveyor.pipeline.jobs.promotion import Standing


@dataclass(frozen=True)
class Outcome(Record):
    """How a run ended, as plain data."""

    state: RunState
    """``succeeded`` or ``failed``."""
    project: str | None
    version: str | None
    index: str | None
    """The index where the release is now."""
    detail: str
    """One sentence."""
    verdicts: tuple[Verdict, ...] = ()
    """The verdicts of the next index if the release waits."""
    error: Problem | None = None
    """The error that ended it."""

    @property
    def is_waiting(self) -> bool:
        """Whether the run did all it could and the release waits for a gate."""
        return self.state == "succeeded" and bool(self.verdicts)


def arrived(project: str, version: str, where: Standing) -> Outcome:
    """The outcome of a run that did all it could."""
    detail = f'{project} {version} is in "{where.index}"'
    if where.verdicts:
        waiting = "; ".join(f"{one.gate}: {one.reason}" for one in where.verdicts if not one.lets_pass)
        detail += f", waiting for {', '.join(where.waits_for)} ({waiting})"
    return Outcome("succeeded", project, version, where.index, detail, where.verdicts)


def failed(error: ConveyorError, packaged: Packaged | None = None) -> Outcome:
    """The outcome of a run that an error ended."""
    return Outcome(
        "failed",
        packaged.project if packaged else None,
        packaged.version if packaged else None,
        None,
        f"{type(error).__name__}: {error.message}",
        error=problem_of(error),
    )
