from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from attestations_made import (
    PUBLISH,
    SLSA,
    certificate_of,
    encoded,
    make_attestation,
    make_key,
    statement_about,
)
from conveyor.domain.distributions.attestations import (
    ATTESTATIONS_LIMIT_BYTES,
    Attestation,
    read_attestations,
)
from conveyor.domain.words.faults import Faults
from conveyor.operations.store.signatures import signature_fault
from distributions_made import make_sdist, make_wheel

MADE = make_wheel()


def read(*texts: str) -> tuple[tuple[Attestation, ...], str]:
    faults = Faults()
    found = read_attestations(texts, filename=MADE.filename, sha256=MADE.sha256, faults=faults)
    return found, "; ".join(faults.sentences)


def fault_of(attestation: dict[str, Any]) -> str:
    return read(json.dumps([attestation]))[1]


def test_attestations_of_both_kinds_are_read() -> None:
    bodies = [make_attestation(MADE), make_attestation(MADE, predicate_type=SLSA)]
    found, faults = read(json.dumps(bodies))
    assert faults == ""
    assert [one.kind for one in found] == ["publish", "slsa-provenance"]
    assert [one.body for one in found] == bodies
    assert json.loads(found[0].statement)["predicateType"] == PUBLISH
    assert [signature_fault(one) for one in found] == ["", ""]


@pytest.mark.parametrize("texts", [(), ("",), (" ",), ("[]",)])
def test_none_are_no_fault(texts: tuple[str, ...]) -> None:
    assert read(*texts) == ((), "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{}", "the form field attestations is not a JSON array"),
        ("[", "the form field attestations is not valid JSON"),
        ('[{"version": 1, "version": 1}]', "the key version is there twice"),
        ("[1]", "attestation 1 is not an object"),
        ("[" + " " * ATTESTATIONS_LIMIT_BYTES + "]", "must be one JSON array of up to 1,048,576 bytes"),
        ("[" * 100_000, "the form field attestations is not valid JSON"),
    ],
)
def test_what_is_no_array_of_attestations_is_a_fault(text: str, fault: str) -> None:
    assert fault in read(text)[1]


def test_field_that_is_there_twice_is_a_fault() -> None:
    assert "must be one JSON array" in read("[]", "[]")[1]


MATERIAL = make_attestation(MADE)["verification_material"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"version": 2}, "attestation 1: version is not 1"),
        ({"version": "1"}, "attestation 1: version is not a whole number"),
        ({"envelope": None}, "attestation 1: envelope is not an object"),
        ({"verification_material": {**MATERIAL, "certificate": "?"}}, "certificate is not base64"),
        ({"verification_material": {**MATERIAL, "transparency_entries": []}}, "at least one object"),
        ({"verification_material": {**MATERIAL, "transparency_entries": [1]}}, "entries[0] is not an object"),
        ({"envelope": {"statement": "e30", "signature": ""}}, "envelope.statement is not base64"),
        ({"envelope": {"statement": encoded(b"x"), "signature": "eA=="}}, "its statement is not valid JSON"),
    ],
)
def test_malformed_attestation_is_a_fault(changes: dict[str, Any], fault: str) -> None:
    assert fault in fault_of(make_attestation(MADE, **changes))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "statement._type is 'https://in-toto.io/Stat"),
        ({"predicateType": "https://example.com/x"}, "known are publish and slsa-provenance"),
        ({"predicateType": PUBLISH + "/more"}, "known are publish and slsa-provenance"),
        ({"subject": []}, "statement.subject must be one file"),
        ({"subject": statement_about(MADE)["subject"] * 2}, "statement.subject must be one file"),
        ({"subject": statement_about(make_sdist())["subject"]}, "is 'demo-1.0.tar.gz', but the file is demo"),
        (
            {"subject": [{"name": MADE.filename, "digest": {"sha256": "0" * 64}}]},
            f"but the file received has {MADE.sha256}",
        ),
        ({"subject": [{"name": MADE.filename, "digest": {"sha512": "0"}}]}, "digest.sha256 is missing"),
    ],
)
def test_statement_about_something_else_is_a_fault(changes: dict[str, Any], fault: str) -> None:
    assert fault in fault_of(make_attestation(MADE, statement=statement_about(MADE, **changes)))


def test_second_attestation_of_a_kind_is_a_fault() -> None:
    text = json.dumps([make_attestation(MADE), make_attestation(MADE)])
    assert read(text)[1] == "attestation 2 is the second one of the kind publish [attestations]"


def test_all_faults_of_all_attestations_are_named() -> None:
    wrong = statement_about(make_sdist(), predicateType="x")
    text = json.dumps([make_attestation(MADE, version=3), make_attestation(MADE, statement=wrong)])
    faults = read(text)[1].split("; ")
    assert len([fault for fault in faults if fault.startswith("attestation ")]) == 4


def signature_fault_of(**arguments: Any) -> str:
    (attestation,) = read(json.dumps([make_attestation(MADE, **arguments)]))[0]
    return signature_fault(attestation)


def test_signature_by_an_ed25519_key_is_verified() -> None:
    assert signature_fault_of(key=ed25519.Ed25519PrivateKey.generate()) == ""


def test_signature_by_another_key_than_the_certificates_is_a_fault() -> None:
    assert "not made with the key of its certificate" in signature_fault_of(
        certificate=certificate_of(make_key())
    )
    assert "not made with" in signature_fault_of(
        certificate=certificate_of(ed25519.Ed25519PrivateKey.generate())
    )


def test_certificate_that_is_none_is_a_fault() -> None:
    assert signature_fault_of(certificate=b"nothing") == "its certificate is not an X.509 certificate"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["version", "envelope", "verification_material", "statement", "certificate", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3) | st.text(max_size=30))
def test_any_json_is_judged_without_a_crash(value: object) -> None:
    found, faults = read(value if isinstance(value, str) else json.dumps(value))
    assert found == ()
    assert faults or not value or not str(value).strip()
