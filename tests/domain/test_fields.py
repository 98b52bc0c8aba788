from __future__ import annotations

import pytest

from conveyor.domain.words.fields import Fields, read_json_object
from conveyor.errors import InvalidInput


def test_every_fault_is_named_at_once() -> None:
    fields = Fields({"name": 1, "scopes": ["a", ""], "flag": "yes", "digest": "xyz"}, what="the thing")
    fields.text("name")
    fields.texts("scopes")
    fields.flag("flag", default=False)
    fields.sha256("digest")
    fields.text("gone")
    with pytest.raises(InvalidInput, match="the thing has 5 faults") as caught:
        fields.finish()
    assert caught.value.faults == (
        "name is not a text",
        "scopes[1] is empty",
        "flag is neither true nor false",
        "digest is not a SHA-256 digest in hexadecimal",
        "gone is missing",
    )


def test_single_fault_stands_in_the_message() -> None:
    fields = Fields({}, what="the user")
    fields.text("name")
    with pytest.raises(InvalidInput, match="the user has a fault: name is missing"):
        fields.finish()


def test_misspelled_field_is_a_fault_where_the_object_is_closed() -> None:
    fields = Fields({"user": "ada", "scope": ["read"]}, what="the token")
    fields.text("user")
    fields.texts("scopes", default=None)
    with pytest.raises(InvalidInput, match=r"scope is unknown here \(known: scopes, user\)"):
        fields.finish(is_closed=True)


def test_unknown_fields_are_left_alone_where_it_is_open() -> None:
    fields = Fields({"user": "ada", "more": 1}, what="the predicate")
    fields.text("user")
    fields.finish()


def test_faults_in_parts_say_where_they_are() -> None:
    fields = Fields({"origin": {"outside": "x"}, "list": [{"a": "1"}, 2]}, what="it")
    fields.part("origin").texts("outside")
    for part in fields.parts("list"):
        part.text("a")
    with pytest.raises(InvalidInput) as caught:
        fields.finish()
    assert "origin.outside is not a list of texts" in caught.value.faults
    assert "list[1] is not an object" in caught.value.faults


def test_missing_part_is_one_fault_not_one_per_field() -> None:
    fields = Fields({}, what="it")
    part = fields.part("environment")
    part.text("python")
    part.text("platform")
    assert fields.faults == ["environment is missing"]


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", None])
def test_count_is_a_whole_number_and_nothing_else(value: object) -> None:
    fields = Fields({"passed": value}, what="it")
    fields.count("passed")
    assert fields.faults == ["passed is not a whole number of zero or more"]


def test_count_fits_into_a_row() -> None:
    fields = Fields({"largest": 2**63 - 1, "larger": 2**63}, what="it")
    assert fields.count("largest") == 2**63 - 1
    fields.count("larger")
    assert fields.faults == [f"larger is larger than {2**63 - 1}"]


def test_nul_and_endless_texts_are_refused() -> None:
    fields = Fields({"a": "x\0", "b": "y" * 5000}, what="it")
    fields.text("a")
    fields.text("b")
    assert len(fields.faults) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a": 1, "a": 2}', "the key a is there twice"),
        (b'{"a": NaN}', "NaN is not a number of JSON"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(text: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        read_json_object(text, what="the body")
