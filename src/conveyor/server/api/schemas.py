"""Schemas of the OpenAPI document, written short: JSON Schema 2020-12 as OpenAPI 3.1 uses it."""

from __future__ import annotations

from typing import Any

from conveyor.domain.indexes.definitions import MAX_NAME_LENGTH
from conveyor.domain.words.fields import MAX_TEXT_LENGTH

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
PROJECT: Schema = {"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,212}[A-Za-z0-9])?$"}
"""The name of a project that a caller gives, in any spelling."""
VERSION: Schema = {
    "type": "string",
    "maxLength": 100,
    "pattern": r"^[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?"
    r"(\+[a-z0-9]+(\.[a-z0-9]+)*)?$",
}
"""The version that a caller gives; others of PEP 440's spellings are understood as well."""
INDEX_NAME: Schema = {
    "type": "string",
    "maxLength": MAX_NAME_LENGTH,
    "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?(/[a-z0-9]([a-z0-9-]*[a-z0-9])?)?$",
}
USER: Schema = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?$"}
"""The name of a user to be made."""
_FOUR = "[A-Za-z0-9+/]{4}"
BASE64: Schema = {
    "type": "string",
    "minLength": 4,
    "pattern": f"^({_FOUR})*({_FOUR}|[A-Za-z0-9+/]{{3}}=|[A-Za-z0-9+/]{{2}}==)$",
}
COMMIT: Schema = {"type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
FLAG: Schema = {"type": "boolean"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
ANY_OBJECT: Schema = {"type": "object"}


def given(longest: int = MAX_TEXT_LENGTH) -> Schema:
    """A text that a caller gives: not empty, of at most so many characters, none of them NUL."""
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": r"^[^\u0000]+$"}


def record(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object with these fields and no others."""
    schema: Schema = {
        "type": "object",
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }
    if required:
        schema["required"] = list(required)
    return schema


def listed(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """This, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(*choices: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(choices)}


def named(name: str) -> Schema:
    """The schema of that name among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


VERDICT = record(
    {
        "gate": TEXT,
        "outcome": one_of("pass", "fail", "waiting", "overridden"),
        "reason": TEXT,
        "next_step": nullable(TEXT),
    }
)
PROBLEM: Schema = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "hint": TEXT,
        "rule": TEXT,
        "faults": listed(TEXT),
        "verdicts": listed(named("Verdict")),
    },
    "required": ["type", "title", "status", "detail"],
}
INDEX = record(
    {
        "name": TEXT,
        "kind": one_of("local", "mirror"),
        "mode": one_of("uploads", "promotion-only"),
        "bases": listed(TEXT),
        "gates": listed(TEXT),
        "is_private": FLAG,
    }
)
FILE = record(
    {
        "filename": TEXT,
        "packagetype": one_of("bdist_wheel", "sdist"),
        "sha256": SHA256,
        "size": COUNT,
        "url": TEXT,
        "uploaded_at": MOMENT,
        "uploaded_by": TEXT,
        "requires_python": nullable(TEXT),
        "is_yanked": FLAG,
        "yank_reason": nullable(TEXT),
    }
)
EVIDENCE = record(
    {
        "kind": one_of("build", "tests", "equivalence", "qa-signature"),
        "sha256": nullable(SHA256),
        "commit": nullable(TEXT),
        "signed_by": TEXT,
        "received_at": MOMENT,
        "is_signer_valid": FLAG,
        "predicate": ANY_OBJECT,
    }
)
RELEASE = record(
    {
        "project": TEXT,
        "version": TEXT,
        "index": TEXT,
        "indexes": listed(TEXT),
        "is_closed": FLAG,
        "files": listed(named("File")),
        "evidence": listed(named("Evidence")),
    }
)
STEP = record(
    {
        "name": TEXT,
        "state": one_of("running", "succeeded", "failed", "skipped"),
        "started_at": MOMENT,
        "finished_at": nullable(MOMENT),
        "detail": ANY_OBJECT,
    }
)
RUN = record(
    {
        "id": COUNT,
        "repository": TEXT,
        "ref": TEXT,
        "index": TEXT,
        "commit": nullable(TEXT),
        "project": nullable(TEXT),
        "version": nullable(TEXT),
        "state": one_of("requested", "running", "succeeded", "failed", "cancelled"),
        "worker": nullable(TEXT),
        "requested_by": TEXT,
        "requested_at": MOMENT,
        "claimed_at": nullable(MOMENT),
        "finished_at": nullable(MOMENT),
        "detail": nullable(TEXT),
        "steps": listed(named("Step")),
    }
)
SIGNER = record(
    {
        "principal": TEXT,
        "role": TEXT,
        "kind": TEXT,
        "public_key": TEXT,
        "valid_until": nullable(MOMENT),
        "registered_at": MOMENT,
        "revoked_at": nullable(MOMENT),
    }
)
COMPONENTS: dict[str, Schema] = {
    "Evidence": EVIDENCE,
    "File": FILE,
    "Index": INDEX,
    "Problem": PROBLEM,
    "Release": RELEASE,
    "Run": RUN,
    "Signer": SIGNER,
    "Step": STEP,
    "Verdict": VERDICT,
}
