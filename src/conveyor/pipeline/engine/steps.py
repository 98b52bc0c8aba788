"""Steps: the parts of a job, each done once, timed and reported, and failing with an error of ours.

A job is written as calls of ``Steps``, so that the same job runs under the durable engine (``engine``) and on
a CI host without it (``DirectSteps``). A step's function returns ``Done``: a value of plain data for the next
step, and a line for people.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from conveyor.client.problems import Problem, error_from, problem_of
from conveyor.domain.runs.states import MOST_OF_ONE_BATCH, OutputPart, OutputReport
from conveyor.errors import ConveyorError, StepFailed, StorageFailed, StoreUnreachable
from conveyor.project.foreign import kills_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conveyor.client.store import StoreClient
    from conveyor.domain.runs.states import RunReport, StepState

R = TypeVar("R")
OUTPUT_SECONDS = 1.0
LONGEST_LINE = 2000
"""Characters of a line of output in the store; one error of pip was a line of 317,000."""
MOST_OF_ONE_LOG = 200_000
"""Characters."""
LONGEST_NAME = 200
MOST_REPEATS = 3
"""How often a step is done again because a program of it was killed; as often as a job may end its worker."""
RETRY_SECONDS = (0.5, 2.0, 5.0, 10.0)
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


class Output:
    """What the programs of a run write, on its way to the store: in batches, each second, in a thread.

    It is for people who look on: nothing waits for it, and what the store does not take is in the worker's
    logs. Lines are cut at ``LONGEST_LINE``, and a log at ``MOST_OF_ONE_LOG``, so that one of them leaves
    room for the others.
    """

    def __init__(self, client: StoreClient, run_id: int) -> None:
        self._client = client
        self._run_id = run_id
        self._guard = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: deque[tuple[str, str]] = deque()
        self._written: Counter[str] = Counter()
        self._newest: int | None = None
        self._is_over = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def line(self, log: str, line: str) -> None:
        """Take one line of a log; any thread may call it."""
        line = _sendable(line)
        with self._guard:
            before = self._written[log]
            if self._is_over or before > MOST_OF_ONE_LOG:
                return
            self._written[log] += len(line) + 1
            if self._written[log] > MOST_OF_ONE_LOG:
                line = "[the rest of this log is on its worker only]"
            self._waiting.append((log[:LONGEST_NAME], line))
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._send_on, name="output", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Send what has been written so far; what the store cannot take now is sent later."""
        with self._sending:
            while not self._is_over and (taken := self._take()):
                try:
                    done = self._client.runs.add_output(
                        self._run_id, OutputReport(_as_parts(taken), self._newest)
                    )
                except (StoreUnreachable, StorageFailed):
                    with self._guard:
                        self._waiting.extendleft(reversed(taken))
                    return
                except ConveyorError:  # the run has ended, or is another's
                    self._is_over = True
                else:
                    self._newest, self._is_over = done.number, done.is_full

    def close(self) -> None:
        """Send the rest, and no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _take(self) -> list[tuple[str, str]]:
        taken, size = [], 0
        with self._guard:
            while self._waiting and size + sum(map(len, self._waiting[0])) + 1 <= MOST_OF_ONE_BATCH:
                taken.append(self._waiting.popleft())
                size += sum(map(len, taken[-1])) + 1
        return taken

    def _send_on(self) -> None:
        while not self._ended.wait(OUTPUT_SECONDS):
            self.flush()


def _sendable(line: str) -> str:
    """A line as the store takes it: of limited length, of characters that UTF-8 has, without NUL."""
    line = line.rstrip("\n")
    more = len(line) - LONGEST_LINE
    if more > 0:
        line = f"{line[:LONGEST_LINE]} [{more} more characters]"
    return line.replace("\0", "\ufffd").encode(errors="replace").decode()


def _as_parts(lines: Iterable[tuple[str, str]]) -> tuple[OutputPart, ...]:
    """Lines of the same log, as long as they follow each other, are one part."""
    return tuple(
        OutputPart(log, "".join(f"{line}\n" for _, line in group))
        for log, group in groupby(lines, key=itemgetter(0))
    )


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
        self.mark: str | None = None
        """By which programs of the run are known (``foreign.RUN``)."""
        self._output = Output(self.client, run_id) if self.client is not None and run_id is not None else None

    def output(self, log: str, line: str) -> None:
        """Show the store a line that a program of the run wrote."""
        if self._output is not None:
            self._output.line(log, line)

    def close(self) -> None:
        """Send what is left of the output."""
        if self._output is not None:
            self._output.close()

    def step(self, name: str, state: StepState, seconds: float | None = None, **detail: Any) -> None:  # noqa: ANN401 - JSON
        """Note a step's state."""
        if self._output is not None:
            self._output.flush()
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
        if self._output is not None and report.state is not None:
            self._output.flush()
        if client is not None and run_id is not None:
            with_patience(lambda: client.runs.update(run_id, report))


def step_line(name: str, state: StepState, seconds: float, summary: str) -> str:
    """One line for people about a step that has ended."""
    mark = {"skipped": "-", "failed": "!"}.get(state, " ")
    return f"{mark} {seconds:6.1f} s  {name:<20} {summary}".rstrip()


def carry_out(reporter: Reporter, name: str, function: Callable[[], Done[R]]) -> Done[R] | Problem:
    """Do a step and report it; try again while the store is unreachable; return errors as values.

    A step is done again if it failed when a program of it was killed, by whomever: it may be repeated after
    the death of its worker as well.
    """
    started = time.monotonic()
    reporter.step(name, "running")
    try:
        done = _done_in_spite_of_kills(reporter, name, function)
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


def _done_in_spite_of_kills(reporter: Reporter, name: str, function: Callable[[], Done[R]]) -> Done[R]:
    for _ in range(MOST_REPEATS):
        kills = kills_of(reporter.mark)
        try:
            return with_patience(function)
        except ConveyorError:
            if kills_of(reporter.mark) == kills:
                raise
        reporter.say(f"  (step {name} is done again: a program of it was killed)")
    return with_patience(function)


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
