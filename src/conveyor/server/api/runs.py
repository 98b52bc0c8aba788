"""Pipeline runs: ask for one, claim one, report on it, look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.runs.states import (
    NewRun,
    OutputBatch,
    OutputReport,
    OutputTaken,
    Run,
    RunClaim,
    RunReason,
    RunReport,
    RunSettings,
    RunToken,
    StepReport,
)
from conveyor.domain.words.records import Count
from conveyor.operations.runs.queue import (
    add_output,
    cancel_run,
    claim_run,
    create_run,
    get_output,
    get_run,
    get_run_settings,
    list_runs,
    report_step,
    retry_run,
    set_run_settings,
    take_over_run,
    update_run,
)
from conveyor.operations.runs.tokens import issue_run_token
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_runs(call: Call) -> Answer:
    """The newest runs, newest first."""
    limit = call.query_number("limit", default=50)
    return Answer({"runs": list_runs(call.store, call.identity, limit=limit)})


def post_run(call: Call) -> Answer:
    """Ask for a commit or tag to be carried through."""
    asked = call.read(NewRun, what="the run")
    return Answer(create_run(call.store, call.identity, asked), 201)


def post_run_claim(call: Call) -> Answer:
    """Take the first requested run (or the one named) as a registered worker; 204 when none waits."""
    asked = call.read(RunClaim, what="the claim")
    if asked.run is not None and asked.held_by is not None:
        run = take_over_run(call.store, call.identity, asked.worker, asked.run, held_by=asked.held_by)
    else:
        run = claim_run(call.store, call.identity, asked.worker, run_id=asked.run)
    return Answer(run, 204 if run is None else 200)


def post_run_token(call: Call) -> Answer:
    """Make a token for the run, as the worker that holds it; it ends with the run."""
    return Answer(issue_run_token(call.store, call.identity, call.number("run")), 201)


def get_one_run(call: Call) -> Answer:
    """A run with its steps in order."""
    return Answer(get_run(call.store, call.identity, call.number("run")))


def patch_run(call: Call) -> Answer:
    """Write what the worker that holds the run found out."""
    report = call.read(RunReport, what="the run")
    return Answer(update_run(call.store, call.identity, call.number("run"), **vars(report)))


def post_cancellation(call: Call) -> Answer:
    """End a run that waits or is under way."""
    asked = call.read(RunReason, what="the cancellation")
    return Answer(cancel_run(call.store, call.identity, call.number("run"), asked.reason))


def post_retry(call: Call) -> Answer:
    """Ask for a run that has ended once more."""
    asked = call.read(RunReason, what="the retry")
    return Answer(retry_run(call.store, call.identity, call.number("run"), asked.reason), 201)


def get_settings_of_runs(call: Call) -> Answer:
    """How many runs are under way at a time, and for how long they are kept."""
    return Answer(get_run_settings(call.store, call.identity))


def put_settings_of_runs(call: Call) -> Answer:
    """Change both."""
    asked = call.read(RunSettings, what="the settings")
    return Answer(set_run_settings(call.store, call.identity, asked))


def put_step(call: Call) -> Answer:
    """Write the state of one step of a run, as the worker that holds it."""
    report = call.read(StepReport, what="the step")
    run = report_step(
        call.store,
        call.identity,
        call.number("run"),
        call.path["name"],
        state=report.state,
        detail=report.facts,
    )
    return Answer(run)


def post_output(call: Call) -> Answer:
    """Keep what the programs of the run have written, as the worker that holds it; each batch once."""
    report = call.read(OutputReport, what="the output")
    return Answer(add_output(call.store, call.identity, call.number("run"), report))


def get_output_of_run(call: Call) -> Answer:
    """What the programs of the run have written, the first batches after a number."""
    after = call.query_number("after", default=0)
    return Answer({"output": get_output(call.store, call.identity, call.number("run"), after=after)})


_RUN_NUMBER = {"run": Count}

ENDPOINTS = (
    Endpoint(
        "GET", "/runs", get_runs, right="read", query={"limit": Count}, answers={200: ListOf("runs", Run)}
    ),
    Endpoint("POST", "/runs", post_run, right="run", body=NewRun, answers={201: Run}),
    Endpoint(
        "POST",
        "/runs/claim",
        post_run_claim,
        right="run",
        body=RunClaim,
        answers={200: Run, 204: None},
    ),
    Endpoint(
        "POST",
        "/runs/{run}/token",
        post_run_token,
        right="run",
        in_path=_RUN_NUMBER,
        answers={201: RunToken},
    ),
    Endpoint("GET", "/run-settings", get_settings_of_runs, right="admin", answers={200: RunSettings}),
    Endpoint(
        "PUT",
        "/run-settings",
        put_settings_of_runs,
        right="admin",
        body=RunSettings,
        answers={200: RunSettings},
    ),
    Endpoint("GET", "/runs/{run}", get_one_run, right="read", in_path=_RUN_NUMBER, answers={200: Run}),
    Endpoint(
        "POST",
        "/runs/{run}/cancellation",
        post_cancellation,
        right="run",
        in_path=_RUN_NUMBER,
        body=RunReason,
        answers={200: Run},
    ),
    Endpoint(
        "POST",
        "/runs/{run}/retry",
        post_retry,
        right="run",
        in_path=_RUN_NUMBER,
        body=RunReason,
        answers={201: Run},
    ),
    Endpoint(
        "PATCH",
        "/runs/{run}",
        patch_run,
        right="run",
        in_path=_RUN_NUMBER,
        body=RunReport,
        answers={200: Run},
    ),
    Endpoint(
        "PUT",
        "/runs/{run}/steps/{name}",
        put_step,
        right="run",
        in_path=_RUN_NUMBER,
        body=StepReport,
        answers={200: Run},
    ),
    Endpoint(
        "GET",
        "/runs/{run}/output",
        get_output_of_run,
        right="read",
        in_path=_RUN_NUMBER,
        query={"after": Count},
        answers={200: ListOf("output", OutputBatch)},
    ),
    Endpoint(
        "POST",
        "/runs/{run}/output",
        post_output,
        right="run",
        in_path=_RUN_NUMBER,
        body=OutputReport,
        answers={200: OutputTaken},
    ),
)
