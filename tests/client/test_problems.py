"""What a store refuses is raised here as it was raised there."""

from __future__ import annotations

import pytest

from conveyor.client.problems import error_of
from conveyor.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    InvalidName,
    PromotionRefused,
    StorageFailed,
    StoreUnreachable,
)


def test_problem_becomes_the_error_it_was() -> None:
    text = b'{"title": "InvalidName", "status": 400, "detail": "bad", "hint": "mend", "faults": ["a", "b"]}'
    error = error_of(400, "application/problem+json", text)
    assert type(error) is InvalidName
    assert (error.message, error.hint, error.faults) == ("bad", "mend", ("a", "b"))


def test_refused_promotion_comes_with_its_verdicts() -> None:
    text = (
        b'{"title": "PromotionRefused", "status": 403, "detail": "no", "verdicts": '
        b'[{"gate": "tests", "outcome": "fail", "reason": "r", "next_step": null}]}'
    )
    error = error_of(403, "application/problem+json", text)
    assert isinstance(error, PromotionRefused)
    assert [verdict.gate for verdict in error.verdicts] == ["tests"]


def test_class_that_this_client_does_not_know_is_told_by_its_status() -> None:
    text = b'{"title": "NewerError", "status": 409, "detail": "other"}'
    assert type(error_of(409, "application/problem+json", text)) is Conflict
    text = b'{"title": "os", "status": 403, "detail": "other"}'
    assert type(error_of(403, "application/problem+json", text)) is Forbidden


def test_plain_text_of_an_upload_keeps_faults_and_hint() -> None:
    error = error_of(400, "text/plain; charset=utf-8", b"refused\nfirst\nsecond\nhint: mend it\n")
    assert isinstance(error, InvalidInput)
    assert (error.message, error.faults, error.hint) == ("refused", ("first", "second"), "mend it")
    error = error_of(503, "text/plain", b"the disk is full\n")
    assert isinstance(error, StorageFailed)


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"{}", b'{"title": "PromotionRefused", "status": 403, "detail": "x"}']
)
def test_problem_that_is_none_is_still_told(text: bytes) -> None:
    assert isinstance(error_of(500, "application/problem+json", text), StoreUnreachable)
