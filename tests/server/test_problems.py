from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.judged import Verdict
from conveyor.errors import (
    DistributionExists,
    InvalidDistribution,
    NotFound,
    PromotionRefused,
    StorageFailed,
    Unauthorized,
)
from conveyor.server.http import problems
from conveyor.server.http.problems import as_error

if TYPE_CHECKING:
    import pytest

STORE_URL = "http://store.example:8080/"
plain = partial(problems.plain, store_url=STORE_URL)
problem = partial(problems.problem, store_url=STORE_URL)


def test_problem_says_what_happened_and_what_to_do_next() -> None:
    status, headers, body = problem(
        DistributionExists("demo-1.0.tar.gz is here", hint="release a new version")
    )
    assert status == 409
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "DistributionExists",
        "status": 409,
        "detail": "demo-1.0.tar.gz is here",
        "hint": "release a new version",
    }


def test_problem_of_a_refused_file_lists_every_fault() -> None:
    _, _, body = problem(InvalidDistribution("demo is refused", faults=["no METADATA", "no RECORD"]))
    assert json.loads(body)["faults"] == ["no METADATA", "no RECORD"]


def test_problem_of_a_refused_promotion_lists_every_verdict() -> None:
    verdicts = [
        Verdict("tests", "pass", "9 passed"),
        Verdict("qa-signature", "waiting", "none", "sign the tag"),
    ]
    status, _, body = problem(PromotionRefused("not yet", verdicts=verdicts))
    told = ("gate", "outcome", "reason", "next_step", "opens_at")
    assert status == 403
    assert json.loads(body)["verdicts"] == [
        dict(zip(told, values, strict=True))
        for values in (
            ("tests", "pass", "9 passed", None, None),
            ("qa-signature", "waiting", "none", "sign the tag", None),
        )
    ]


def test_only_an_anonymous_caller_is_challenged() -> None:
    assert (b"www-authenticate", b'Basic realm="conveyor"') in problem(Unauthorized("who are you?"))[1]
    assert (b"www-authenticate", b'Basic realm="conveyor"') in plain(Unauthorized("who are you?"))[1]
    assert b"www-authenticate" not in dict(problem(NotFound("nothing"))[1])


def test_plain_text_has_one_line_per_fault_and_the_hint() -> None:
    error = InvalidDistribution("demo is refused", faults=["no METADATA", "no RECORD"], hint="build it anew")
    status, headers, body = plain(error)
    assert status == 400
    assert dict(headers)[b"content-type"] == b"text/plain; charset=utf-8"
    assert body.decode().splitlines() == [
        "demo is refused",
        "no METADATA",
        "no RECORD",
        "hint: build it anew",
    ]


def test_command_in_a_hint_is_told_the_store_that_answers() -> None:
    error = NotFound("there is no user ada", hint="make it first: conveyor store user add ada")
    told = f"{error.hint} --url {STORE_URL}"
    assert json.loads(problem(error)[2])["hint"] == told
    assert plain(error)[2].decode().splitlines()[-1] == f"hint: {told}"


def test_plain_text_does_not_repeat_a_single_fault() -> None:
    error = InvalidDistribution("demo is refused: no RECORD", faults=["no RECORD"])
    assert plain(error)[2] == b"demo is refused: no RECORD\n"


def test_bug_is_logged_with_its_traceback_and_shown_without_a_word_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        raise KeyError("a secret of the inside")  # noqa: TRY301 - the error under test
    except KeyError as error:
        shown = as_error(error, path="/unstable/simple/")
    status, _, body = problem(shown)
    assert status == 500
    assert b"secret" not in body
    logged = "".join(capsys.readouterr())
    assert "a secret of the inside" in logged
    assert "/unstable/simple/" in logged
    assert shown.hint is not None
    assert shown.hint.split()[-1] in logged


def test_error_of_ours_is_shown_as_it_is() -> None:
    error = StorageFailed("the disk is full")
    assert as_error(error, path="/") is error
