from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.releases.evidence import (
    PREDICATE_TYPES,
    WorkerStatement,
    facts_of_build,
    facts_of_tests,
    read_envelope,
    read_statement,
    statement,
)
from conveyor.domain.words.notation import PAYLOAD_TYPE
from conveyor.errors import InvalidInput

SHA256 = "a" * 64
COMMIT = "b" * 40
BUILD: dict[str, Any] = {
    "project": "demo",
    "version": "1.0",
    "commit": COMMIT,
    "tag": None,
    "filename": "demo-1.0-py3-none-any.whl",
    "built_from": None,
    "derived_from": None,
}
TESTS: dict[str, Any] = {
    "project": "demo",
    "version": "1.0",
    "index": "testing",
    "passed": 1,
    "failed": 0,
    "errors": 0,
    "skipped": 0,
    "origin": {"modules_checked": 1, "outside": []},
    "environment": {"python": "3.11.7", "platform": "linux-x86_64"},
}
EQUIVALENCE: dict[str, Any] = {
    "project": "demo",
    "version": "1.0",
    "rc_version": "1.0rc1",
    "rc_sha256": SHA256,
    "derived_sha256": SHA256,
    "rebuilt_sha256": SHA256,
    "proof": "identical",
}
FIELDS = sorted({*BUILD, *TESTS, *EQUIVALENCE})


def envelope(**changed: Any) -> bytes:
    body = {
        "payload": base64.b64encode(b"{}").decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": "k", "sig": "AAAA"}],
        **changed,
    }
    return json.dumps(body).encode()


def test_statement_is_read_as_it_was_written() -> None:
    written = statement("build", filename="demo-1.0-py3-none-any.whl", sha256=SHA256, predicate=BUILD)
    assert read_statement(written) == WorkerStatement("build", "demo-1.0-py3-none-any.whl", SHA256, BUILD)


def test_statement_of_equivalence_is_read_as_it_was_written() -> None:
    written = statement("equivalence", filename="f", sha256=SHA256, predicate=EQUIVALENCE)
    assert read_statement(written).predicate == EQUIVALENCE


def test_statement_has_one_form_whatever_the_order_of_its_facts() -> None:
    turned = dict(reversed(BUILD.items()))
    assert statement("build", filename="f", sha256=SHA256, predicate=BUILD) == statement(
        "build", filename="f", sha256=SHA256, predicate=turned
    )


def test_statement_about_two_distributions_is_refused() -> None:
    body = json.loads(statement("build", filename="f", sha256=SHA256, predicate=BUILD))
    body["subject"] *= 2
    with pytest.raises(InvalidInput, match="names 2 distributions"):
        read_statement(json.dumps(body).encode())


def test_statement_of_an_unknown_kind_is_refused() -> None:
    body = json.loads(statement("build", filename="f", sha256=SHA256, predicate=BUILD))
    body["predicateType"] = "urn:else"
    with pytest.raises(InvalidInput, match="predicateType"):
        read_statement(json.dumps(body).encode())


def test_all_faults_of_a_statement_and_its_predicate_are_named() -> None:
    body = json.loads(statement("tests", filename="f", sha256="short", predicate={**TESTS, "passed": -1}))
    body["_type"] = "else"
    with pytest.raises(InvalidInput) as caught:
        read_statement(json.dumps(body).encode())
    named = " ".join(caught.value.faults)
    assert all(word in named for word in ("_type", "subject[0].digest.sha256", "predicate.passed"))


def test_envelope_gives_the_payload_and_every_signature() -> None:
    read = read_envelope(envelope())
    assert read.payload == b"{}"
    assert read.signatures == (("k", b"\x00\x00\x00"),)


def test_envelope_may_be_base64_of_either_alphabet() -> None:
    payload = bytes([251, 255, 254])
    text = base64.urlsafe_b64encode(payload).decode()
    assert "-" in text or "_" in text
    assert read_envelope(envelope(payload=text)).payload == payload


@pytest.mark.parametrize(
    "changed",
    [
        {"payloadType": "text/plain"},
        {"payload": "!!"},
        {"payload": 1},
        {"signatures": []},
        {"signatures": [{"keyid": "k", "sig": "AAAA"}] * 9},
        {"signatures": [{"keyid": "k", "sig": "AAAA"}] * 2},
        {"signatures": [{"sig": "AAAA"}]},
        {"signatures": "AAAA"},
    ],
)
def test_envelopes_of_another_form_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read_envelope(envelope(**changed))


def test_facts_may_hold_more_than_this_store_knows() -> None:
    assert facts_of_build({**BUILD, "new": 1}).commit == COMMIT
    assert facts_of_tests({**TESTS, "new": 1}).passed == 1


def test_environment_of_a_test_ignores_the_patch_number() -> None:
    assert facts_of_tests(TESTS).environment == ("testing", "3.11", "linux-x86_64")


def test_incomplete_facts_are_refused() -> None:
    for key in BUILD.keys() - {"tag", "built_from", "derived_from"}:
        with pytest.raises(InvalidInput, match=key):
            facts_of_build({**BUILD, key: None})
    for key in TESTS:
        with pytest.raises(InvalidInput, match=key):
            facts_of_tests({name: value for name, value in TESTS.items() if name != key})
    for key in EQUIVALENCE:
        lacking = {name: value for name, value in EQUIVALENCE.items() if name != key}
        with pytest.raises(InvalidInput, match=f"predicate.{key}"):
            read_statement(statement("equivalence", filename="f", sha256=SHA256, predicate=lacking))


def test_repository_with_a_password_is_refused_because_evidence_is_shown_permanently() -> None:
    for repository in ("/srv/demo.git", "ssh://git@host/demo.git", "git@host:demo.git"):
        facts_of_build({**BUILD, "repository": repository})
    with pytest.raises(InvalidInput, match="holds a password"):
        facts_of_build({**BUILD, "repository": "https://ada:secret@host/demo.git"})


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader_of_envelopes(raw: bytes) -> None:
    with suppress(InvalidInput):
        read_envelope(raw)
    with suppress(InvalidInput):
        read_statement(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=6)
        ),
        max_leaves=20,
    )
)
def test_no_predicate_breaks_the_reader_of_facts(value: Any) -> None:
    for read in (facts_of_build, facts_of_tests):
        with suppress(InvalidInput):
            read(value)
    for kind in PREDICATE_TYPES.values():
        with suppress(InvalidInput):
            read_statement(statement(kind, filename="f", sha256=SHA256, predicate=value))


def test_short_commit_ids_are_no_commits() -> None:
    with pytest.raises(InvalidInput, match="full id"):
        facts_of_build({**BUILD, "commit": COMMIT[:12]})
