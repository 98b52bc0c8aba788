"""Attestations that come with an upload (PEP 740): signed statements about one file, and how they are kept.

This module reads an attestation and checks that it is about this very file: name and SHA-256 are in its
statement. ``operations.store.signatures`` checks that the signature was made with the key of the certificate
beside it. The owner of the certificate, and whether a log has it, are left to readers who trust an authority
(decision record 0012).

Sources: PEP 740 and the specification of index hosted attestations, in-toto Statement v1, DSSE 1.0.2.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

from conveyor.domain.words.notation import PAYLOAD_TYPE, STATEMENT_TYPE, StatementSubject, read_json
from conveyor.domain.words.records import (
    Count,
    Given,
    Judged,
    Named,
    Record,
    Text,
    read_record,
    readable_by,
)
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.domain.words.faults import Faults

FIELD = "attestations"
"""A field of the form: a JSON array, as ``twine upload --attestations`` and ``uv publish`` send it."""
ATTESTATIONS_LIMIT_BYTES = 1024 * 1024
"""All attestations of one file; each has about 10 KB."""
PREDICATE_TYPES = {
    "publish": re.compile(r"https://docs\.[a-z0-9.-]+/attestations/publish/v1"),
    "slsa-provenance": re.compile(r"https://slsa\.dev/provenance/v1"),
}
"""The known kinds; that of publishing is defined in the documentation of an index."""


def _decoded(text: str) -> bytes:
    """Base64 with or without line ends, as the tools write it."""
    return base64.b64decode("".join(text.split()), validate=True)


def _fault_of_version(version: int) -> str | None:
    return None if version == 1 else "is not 1, the only one known"


def _fault_of_entries(entries: list[Any]) -> str | None:
    return None if entries else "is not a list of at least one object"


LinesOfBase64 = Annotated[str, Given(ATTESTATIONS_LIMIT_BYTES), readable_by(_decoded, "is not base64")]


@dataclass(frozen=True)
class AttestationMaterial(Record):
    """What the signature is verified with."""

    is_open = True
    certificate: LinesOfBase64
    transparency_entries: Annotated[tuple[Mapping[str, Any], ...], Judged(_fault_of_entries)]


@dataclass(frozen=True)
class AttestationEnvelope(Record):
    """The statement and its signature."""

    is_open = True
    statement: LinesOfBase64
    signature: LinesOfBase64


@dataclass(frozen=True)
class UploadedAttestation(Record):
    """An attestation as it is uploaded (PEP 740)."""

    is_open = True
    version: Annotated[Count, Judged(_fault_of_version)]
    verification_material: AttestationMaterial
    envelope: AttestationEnvelope


@dataclass(frozen=True)
class AttestedStatement(Record):
    """An in-toto statement; whether it is about the file that was uploaded is judged beside it."""

    is_open = True
    statement_type: Annotated[Text, Named("_type")]
    subject: tuple[StatementSubject, ...]
    predicate_type: Annotated[Text, Named("predicateType")]


@dataclass(frozen=True)
class Attestation:
    """One statement about the uploaded file, with its signature."""

    kind: str
    """A key of ``PREDICATE_TYPES``."""
    certificate: bytes
    """Certificate of the signing key, X.509 as DER."""
    statement: bytes
    signature: bytes
    body: dict[str, Any]
    """The whole attestation object as it was uploaded."""

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that are signed: the statement in its pre-authentication encoding (DSSE)."""
        return b"DSSEv1 %d %b %d %b" % (
            len(PAYLOAD_TYPE),
            PAYLOAD_TYPE.encode(),
            len(self.statement),
            self.statement,
        )


def read_attestations(
    texts: Sequence[str], *, filename: str, sha256: str, faults: Faults
) -> tuple[Attestation, ...]:
    """The attestations in a form's field, each about the file of this name and digest.

    ``texts`` are the field's values: empty, or one JSON array. Each problem becomes a fault.
    """
    given = [text for text in texts if text.strip()]
    if not given:
        return ()
    if len(given) > 1 or len(given[0]) > ATTESTATIONS_LIMIT_BYTES:
        faults.add(
            "attestations",
            f"the form field {FIELD} must be one JSON array of up to {ATTESTATIONS_LIMIT_BYTES:,} bytes",
        )
        return ()
    try:
        bodies = read_json(given[0].encode(errors="replace"), what=f"the form field {FIELD}")
    except InvalidInput as error:
        faults.add("attestations", error.message)
        return ()
    if not isinstance(bodies, list):
        faults.add("attestations", f"the form field {FIELD} is not a JSON array")
        return ()
    found: dict[str, Attestation] = {}
    for number, body in enumerate(bodies, start=1):
        what = f"attestation {number}"
        try:
            one = _attestation(body, what, filename, sha256)
        except InvalidInput as error:
            for fault in error.faults or (error.message,):
                faults.add("attestations", fault if fault.startswith(what) else f"{what}: {fault}")
            continue
        if one.kind in found:
            faults.add("attestations", f"{what} is the second one of the kind {one.kind}")
        found[one.kind] = one
    return tuple(found.values())


def provenance_object(attestations: Sequence[Attestation], *, user: str) -> bytes:
    """The provenance object served beside the file (PEP 740): its attestations and their publisher.

    The publisher is of a kind of our own: a user of this store, known by password or token.
    """
    bundle = {
        "publisher": {"kind": "Conveyor", "user": user},
        "attestations": [attestation.body for attestation in attestations],
    }
    body = {"version": 1, "attestation_bundles": [bundle]}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _attestation(body: object, what: str, filename: str, sha256: str) -> Attestation:
    """One attestation object; raises InvalidInput with all its faults."""
    read = read_record(UploadedAttestation, body, what=what)
    envelope = read.envelope
    statement = _decoded(envelope.statement)
    kind = _kind(statement, what, filename, sha256)
    certificate = _decoded(read.verification_material.certificate)
    return Attestation(
        kind, certificate, statement, _decoded(envelope.signature), cast("dict[str, Any]", body)
    )


def _kind(statement: bytes, what: str, filename: str, sha256: str) -> str:
    """The kind of a statement about this file; raises InvalidInput when it is about anything else."""
    value = read_json(statement, what="its statement")
    read = read_record(AttestedStatement, value, what=what, place="statement")
    faults = []
    if read.statement_type != STATEMENT_TYPE:
        faults.append(f"statement._type is {read.statement_type[:100]!r}, not {STATEMENT_TYPE!r}")
    if len(read.subject) != 1:
        faults.append("statement.subject must be one file")
    for subject in read.subject[:1]:
        place, digest = "statement.subject[0]", subject.digest.sha256
        if subject.name != filename:
            faults.append(f"{place}.name is {subject.name[:200]!r}, but the file is {filename}")
        if digest != sha256:
            faults.append(f"{place}.digest.sha256 is {digest}, but the file received has {sha256}")
    told = read.predicate_type
    kinds = [kind for kind, pattern in PREDICATE_TYPES.items() if pattern.fullmatch(told)]
    if not kinds:
        faults.append(f"statement.predicateType is {told[:100]!r}; known are {' and '.join(PREDICATE_TYPES)}")
    if faults:
        raise InvalidInput(f"{what} is not about this file", faults=faults)
    return kinds[0]
