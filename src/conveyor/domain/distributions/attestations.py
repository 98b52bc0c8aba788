"""Attestations that come with an upload (PEP 740): signed statements about one file, and how they are kept.

This module reads an attestation and checks that it is about this very file: name and SHA-256 are in its
statement. ``operations.store.signatures`` checks that the signature was made with the key of the certificate
beside it. The owner of the certificate, and whether a log has it, are left to readers who trust an authority
(decision record 0012).

Sources: PEP 740 and the specification of index hosted attestations, in-toto Statement v1, DSSE 1.0.2.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from conveyor.domain.words.fields import Fields, read_json_object
from conveyor.domain.words.notation import PAYLOAD_TYPE, STATEMENT_TYPE
from conveyor.domain.words.records import read_json
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
    fields = Fields(body, what=what)
    if fields.count("version") != 1 and not fields.faults:
        fields.fault("version", "is not 1, the only known version")
    material, envelope = fields.part("verification_material"), fields.part("envelope")
    certificate = _bytes(material, "certificate")
    entries = material.anything("transparency_entries")
    if not isinstance(entries, list) or not entries or not all(isinstance(one, dict) for one in entries):
        material.fault("transparency_entries", "is not a list of at least one object")
    statement, signature = _bytes(envelope, "statement"), _bytes(envelope, "signature")
    fields.finish()
    kind = _kind(statement, what, filename, sha256)
    return Attestation(kind, certificate, statement, signature, cast("dict[str, Any]", body))


def _kind(statement: bytes, what: str, filename: str, sha256: str) -> str:
    """The kind of a statement about this file; raises InvalidInput when it is about anything else."""
    fields = Fields(read_json_object(statement, what="its statement"), what=what, prefix="statement.")
    if (stated := fields.text("_type")) and stated != STATEMENT_TYPE:
        fields.fault("_type", f"is {stated[:100]!r}, not {STATEMENT_TYPE!r}")
    subjects = fields.parts("subject")
    if len(subjects) != 1:
        fields.fault("subject", "must be one file")
    for subject in subjects[:1]:
        if (name := subject.text("name")) and name != filename:
            subject.fault("name", f"is {name[:200]!r}, but the file is {filename}")
        if (digest := subject.part("digest").sha256("sha256")) and digest != sha256:
            subject.fault("digest.sha256", f"is {digest}, but the file received has {sha256}")
    predicate_type = fields.text("predicateType")
    kinds = [kind for kind, pattern in PREDICATE_TYPES.items() if pattern.fullmatch(predicate_type)]
    if predicate_type and not kinds:
        fields.fault(
            "predicateType", f"is {predicate_type[:100]!r}; known are {' and '.join(PREDICATE_TYPES)}"
        )
    fields.finish()
    return kinds[0]


def _bytes(fields: Fields, name: str) -> bytes:
    """A field of base64, with or without line ends, as the tools write it."""
    text = fields.text(name, max_length=ATTESTATIONS_LIMIT_BYTES)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        fields.fault(name, "is not base64")
        return b""
