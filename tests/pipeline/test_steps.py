"""Steps: what they give, how they fail, that failures survive as plain data, and their output."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest

from conveyor.client.problems import Problem
from conveyor.client.store import StoreClient
from conveyor.domain.people.access import WORKER_SCOPES, Identity
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.domain.runs.states import RunReport
from conveyor.errors import (
    ConveyorError,
    EquivalenceFailed,
    InvalidInput,
    PromotionRefused,
    StepFailed,
    StoreUnreachable,
)
from conveyor.pipeline.engine import steps as room
from conveyor.pipeline.engine.steps import DirectSteps, Done, Reporter, carry_out, value_of
from conveyor.project.foreign import RUN, Sight, run_foreign
from conveyor.server.api.direct import DirectConnection
from makers import make_store
from releases_made import make_worker, request_run

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.client.connection import Request, StoreAnswer
    from conveyor.domain.runs.states import OutputBatch


def test_step_gives_its_value_and_tells_a_person() -> None:
    said: list[str] = []
    steps = DirectSteps(Reporter(None, None, said.append))
    assert steps("count", lambda: Done(42, "found 42")) == 42
    begun = [steps.begin("one", lambda: Done(1)), steps.begin("two", lambda: Done(2, is_skipped=True))]
    assert [value() for value in begun] == [1, 2]
    assert [line.split()[-1] for line in said] == ["42", "one", "two"]
    assert said[2].startswith("-")


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("bad", hint="do better"),
        StepFailed("failed", log="what it printed"),
        EquivalenceFailed("differs", hint="look"),
        PromotionRefused("no", verdicts=(Verdict("tests", "fail", "none"),)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_as_plain_data(error: ConveyorError) -> None:
    def fail() -> Done[None]:
        raise error

    failure = pickle.loads(pickle.dumps(carry_out(Reporter(None, None), "step", fail)))  # noqa: S301 - our own
    with pytest.raises(type(error)) as caught:
        value_of(failure)
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)
    assert getattr(caught.value, "log", None) == getattr(error, "log", None)
    assert getattr(caught.value, "verdicts", None) == getattr(error, "verdicts", None)


def test_bug_of_ours_ends_the_step_with_its_traceback() -> None:
    failure = carry_out(Reporter(None, None), "step", lambda: Done(1 // 0))
    assert isinstance(failure, Problem)
    assert failure.detail.startswith("ZeroDivisionError")
    assert "Traceback" in failure.log


def test_step_is_tried_again_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    calls: list[int] = []

    def flaky() -> Done[str]:
        calls.append(1)
        if len(calls) < 4:
            raise StoreUnreachable("it is starting")
        return Done("there")

    assert value_of(carry_out(Reporter(None, None), "step", flaky)) == "there"
    calls.clear()
    monkeypatch.setattr(room, "RETRY_SECONDS", ())
    with pytest.raises(StoreUnreachable):
        value_of(carry_out(Reporter(None, None), "step", flaky))


@pytest.mark.parametrize(("kills", "calls"), [(0, 1), (1, 2), (3, 4), (4, 4)])
def test_step_is_done_again_if_a_program_of_it_was_killed(tmp_path: Path, kills: int, calls: int) -> None:
    """As a kernel that is short of memory does; a program that fails by itself fails its step."""
    counted = tmp_path / "calls"
    program = f"echo >> {counted}; test $(wc -l < {counted}) -gt {kills} || kill -9 $$; exit {int(not kills)}"

    def build() -> Done[None]:
        ended = run_foreign(["/bin/sh", "-c", program], Sight({RUN: "mine", "PATH": os.defpath}))
        if ended.return_code:
            raise StepFailed(f"it ended with {ended.return_code}")
        return Done(None, "built")

    said: list[str] = []
    reporter = Reporter(None, None, said.append)
    reporter.mark = "mine"
    outcome = carry_out(reporter, "build", build)
    assert len(counted.read_text()) == calls
    assert isinstance(outcome, Done if 0 < kills < calls else Problem)
    assert sum("is done again: a program of it was killed" in line for line in said) == calls - 1


def looked_at(tmp_path: Path) -> tuple[StoreClient, int]:
    """A store, as a worker sees it that holds a run."""
    store = make_store(tmp_path)
    make_worker(store)
    request_run(store)
    worker = Identity("worker-1", WORKER_SCOPES, worker="worker-1")
    client = StoreClient(DirectConnection(store, worker, name="here"))
    run = client.runs.claim("worker-1")
    assert run is not None
    return client, run.id


def written(client: StoreClient, run_id: int) -> list[tuple[str, str]]:
    batches: list[OutputBatch] = []
    while more := client.runs.output(run_id, after=batches[-1].number if batches else 0):
        batches += more
    return [(part.log, line) for one in batches for part in one.parts for line in part.text.splitlines()]


def test_output_is_in_the_store_before_its_step_has_ended(tmp_path: Path) -> None:
    client, run_id = looked_at(tmp_path)
    reporter = Reporter(client, run_id)

    def build() -> Done[None]:
        reporter.output("build", "beginning\n")
        reporter.output("build", "")
        reporter.output("other log", "\0 and \ud800")
        reporter.output("build", "x" * 317_000)
        return Done(None)

    carry_out(reporter, "build", build)
    cut = "x" * room.LONGEST_LINE + " [315000 more characters]"
    assert written(client, run_id) == [
        ("build", "beginning"), ("build", ""), ("other log", "\ufffd and ?"), ("build", cut),
    ]  # fmt: skip
    reporter.run(RunReport(state="succeeded"))
    reporter.output("build", "after the end")
    reporter.close()
    assert len(written(client, run_id)) == 4


def test_log_that_is_long_leaves_room_for_others_and_much_of_it_is_sent_in_batches(tmp_path: Path) -> None:
    client, run_id = looked_at(tmp_path)
    reporter = Reporter(client, run_id)
    for number in range(30_000):
        reporter.output("install", f"line {number}")
    reporter.output("tests", "1 passed")
    reporter.close()
    *lines, (log, last), tests = written(client, run_id)
    assert (tests, log, last) == (
        ("tests", "1 passed"), "install", "[the rest of this log is on its worker only]",
    )  # fmt: skip
    assert [line for _, line in lines] == [f"line {number}" for number in range(len(lines))]
    assert sum(len(line) + 1 for _, line in lines) <= room.MOST_OF_ONE_LOG


def test_output_that_the_store_could_not_take_is_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, run_id = looked_at(tmp_path)
    reporter = Reporter(client, run_id)
    with monkeypatch.context() as away:
        away.setattr(DirectConnection, "send", _unreachable)
        reporter.output("build", "one")
        reporter.step("build", "running")
    reporter.output("build", "two")
    reporter.close()
    assert written(client, run_id) == [("build", "one"), ("build", "two")]


def _unreachable(self: DirectConnection, request: Request) -> StoreAnswer:
    raise StoreUnreachable(f"{self.url} does not answer {request.method}")
