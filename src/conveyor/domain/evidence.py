"""Evidence: signed, stored facts about one distribution.

Facts travel as an in-toto Statement v1 inside a DSSE envelope, signed by a worker's Ed25519 key. The
subject is the distribution, by its SHA-256; the predicate type says which kind of fact it is. A QA
signature is the exception: its envelope is the raw git tag object, signed with SSH.

Sources: in-toto Attestation Framework v1 (Statement), DSSE protocol v1.0.2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

EvidenceKind = Literal["build", "tests", "equivalence", "qa-signature"]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPES: dict[str, EvidenceKind] = {
    "urn:conveyor:evidence:build:1": "build",
    "urn:conveyor:evidence:tests:1": "tests",
    "urn:conveyor:evidence:equivalence:1": "equivalence",
}


@dataclass(frozen=True)
class Evidence:
    """One stored fact, as the gates see it."""

    kind: EvidenceKind
    project: str
    version: str
    sha256: str | None
    """The distribution it is about; ``None`` for a QA signature, which is about a commit."""
    commit_id: str | None
    predicate: dict[str, Any]
    signed_by: str
    """Name of the worker, or principal of the signer."""
    received_at: str
    is_signer_valid: bool
    """Whether the worker or signer is registered and not revoked now."""


def statement(kind: EvidenceKind, *, filename: str, sha256: str, predicate: dict[str, Any]) -> bytes:
    """The canonical bytes of an in-toto Statement about one distribution; what gets signed."""
    predicate_type = next(name for name, known in PREDICATE_TYPES.items() if known == kind)
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": filename, "digest": {"sha256": sha256}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
