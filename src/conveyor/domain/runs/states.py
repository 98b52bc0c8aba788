"""Pipeline runs: one commit or tag on its way through the pipeline, and which state may follow which.

The machines are the two tables below; a move that is not in them is refused. Reporting the current state of a
run or step again is not a move and always allowed: a worker that was killed between an action and its report
reports twice.

    run    requested → running → succeeded | failed | cancelled
    step   running → succeeded | failed | skipped, and → running again when a killed worker's run is resumed

A run whose worker dies stays ``running`` until that worker comes back and goes on with it, or another worker
takes it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from conveyor.domain.runs.repositories import Repository, holds_credentials
from conveyor.domain.words.names import ProjectName, VersionNumber
from conveyor.domain.words.notation import COMMIT_ID, Commit, Moment, from_utc_text
from conveyor.domain.words.records import Count, Given, Named, Record, ShortText, Text
from conveyor.errors import Conflict, Forbidden, InvalidInput

AS_BUILT = "as-built"
"""The repository of a run that tests a release: the one that its build evidence names, or its sdist."""

RunState = Literal["requested", "running", "succeeded", "failed", "cancelled"]
StepState = Literal["running", "succeeded", "failed", "skipped"]
MAX_DETAIL = 100_000
"""Characters."""
MOST_OF_ONE_BATCH = 50_000
"""Characters of output that a worker sends at a time."""
MOST_OUTPUT = 1_000_000
"""Characters of output that the store keeps of a run; its worker keeps more."""

RUN_MOVES: Mapping[RunState, frozenset[RunState]] = {
    "requested": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
STEP_MOVES: Mapping[StepState | None, frozenset[StepState]] = {
    None: frozenset({"running", "succeeded", "failed", "skipped"}),
    "running": frozenset({"succeeded", "failed", "skipped"}),
    "succeeded": frozenset({"running"}),
    "failed": frozenset({"running"}),
    "skipped": frozenset({"running"}),
}
"""``None``: the step is unknown; the report of its beginning may have been lost with its worker."""


@dataclass(frozen=True)
class Step(Record):
    """One part of a run."""

    name: str
    state: StepState
    started_at: Moment
    finished_at: Moment | None
    detail: Annotated[Mapping[str, Any], "Findings or products; the field summary is one line for people."]

    @property
    def summary(self) -> str:
        """One line for people; empty if the step reported none."""
        return str(self.detail.get("summary") or "")

    @property
    def seconds(self) -> float:
        """How long it took by its worker's clock, else by the times of its reports; 0 while it runs."""
        measured = self.detail.get("seconds")
        if isinstance(measured, int | float):
            return float(measured)
        if self.finished_at is None:
            return 0.0
        return (from_utc_text(self.finished_at) - from_utc_text(self.started_at)).total_seconds()


