"""Evidence: signed, stored facts about one distribution.

Facts travel as an in-toto Statement v1 inside a DSSE envelope, signed by a worker's Ed25519 key. The
subject is the distribution, by its SHA-256; the predicate type says which kind of fact it is. A QA
signature is the exception: its envelope is the raw git tag object, signed with SSH (``tags``).

In this room: how statements and envelopes are written and read, and the facts of each kind as values.
Signatures are verified in ``operations.releases.evidence``, and facts are judged in ``gates``.

Sources: in-toto Attestation Framework v1 (Statement), DSSE protocol v1.0.2.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from conveyor.domain.runs.states import holds_password
from conveyor.domain.words.fields import Fields, read_json_object
from conveyor.domain.words.names import ProjectName
from conveyor.domain.words.notation import PAYLOAD_TYPE, STATEMENT_TYPE, Moment, Sha256
from conveyor.domain.words.records import (
    Count,
    Described,
    Given,
    Judged,
    Named,
    Record,
    ShortText,
    read_json,
    read_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EvidenceKind = Literal["build", "tests", "equivalence", "qa-signature"]

PREDICATE_TYPES: dict[str, EvidenceKind] = {
    "urn:conveyor:evidence:build:1": "build",
    "urn:conveyor:evidence:tests:1": "tests",
    "urn:conveyor:evidence:equivalence:1": "equivalence",
}
MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
"""A tests statement names every package of its environment and every module outside; 4 MiB hold 20,000."""
MAX_SIGNATURES = 8
"""One worker signs one statement; each further signature costs a check."""


_TO_STANDARD = str.maketrans("-_", "+/")
_FOUR = "[A-Za-z0-9+/]{4}"


def _decoded(text: str) -> bytes:
    """Standard or URL-safe alphabet: the DSSE protocol allows both."""
    return base64.b64decode(text.translate(_TO_STANDARD), validate=True)


def _fault_of_base64(text: str) -> str | None:
    try:
        _decoded(text)
    except (binascii.Error, ValueError):
        return "is not base64"
    return None


def _fault_of_signatures(signatures: list[Any]) -> str | None:
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        return f"holds {len(signatures)} signatures, not 1 to {MAX_SIGNATURES}"
    key_ids = [str(one.get("keyid")) for one in signatures if isinstance(one, dict)]
    return "holds two signatures of one key" if len(set(key_ids)) < len(key_ids) else None


Base64 = Annotated[
    str,
    Given(MAX_ENVELOPE_BYTES),
    Judged(_fault_of_base64),
    Described(shortest=4, pattern=f"^({_FOUR})*({_FOUR}|[A-Za-z0-9+/]{{3}}=|[A-Za-z0-9+/]{{2}}==)$"),
]


@dataclass(frozen=True)
class Evidence(Record):
    """One stored fact about a release, as the gates see it."""

    kind: EvidenceKind
    sha256: Annotated[
        Sha256 | None, "The distribution it is about; null for a QA signature, which is about a commit."
    ]
    commit_id: Annotated[str | None, Named("commit")]
    signed_by: Annotated[str, "Name of the worker, or principal of the signer."]
    received_at: Moment
    is_signer_valid: Annotated[bool, "Whether the worker or signer is registered and not revoked now."]
    predicate: dict[str, Any]


@dataclass(frozen=True)
class NewTag(Record):
    """The object of a signed git tag, as submitted."""

    project: ProjectName
    tag_object: Annotated[Base64, "The tag object, in base64."]

    @property
    def content(self) -> bytes:
        """The tag object itself."""
        return _decoded(self.tag_object)


@dataclass(frozen=True)
class TakenTag(Record):
    """A tag that was accepted."""

    version: str
    principal: Annotated[str, "The principal of its signature."]


@dataclass(frozen=True)
class TakenEvidence(Record):
    """Evidence that was accepted."""

    id: Count


@dataclass(frozen=True)
class DsseSignature(Record):
    """A signature in an envelope."""

    is_open = True
    keyid: ShortText
    sig: Base64


@dataclass(frozen=True)
class DsseEnvelope(Record):
    """An envelope around an in-toto statement."""

    is_open = True
    payload: Annotated[Base64, "The statement."]
    payload_type: Annotated[Literal["application/vnd.in-toto+json"], Named("payloadType")]
    signatures: Annotated[tuple[DsseSignature, ...], Judged(_fault_of_signatures), "Over payload and type."]


@dataclass(frozen=True)
class WorkerStatement:
    """A worker's statement about one distribution."""

    kind: EvidenceKind
    filename: str
    sha256: str
    predicate: dict[str, Any]


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope, well-formed but not verified."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """(key id, signature) in the order of the envelope."""


@dataclass(frozen=True)
class FactsOfBuild:
    """The commit that a distribution was built from."""

    project: str
    version: str
    commit: str
    tag: str | None
    repository: str | None
    """Where the commit is, as the worker clones it."""
    filename: str
    built_from: str | None
    """SHA-256 of the sdist a wheel was built from."""
    derived_from: str | None
    """SHA-256 of the tested release candidate's wheel that a final was derived from."""
    payload: tuple[tuple[str, str], ...]
    """(path, SHA-256) of each trained file in it."""


