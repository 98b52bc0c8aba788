"""Pipeline runs: ask for one, claim one, report on it, look at it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from conveyor.domain.runs.states import RUN_STATES, STEP_STATES, Run, RunState, StepState
from conveyor.operations.runs.queue import (
    claim_run,
    create_run,
    get_run,
    list_runs,
    report_step,
    update_run,
)
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import (
    ANY_OBJECT,
    COMMIT,
    COUNT,
    INDEX_NAME,
    PROJECT,
    VERSION,
    given,
    listed,
    named,
    nullable,
    one_of,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.server.api.endpoints import Call


def get_runs(call: Call) -> Answer:
    """The newest runs, newest first."""
    limit = call.query_number("limit", default=50)
    return Answer({"runs": [_as_json(run) for run in list_runs(call.store, call.identity, limit=limit)]})


def post_run(call: Call) -> Answer:
    """Ask for a commit or tag to be carried through."""
    fields = call.fields("the run")
    repository, ref = fields.text("repository"), fields.text("ref", max_length=300)
    index = fields.optional_text("index", max_length=200)
    fields.finish(is_closed=True)
    run = create_run(call.store, call.identity, repository=repository, ref=ref, index=index)
    return Answer(_as_json(run), 201)


def post_run_claim(call: Call) -> Answer:
    """Take the oldest requested run (or the one named) as a registered worker; 204 when none waits."""
    fields = call.fields("the claim")
    worker = fields.text("worker", max_length=200)
    run_id = fields.count("run") if fields.anything("run") is not None else None
    fields.finish(is_closed=True)
    run = claim_run(call.store, call.identity, worker, run_id=run_id)
    return Answer(None, 204) if run is None else Answer(_as_json(run))


def get_one_run(call: Call) -> Answer:
    """A run with its steps in order."""
    return Answer(_as_json(get_run(call.store, call.identity, call.number("run"))))


def patch_run(call: Call) -> Answer:
    """Write what the worker that holds the run found out."""
    fields = call.fields("the run")
    facts: dict[str, str | None] = {
        "project": fields.optional_text("project", max_length=300),
        "version": fields.optional_text("version", max_length=300),
        "detail": fields.optional_text("detail", max_length=100_000),
        "commit": fields.commit("commit") if fields.anything("commit") is not None else None,
    }
    state = fields.choice("state", RUN_STATES) if fields.anything("state") is not None else None
    fields.finish(is_closed=True)
    run = update_run(
        call.store, call.identity, call.number("run"), state=cast("RunState | None", state), **facts
    )
    return Answer(_as_json(run))


def put_step(call: Call) -> Answer:
    """Write the state of one step of a run, as the worker that holds it."""
    fields = call.fields("the step")
    state = fields.choice("state", STEP_STATES)
    given = fields.anything("detail")
    detail: Mapping[str, Any] | None = None
    if isinstance(given, str):
        detail = {"summary": given}
    elif isinstance(given, dict):
        detail = given
    elif given is not None:
        fields.fault("detail", "is neither an object nor a text")
    fields.finish(is_closed=True)
    run = report_step(
        call.store,
        call.identity,
        call.number("run"),
        call.path["name"],
        state=cast("StepState", state),
        detail=detail,
    )
    return Answer(_as_json(run))


def _as_json(run: Run) -> dict[str, Any]:
    return asdict(run)


_RUN_NUMBER = {"run": COUNT}
_DETAIL = nullable(given(100_000))

ENDPOINTS = (
    Endpoint(
        "GET",
        "/runs",
        get_runs,
        right="read",
        query={"limit": COUNT},
        answers={200: record({"runs": listed(named("Run"))})},
    ),
    Endpoint(
        "POST",
        "/runs",
        post_run,
        right="run",
        body=record({"repository": given(), "ref": given(300)}, {"index": nullable(INDEX_NAME)}),
        answers={201: named("Run")},
    ),
    Endpoint(
        "POST",
        "/runs/claim",
        post_run_claim,
        right="upload",
        body=record({"worker": given(200)}, {"run": nullable(COUNT)}),
        answers={200: named("Run"), 204: None},
    ),
    Endpoint(
        "GET", "/runs/{run}", get_one_run, right="read", in_path=_RUN_NUMBER, answers={200: named("Run")}
    ),
    Endpoint(
        "PATCH",
        "/runs/{run}",
        patch_run,
        right="upload",
        in_path=_RUN_NUMBER,
        body=record(
            {},
            {
                "commit": nullable(COMMIT),
                "project": nullable(PROJECT),
                "version": nullable(VERSION),
                "detail": _DETAIL,
                "state": nullable(one_of(*RUN_STATES)),
            },
        ),
        answers={200: named("Run")},
    ),
    Endpoint(
        "PUT",
        "/runs/{run}/steps/{name}",
        put_step,
        right="upload",
        in_path=_RUN_NUMBER,
        body=record({"state": one_of(*STEP_STATES)}, {"detail": {"anyOf": [ANY_OBJECT, _DETAIL]}}),
        answers={200: named("Run")},
    ),
)
