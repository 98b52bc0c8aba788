"""A record is declared once: the reader, its JSON, its schema, its options and its table follow from that."""

from __future__ import annotations

import ast
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner

from conforming import faults_of
from conveyor.cli.output import Filled, filling, show
from conveyor.client.connection import Request, StoreAnswer, ask_for, ask_for_all
from conveyor.domain.indexes.definitions import Index, MadeClaim
from conveyor.domain.people.access import Token
from conveyor.domain.people.keys import NewSigner, Signer, Worker
from conveyor.domain.runs.repositories import Repository
from conveyor.domain.runs.states import Run, Step
from conveyor.domain.words.notation import DEEPEST_JSON, Moment, Sha256, read_json
from conveyor.domain.words.records import (
    LARGEST_COUNT,
    MOST_FAULTS,
    Count,
    Named,
    Option,
    Record,
    Text,
    as_json,
    read_record,
    records_in,
    schema_of,
    shape_of,
)
from conveyor.errors import InvalidInput, StoreUnreachable
from conveyor.server.api.endpoints import DocumentOf, ListOf
from conveyor.server.api.openapi import openapi_document
from conveyor.server.api.routes import ENDPOINTS
from docs.markdown import ROOT

if TYPE_CHECKING:
    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Part(Record):
    """A part of a thing."""

    digest: Sha256


@dataclass(frozen=True)
class Thing(Record):
    """A thing with a field of every kind."""

    name: Annotated[Text, "What it is called."]
    source: Annotated[Text | None, Named("from"), "Where it comes from."] = None
    size_bytes: Annotated[Count | None, "Bytes."] = None
    kind: Literal["small", "large"] = "small"
    labels: Annotated[tuple[Text, ...], "Words for it.", Option("label")] = ()
    is_new: Annotated[bool, "Whether it is new."] = False
    made_at: Moment | None = None
    parts: tuple[Part, ...] = ()
    detail: dict[str, Any] | None = None


@dataclass(frozen=True)
class ThingWithColour(Thing):
    """The thing after a field was added to its declaration, and nothing else was changed."""

    colour: Annotated[Text | None, "As people name it."] = None


THING = ThingWithColour("box", "here", 3, labels=("a", "b"), parts=(Part("0" * 64),), colour="red")


class Answering:
    """A connection that answers every request with the same bytes."""

    url = "http://store"

    def __init__(self, body: bytes) -> None:
        self.body = body

    def send(self, request: Request) -> StoreAnswer:
        return StoreAnswer(200, self.body)


def told(value: object) -> Connection:
    return Answering(json.dumps(as_json(value)).encode())  # type: ignore[return-value] # sends, and no more


def test_new_field_of_a_declaration_is_read_written_described_asked_for_and_shown() -> None:
    # the request: read by the server as it was written by the client
    sent = json.loads(json.dumps(as_json(THING)))
    assert sent["colour"] == "red"
    assert read_record(ThingWithColour, sent, what="the thing") == THING
    with pytest.raises(InvalidInput) as refused:
        read_record(ThingWithColour, {**sent, "colour": 1}, what="the thing")
    assert refused.value.faults == ("colour is not a text",)
    # the schema
    schema = schema_of(ThingWithColour)
    assert schema["properties"]["colour"]["description"] == "As people name it."
    assert faults_of(sent, schema, {"Part": schema_of(Part)}) == []
    # the answer, as the client's value
    assert ask_for(told(THING), Request("GET", "/"), ThingWithColour) == THING
    assert ask_for_all(told({"things": [THING]}), Request("GET", "/"), "things", ThingWithColour) == (THING,)

    # options and table of the command line
    @click.command()
    @filling(ThingWithColour, arguments=("name",), without=("parts", "detail"))
    def command(asked: Filled[ThingWithColour]) -> None:
        show([asked(parts=())], ThingWithColour, as_text=True)

    shown = CliRunner().invoke(command, ["box", "--colour", "red", "--label", "a", "--label", "b"])
    headings, row = shown.output.splitlines()
    assert row[headings.index("COLOUR") :].strip() == "red"
    assert "a,b" in row


def test_field_of_a_newer_store_is_let_through_and_one_of_a_newer_client_is_refused() -> None:
    assert ask_for(told(THING), Request("GET", "/"), Thing) == Thing(
        THING.name, THING.source, THING.size_bytes, labels=THING.labels, parts=THING.parts
    )
    with pytest.raises(InvalidInput, match=r"colour is unknown here \(known: detail, from, is_new,"):
        read_record(Thing, as_json(THING), what="the thing")


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"{}", b'{"name": 1}'])
def test_answer_that_is_another_record_is_not_of_a_store(body: bytes) -> None:
    with pytest.raises(StoreUnreachable, match="not an answer of a store"):
        ask_for(Answering(body), Request("GET", "/x"), Thing)  # type: ignore[arg-type] # sends, and no more


def test_every_fault_is_named_at_once() -> None:
    body = {
        "name": "",
        "from": 1,
        "size_bytes": -1,
        "kind": "huge",
        "labels": ["a", "", "x\0"],
        "is_new": "yes",
        "parts": [{"digest": "xyz"}, 2, {}],
        "detail": [],
        "more": 1,
    }
    with pytest.raises(InvalidInput, match="the thing has 12 faults") as caught:
        read_record(Thing, body, what="the thing")
    assert caught.value.faults == (
        "name is empty",
        "from is not a text",
        "size_bytes is not a whole number of zero or more",
        'kind is "huge", not one of small, large',
        "labels[1] is empty",
        "labels[2] holds a NUL character",
        "is_new is neither true nor false",
        "parts[0].digest is not a SHA-256 digest in hexadecimal",
        "parts[1] is not an object",
        "parts[2].digest is missing",
        "detail is not an object",
        "more is unknown here (known: detail, from, is_new, kind, labels, made_at, name, parts, size_bytes)",
    )