@dataclass(frozen=True)
class FactsOfTests:
    """The test results of one installed distribution, in one environment."""

    project: str
    version: str
    index: str
    """The index that the environment was resolved against."""
    passed: int
    failed: int
    errors: int
    skipped: int
    modules_checked: int
    """Modules of the project that the tests imported; if empty, the tests prove nothing."""
    outside: tuple[str, ...]
    """Imported modules of the project that did not come from the installed distribution."""
    python: str
    platform: str

    @property
    def environment(self) -> tuple[str, str, str]:
        """(index, Python without its patch number, platform): the newest result in each counts."""
        return environment_of(index=self.index, python=self.python, platform=self.platform)


def environment_of(*, index: str, python: str, platform: str) -> tuple[str, str, str]:
    """The environment of a test: (index, Python without its patch number, platform)."""
    return (index, ".".join(python.split(".")[:2]), platform)


def statement(kind: EvidenceKind, *, filename: str, sha256: str, predicate: dict[str, Any]) -> bytes:
    """The canonical bytes, to be signed, of an in-toto Statement about one distribution."""
    predicate_type = next(name for name, known in PREDICATE_TYPES.items() if known == kind)
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": filename, "digest": {"sha256": sha256}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_envelope(text: bytes) -> Envelope:
    """The envelope in ``text``.

    Raises:
        InvalidInput: it is not a DSSE envelope around an in-toto statement; names every fault.
    """
    read = read_record(DsseEnvelope, read_json(text, what="the envelope"), what="the envelope")
    return Envelope(_decoded(read.payload), tuple((one.keyid, _decoded(one.sig)) for one in read.signatures))


def canonical_envelope(envelope: Envelope, key_id: str) -> bytes:
    """The envelope with the one signature of that key, in the one spelling in which evidence is kept.

    The signature does not cover spaces, other signatures and unknown fields. If they were kept, an old
    statement     could be submitted again in another spelling, so that an old success would follow a newer
    failure.
    """
    signature = dict(envelope.signatures)[key_id]
    body = {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def read_statement(payload: bytes) -> WorkerStatement:
    """The statement in an envelope's payload, its predicate checked for its kind.

    Raises:
        InvalidInput: it is not a statement of ours about one distribution; names every fault.
    """
    body = read_json_object(payload, what="the statement")
    fields = Fields(body, what="the statement")
    fields.choice("_type", (STATEMENT_TYPE,))
    predicate_type = fields.choice("predicateType", tuple(PREDICATE_TYPES))
    subjects = fields.parts("subject")
    if len(subjects) != 1:
        fields.fault("subject", f"names {len(subjects)} distributions, not one")
    filename, sha256 = "", ""
    for subject in subjects[:1]:
        filename = subject.text("name", max_length=300)
        sha256 = subject.part("digest").sha256("sha256")
    predicate = fields.part("predicate")
    checks: dict[EvidenceKind, Callable[[Fields], object]] = {
        "build": _build,
        "tests": _tests,
        "equivalence": _check_equivalence,
    }
    if predicate_type:
        checks[PREDICATE_TYPES[predicate_type]](predicate)
    fields.finish()
    return WorkerStatement(
        kind=PREDICATE_TYPES[predicate_type], filename=filename, sha256=sha256, predicate=body["predicate"]
    )


def facts_of_build(predicate: dict[str, Any]) -> FactsOfBuild:
    """The facts of build evidence; raises InvalidInput with every fault."""
    fields = Fields(predicate, what="the build predicate")
    facts = _build(fields)
    fields.finish()
    return facts


def facts_of_tests(predicate: dict[str, Any]) -> FactsOfTests:
    """The facts of tests evidence; raises InvalidInput with every fault."""
    fields = Fields(predicate, what="the tests predicate")
    facts = _tests(fields)
    fields.finish()
    return facts


def _build(fields: Fields) -> FactsOfBuild:
    repository = fields.optional_text("repository")
    if repository is not None and holds_password(repository):
        fields.fault("repository", "holds a password, which everybody who sees the release would see")
    payload = fields.parts("payload") if fields.has("payload") else ()
    return FactsOfBuild(
        project=fields.text("project"),
        version=fields.text("version"),
        commit=fields.commit("commit"),
        tag=fields.optional_text("tag"),
        repository=repository,
        filename=fields.text("filename"),
        built_from=fields.optional_sha256("built_from"),
        derived_from=fields.optional_sha256("derived_from"),
        payload=tuple((file.text("path"), file.sha256("sha256")) for file in payload),
    )


def _tests(fields: Fields) -> FactsOfTests:
    environment = fields.part("environment")
    origin = fields.part("origin")
    return FactsOfTests(
        project=fields.text("project"),
        version=fields.text("version"),
        index=fields.text("index"),
        passed=fields.count("passed"),
        failed=fields.count("failed"),
        errors=fields.count("errors"),
        skipped=fields.count("skipped"),
        modules_checked=origin.count("modules_checked"),
        outside=origin.texts("outside"),
        python=environment.text("python"),
        platform=environment.text("platform"),
    )


def _check_equivalence(fields: Fields) -> None:
    """Note the faults of an equivalence predicate. People read its facts; gates do not use them."""
    for name in ("project", "version", "rc_version"):
        fields.text(name)
    for name in ("rc_sha256", "derived_sha256", "rebuilt_sha256"):
        fields.sha256(name)
    fields.choice("proof", ("identical", "members-identical"))