@dataclass(frozen=True)
class Run(Record):
    """One pipeline run as the store knows it."""

    id: Count
    repository: str
    ref: str
    index: Annotated[str, "Where its release enters the store; its bases say how it goes on."]
    commit: str | None
    project: str | None
    version: str | None
    state: RunState
    worker: str | None
    requested_by: str
    requested_at: Moment
    claimed_at: Moment | None
    finished_at: Moment | None
    detail: Annotated[str | None, "What failed, in one sentence."]
    priority: Annotated[int, "Those with a higher one are claimed first: tags before branches."] = 0
    retry_of: Annotated[Count | None, "The run that it does again."] = None
    reason: Annotated[str | None, "Why it was requested by itself or again, or cancelled."] = None
    tests_since: Annotated[
        Moment | None, "Only results of tests from then on count for it; null: earlier ones too."
    ] = None
    steps: tuple[Step, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return not RUN_MOVES[self.state]


@dataclass(frozen=True)
class NewRun(Record):
    """A commit or tag to be taken through the pipeline."""

    repository: Annotated[Text, "As a worker reaches it."]
    ref: Annotated[str, Given(300), "Tag, branch or commit."]
    index: Annotated[ShortText | None, "Where its release enters; null: the only index where it can."] = None
    project: Annotated[ProjectName | None, "Which of the commit's projects; null: the only one."] = None
    claim: Annotated[bool, "Claim it at once, as the worker that asks."] = False
    version: Annotated[
        VersionNumber | None, "Only test this release, which is in the index already; null: build one."
    ] = None
    tests_again: Annotated[bool, "Test again what was tested before, as with new dependencies."] = False


@dataclass(frozen=True)
class RunToken(Record):
    """The token of one run: it reaches the project and the indexes of that run, and ends with it."""

    secret: Annotated[str, Named("token"), "The text that the worker sends."] = field(repr=False)
    expires_at: Annotated[Moment, "When it ends in any case; then the worker asks for another."]
    repositories: Annotated[
        tuple[Repository, ...], "Those of its project, which the worker may read; others it may not."
    ] = ()
    folders: Annotated[bool, "Whether it may read folders of its machine, as it asked for the run."] = False
    store_url: Annotated[
        str | None, "The store's public URL, for what the worker writes down; null: none is configured."
    ] = None
    index: Annotated[str | None, "The index that its run enters."] = None
    is_private: Annotated[bool, "Whether reading that index, or one of its bases, takes a right."] = False
    tests_since: Annotated[
        Moment | None, "Only results of tests from then on count for the run; null: earlier ones too."
    ] = None


@dataclass(frozen=True)
class RunReason(Record):
    """Why a run is cancelled, or requested again."""

    reason: Annotated[Annotated[str, Given(1000)] | None, "One sentence, shown with the run."] = None


@dataclass(frozen=True)
class RunSettings(Record):
    """How the store deals with its runs."""

    at_a_time: Annotated[
        Count | None,
        "How many run at a time in all workers, but for those that a worker asks for itself or takes over; "
        "null: any number.",
    ]
    kept_days: Annotated[Count | None, "For how many days ended runs are kept; null: for ever."]


@dataclass(frozen=True)
class RunClaim(Record):
    """A worker's request for a run."""

    worker: Annotated[ShortText, "Its name."]
    run: Annotated[Count | None, "Only this run; null: the first that waits."] = None
    held_by: Annotated[
        ShortText | None, "The worker that holds the run and has ended; null: nobody holds it yet."
    ] = None


@dataclass(frozen=True)
class RunReport(Record):
    """Facts found by the worker that holds a run; null leaves a fact as it is."""

    commit: Commit | None = None
    project: ProjectName | None = None
    version: VersionNumber | None = None
    detail: Annotated[Annotated[str, Given(MAX_DETAIL)] | None, "One sentence."] = None
    state: RunState | None = None


@dataclass(frozen=True)
class StepReport(Record):
    """The state of one step of a run."""

    state: StepState
    detail: Annotated[
        Mapping[str, Any] | Annotated[str, Given(MAX_DETAIL)] | None,
        "Its findings or products, or one line for people; null leaves them as they are.",
    ] = None

    @property
    def facts(self) -> Mapping[str, Any] | None:
        """The detail as a step keeps it: one line for people is its summary."""
        return {"summary": self.detail} if isinstance(self.detail, str) else self.detail


@dataclass(frozen=True)
class OutputPart(Record):
    """Lines that one of the programs of a run wrote."""

    log: Annotated[ShortText, "The name of the log that they stand in, on the worker."]
    text: Annotated[str, Given(MOST_OF_ONE_BATCH), "Whole lines; long ones are cut."]


@dataclass(frozen=True)
class OutputReport(Record):
    """Output of a run, as its worker sends it while the run goes on."""

    parts: tuple[OutputPart, ...]
    after: Annotated[
        Count | None,
        "The number of the batch that the worker sent before, so that one that is sent twice counts once; "
        "null: it has sent none yet.",
    ] = None

    @property
    def characters(self) -> int:
        """How much it is."""
        return sum(len(part.log) + len(part.text) for part in self.parts)


@dataclass(frozen=True)
class OutputTaken(Record):
    """What became of a batch of output."""

    number: Annotated[Count, "Of the newest batch."]
    is_full: Annotated[bool, "Whether the store takes no more output of this run."]


@dataclass(frozen=True)
class OutputBatch(Record):
    """A batch of output of a run."""

    number: Annotated[Count, "Counted from 1 in each run."]
    received_at: Moment
    parts: tuple[OutputPart, ...]


def priority_of(ref: str, *, could_be_release: bool) -> int:
    """The priority of a run: releases before what is only being worked on.

    ``could_be_release``: whether the ref, read as the name of a tag, names a version.
    """
    is_tag = ref.startswith("refs/tags/") or (could_be_release and not ref.startswith("refs/"))
    return 1 if is_tag else 0


def is_same_event(run: Run, asked: NewRun, *, index: str) -> bool:
    """Whether a run that was requested before does what is asked, so that no second one is needed.

    One that waits looks at its ref when it is claimed, and so sees what the later event is about. One that
    runs has looked already, which is the same only for a commit.
    """
    waits = run.state == "requested" or (run.state == "running" and COMMIT_ID.fullmatch(run.ref) is not None)
    wanted = (asked.repository, asked.ref, asked.project, index)
    if asked.tests_again and run.tests_since is None:
        return False
    return waits and (run.repository, run.ref, run.project, run.index) == wanted


def check_run_move(before: RunState, after: RunState) -> bool:
    """Whether this is a move at all (``False``: the state stays); raises Conflict when it is not allowed."""
    if before == after:
        return False
    if after not in RUN_MOVES[before]:
        raise Conflict(f"a run that is {before} cannot become {after}")
    return True


def check_can_retry(run: Run) -> None:
    """Allow doing again what has ended; raises Conflict."""
    if not run.has_ended:
        raise Conflict(
            f"run {run.id} is {run.state}",
            hint=f"wait for its end, or: conveyor pipeline cancel {run.id} --store URL",
        )
    if run.repository == AS_BUILT:
        raise Conflict(
            f"run {run.id} tested a release, and its worker alone can do that again",
            hint=f"there: conveyor pipeline test {run.project or 'NAME'} {run.version or run.ref} "
            "--credentials worker.toml",
        )


def check_step_move(before: StepState | None, after: StepState) -> bool:
    """Whether this is a move at all (``False``: the state stays); raises Conflict when it is not allowed."""
    if before == after:
        return False
    if after not in STEP_MOVES[before]:
        raise Conflict(f"a step that is {before} cannot become {after}")
    return True


def check_holder(run: Run, worker: str | None) -> None:
    """Allow reports of the worker that holds the run, while it runs or to say its last state again.

    Raises:
        Forbidden: another worker holds it, or the caller is not a worker.
        Conflict: nobody has claimed it.
    """
    if run.worker is None:
        raise Conflict(f"nobody has claimed run {run.id}", hint="claim it first: POST /api/v1/runs/claim")
    if worker != run.worker:
        raise Forbidden(f"run {run.id} is held by {run.worker}, not by {worker or 'you'}")


def check_request(repository: str, ref: str) -> None:
    """Accept the repository and ref of a requested run.

    Raises:
        InvalidInput: the repository's URL holds credentials, or git would read one of the two as an option;
            names every fault.
    """
    faults = []
    if repository.startswith("-") or not repository.isprintable():
        faults.append("repository is neither a URL nor a path")
    if holds_credentials(repository):
        faults.append("repository holds credentials, which everybody who may read runs would see")
    if ref.startswith("-") or not ref.isprintable() or " " in ref:
        faults.append("ref is not the name of a ref in git")
    if faults:
        raise InvalidInput(
            f"the run cannot be requested: {faults[0]}",
            faults=faults,
            hint="give a repository that workers can reach with their own keys, and a ref: refs/tags/v1.0",
        )


def holds_password(repository: str) -> bool:
    """Whether a repository's URL holds a password, or cannot be read well enough to tell."""
    try:
        return urlsplit(repository).password is not None
    except ValueError:
        return True