@dataclass(frozen=True)
class Tally(Record):
    """A number of things."""

    tally: Count


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", None])
def test_count_is_a_whole_number_and_nothing_else(value: object) -> None:
    with pytest.raises(InvalidInput, match="tally is not a whole number of zero or more"):
        read_record(Tally, {"tally": value}, what="it")


def test_count_fits_into_a_row() -> None:
    assert read_record(Tally, {"tally": 2**63 - 1}, what="it") == Tally(2**63 - 1)
    with pytest.raises(InvalidInput, match=f"tally is larger than {2**63 - 1}"):
        read_record(Tally, {"tally": 2**63}, what="it")


def test_endless_list_of_faults_is_cut() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_record(Thing, {"name": "x", "labels": [""] * 100_000}, what="the thing")
    assert len(caught.value.faults) == MOST_FAULTS


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", LARGEST_COUNT + 1])
def test_count_is_a_whole_number_that_a_row_holds_and_nothing_else(value: object) -> None:
    with pytest.raises(InvalidInput, match="size_bytes"):
        read_record(Thing, {"name": "x", "size_bytes": value}, what="the thing")
    assert (
        read_record(Thing, {"name": "x", "size_bytes": LARGEST_COUNT}, what="it").size_bytes == LARGEST_COUNT
    )


def test_word_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InvalidInput, match='role is "owner", not one of qa'):
        read_record(NewSigner, {"principal": "a", "public_key": "b", "role": "owner"}, what="the signer")


def test_every_record_that_crosses_the_wire_is_described_with_all_its_fields() -> None:
    schemas = openapi_document(ENDPOINTS, version="1")["components"]["schemas"]
    answers = [answer for one in ENDPOINTS for answer in (one.body, *one.answers.values()) if answer]
    for answer in answers:
        if isinstance(answer, DocumentOf):
            continue
        for record in records_in(answer.record if isinstance(answer, ListOf) else answer):
            described = schemas[record.__name__]
            assert list(described["properties"]) == [field.wire_name for field in shape_of(record)]
            assert described["description"]


def test_no_schema_is_written_by_hand() -> None:
    """Only ``ListOf``, the list that an answer is, and the document itself speak JSON Schema."""
    words = {"type", "properties", "items", "anyOf", "enum", "pattern", "additionalProperties"}
    written = {}
    for file in sorted((ROOT / "src" / "conveyor" / "server" / "api").glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        mappings = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
        keys = {key.value for node in mappings for key in node.keys if isinstance(key, ast.Constant)}
        if keys & words:
            written[file.name] = keys & words
    assert set(written) == {"endpoints.py", "openapi.py"}
    assert written["openapi.py"] == {"type"}  # of the ways to authenticate


MAPPING = ("catalog", "client", "cli", "server/api")
"""Where fields of records would be named one by one if they were carried over by hand."""
PUBLISHERS = "catalog/people/users.py"
"""Trusted publishers have fields of the same names, which the statement that adds one sets."""


@pytest.mark.parametrize(
    ("record", "field", "statements"),
    [
        (Token, "last_used_at", {"catalog/people/users.py"}),
        (Signer, "valid_until", {"catalog/people/signers.py", "cli/store/signer.py"}),
        (Worker, "registered_at", {"catalog/people/signers.py", PUBLISHERS}),
        (Index, "is_private", set()),
        (MadeClaim, "claimed_by", {"catalog/releases/projects.py"}),
        (Repository, "registered_by", {PUBLISHERS}),
        (Run, "requested_at", {"catalog/runs/queue.py", "cli/pipeline/requests.py"}),
        (Step, "started_at", {"cli/pipeline/requests.py"}),
    ],
)
def test_field_of_a_stored_record_is_named_in_few_files(
    record: type[Record], field: str, statements: set[str]
) -> None:
    """Declaration, table, migrations; beside them only statements that are about this field alone."""
    assert field in {one.name for one in shape_of(record)}
    source = ROOT / "src" / "conveyor"
    naming = {
        str(file.relative_to(source))
        for folder in MAPPING
        for file in (source / folder).rglob("*.py")
        if re.search(rf"\b{field}\b", file.read_text(encoding="utf-8"))
    }
    migrations = {name for name in naming if name.startswith("catalog/migrations/versions/")}
    assert migrations
    assert naming - migrations == {"catalog/database/tables.py", *statements}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{", "not valid JSON"),
        (b'{"a": 1, "a": 2}', "the key a is there twice"),
        (b'{"a": NaN}', "NaN is not a number of JSON"),
        (b'{"a": 1e400}', "1e400 is too large a number"),
        (b'{"a": [-1e999]}', "-1e999 is too large a number"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' * DEEPEST_JSON + b"[1]" + b"}" * DEEPEST_JSON, "nested more than 100 deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(text: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        read_json(text, what="the body")


def test_json_that_is_read_can_be_written_with_much_of_the_stack_in_use() -> None:
    value = read_json(b'{"a": ' * DEEPEST_JSON + b"1" + b"}" * DEEPEST_JSON, what="the body")

    def written(frames: int) -> object:
        return written(frames - 1) if frames else as_json(value)

    assert written(400) == value


def test_keys_that_are_there_twice_are_found_at_once() -> None:
    keys = [f"k{number}" for number in range(30_000)]
    text = "{" + ",".join(f'"{key}": 1' for key in (*keys, *keys)) + "}"
    began = time.process_time()
    with pytest.raises(InvalidInput, match="is there twice") as caught:
        read_json(text.encode(), what="the body")
    assert time.process_time() - began < 5
    assert len(caught.value.message) < 200
