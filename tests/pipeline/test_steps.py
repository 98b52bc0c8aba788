"""Steps: what they give, how they fail, and that failures survive as plain data."""

from __future__ import annotations

import pickle

import pytest

from conveyor.client.problems import Problem
from conveyor.domain.releases.gates.judged import Verdict
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
