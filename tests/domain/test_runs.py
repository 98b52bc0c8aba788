from __future__ import annotations

from typing import get_args

import pytest

from conveyor.domain.runs.states import (
    RUN_MOVES,
    STEP_MOVES,
    Run,
    RunState,
    Step,
    StepState,
    check_holder,
    check_request,
    check_run_move,
    check_step_move,
)
from conveyor.errors import Conflict, Forbidden, InvalidInput


def make_run(state: RunState = "running", worker: str | None = "worker-1") -> Run:
    return Run(
        id=1,
        repository="/srv/demo.git",
        ref="refs/tags/v1.0",
        index="unstable",
        commit=None,
        project=None,
        version=None,
        state=state,
        worker=worker,
        requested_by="ada",
        requested_at="2026-11-21T08:00:00.000000Z",
        claimed_at=None,
        finished_at=None,
        detail=None,
    )


def test_tables_know_every_state() -> None:
    assert set(RUN_MOVES) == set(get_args(RunState))
    assert set(STEP_MOVES) == {None, *get_args(StepState)}


@pytest.mark.parametrize("before", get_args(RunState))
@pytest.mark.parametrize("after", get_args(RunState))
def test_run_moves_as_the_table_says_and_no_other_way(before: RunState, after: RunState) -> None:
    if before == after:
        assert not check_run_move(before, after)
    elif after in RUN_MOVES[before]:
        assert check_run_move(before, after)
    else:
        with pytest.raises(Conflict):
            check_run_move(before, after)


def test_run_that_ended_stays_ended() -> None:
    for state in ("succeeded", "failed", "cancelled"):
        assert make_run(state).has_ended
        for other in get_args(RunState):
            if other != state:
                with pytest.raises(Conflict):
                    check_run_move(state, other)
    assert not make_run("running").has_ended


def test_step_may_begin_again_but_not_jump_between_ends() -> None:
    assert check_step_move(None, "succeeded")
    assert check_step_move("succeeded", "running")
    assert not check_step_move("failed", "failed")
    with pytest.raises(Conflict):
        check_step_move("succeeded", "failed")


def test_only_the_worker_that_holds_a_run_reports_on_it() -> None:
    check_holder(make_run(), "worker-1")
    for other in ("worker-2", None):
        with pytest.raises(Forbidden):
            check_holder(make_run(), other)
    with pytest.raises(Conflict):
        check_holder(make_run("requested", worker=None), "worker-1")


def test_step_took_what_its_worker_measured_else_the_time_between_reports() -> None:
    began, ended = "2026-11-21T08:00:00.000000Z", "2026-11-21T08:00:02.500000Z"
    assert Step("build", "succeeded", began, ended, {}).seconds == 2.5
    assert Step("build", "succeeded", began, ended, {"seconds": 1}).seconds == 1.0
    assert Step("build", "running", began, None, {}).seconds == 0.0
    assert Step("build", "running", began, None, {"summary": "half done"}).summary == "half done"


@pytest.mark.parametrize(
    ("repository", "ref"),
    [("/srv/demo.git", "refs/tags/v1.0"), ("ssh://git@host/demo.git", "main"), ("git@host:demo.git", "v1")],
)
def test_sensible_requests_are_accepted(repository: str, ref: str) -> None:
    check_request(repository, ref)


@pytest.mark.parametrize(
    ("repository", "ref"),
    [
        ("https://ada:secret@host/demo.git", "main"),
        ("--upload-pack=evil", "main"),
        ("/srv/demo.git", "--evil"),
        ("/srv/demo.git", "two words"),
        ("/srv/\ndemo.git", "main"),
        ("http://[", "main"),
    ],
)
def test_requests_that_hold_secrets_or_options_are_refused(repository: str, ref: str) -> None:
    with pytest.raises(InvalidInput):
        check_request(repository, ref)
