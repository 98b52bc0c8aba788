"""Steps: the parts of a job, each done once, timed and reported, and failing with an error of ours.

A job is written as calls of ``Steps``, so that the same job runs under the durable engine (``engine``) and on
a CI host without it (``DirectSteps``). A step's function returns ``Done``: a value of plain data for the next
step, and a line for people.
"""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from conveyor.client.problems import Problem, error_from, problem_of
from conveyor.errors import ConveyorError, StepFailed, StorageFailed, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.client.store import StoreClient
    from conveyor.domain.runs.states import RunReport, StepState

R = TypeVar("R")
RETRY_SECONDS = (0.5, 2.0, 5.0)
"""Pauses before a step is tried again because the store could not be reached; it may be restarting."""
LOG_CHARACTERS = 20_000


@dataclass(frozen=True)
class Done(Generic[R]):
    """The result of a step: a value, one line for people, and facts for the run's page."""

    value: R
    summary: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    is_skipped: bool = False


class Steps(Protocol):
    """How a job calls its parts."""

    def __call__(self, name: str, function: Callable[[], Done[R]]) -> R:
        """Return the value of the step, done now or kept from before a crash; raises its error."""

    def begin(self, name: str, function: Callable[[], Done[R]]) -> Callable[[], R]:
        """Begin a step that may run in parallel; call the returned function for its value or error."""

    def note(self, report: RunReport) -> None:
        """Tell the store what was found out about the run."""


class Reporter:
    """Reports progress to the store and to a person; the job goes on while the store is unreachable."""

    def __init__(
        self,
        client: StoreClient | None,
        run_id: int | None,
        say: Callable[[str], None] | None = None,
        *,
        told: Callable[[str], str] = str,
    ) -> None:
        """``told``: what the store is told of a text for people, which may name it as others do not."""
        self.client = client if run_id is not None else None
        self.run_id = run_id
        self.say = say or (lambda _line: None)
        self.told = told

    def step(self, name: str, state: StepState, seconds: float | None = None, **detail: Any) -> None:  # noqa: ANN401 - JSON
        """Note a step's state."""
        if seconds is not None:
            detail["seconds"] = round(seconds, 3)
            self.say(step_line(name, state, seconds, detail.get("summary", "")))
        if self.client is not None and self.run_id is not None:
            try:
                self.client.runs.report_step(self.run_id, name, state, detail)
            except (StoreUnreachable, StorageFailed) as error:
                self.say(f"  (step {name} could not be reported: {error.message})")

    def run(self, report: RunReport) -> None:
        """Note facts of the run; tried again while the store is unreachable."""
        client, run_id = self.client, self.run_id
        if client is not None and run_id is not None:
            with_patience(lambda: client.runs.update(run_id, report))


def step_line(name: str, state: StepState, seconds: float, summary: str) -> str:
    """One line for people about a step that has ended."""
    mark = {"skipped": "-", "failed": "!"}.get(state, " ")
    return f"{mark} {seconds:6.1f} s  {name:<20} {summary}".rstrip()


def carry_out(reporter: Reporter, name: str, function: Callable[[], Done[R]]) -> Done[R] | Problem:
    """Do a step and report it; try again while the store is unreachable; return errors as values."""
    started = time.monotonic()
    reporter.step(name, "running")
    try:
        done = with_patience(function)
    except ConveyorError as error:
        failure = problem_of(error)
        failure = replace(
            failure,
            detail=reporter.told(failure.detail),
            log=reporter.told(failure.log)[-LOG_CHARACTERS:],
        )
    except Exception as error:  # noqa: BLE001 - a bug of ours must end the step, not hang the run
        failure = problem_of(StepFailed(f"{type(error).__name__}: {error}", log=traceback.format_exc()))
    else:
        state: StepState = "skipped" if done.is_skipped else "succeeded"
        summary = reporter.told(done.summary)
        reporter.step(name, state, time.monotonic() - started, summary=summary, **done.facts)
        return done
    reporter.step(
        name, "failed", time.monotonic() - started, summary=failure.detail.splitlines()[0],
        error=failure.title, message=failure.detail, hint=failure.hint, log=failure.log,
    )  # fmt: skip
    return failure


def value_of(outcome: Done[R] | Problem) -> R:
    """Return the value of a step that succeeded; raise the error of one that failed."""
    if isinstance(outcome, Problem):
        raise error_from(outcome)
    return outcome.value


class DirectSteps:
    """Steps done here and now, one after the other, without an engine."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def __call__(self, name: str, function: Callable[[], Done[R]]) -> R:
        """Do the step now and return its value."""
        return value_of(carry_out(self.reporter, name, function))

    def begin(self, name: str, function: Callable[[], Done[R]]) -> Callable[[], R]:
        """Do the step now; its error is kept until its value is requested."""
        return partial(value_of, carry_out(self.reporter, name, function))

    def note(self, report: RunReport) -> None:
        """Tell the store, if it knows this run."""
        self.reporter.run(report)


def say_to_stderr(line: str) -> None:
    """Write a line for people."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def with_patience(function: Callable[[], R]) -> R:
    """Return the function's value, calling it again after a pause while the store cannot be reached."""
    for pause in RETRY_SECONDS:
        try:
            return function()
        except (StoreUnreachable, StorageFailed):
            time.sleep(pause)
    return function()
