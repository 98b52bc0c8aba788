"""Evidence: stored facts about one distribution.

Facts travel as an in-toto Statement v1. The subject is the distribution, by its SHA-256; the predicate type
says which kind of fact it is. A worker signs it in a DSSE envelope with its Ed25519 key; the job of a CI host
hands it in unsigned, by its token. A QA signature is the exception: the raw git tag object (``tags``), or an
approval of the very files (``approvals``), signed with SSH or OpenPGP.

In this room: how statements and envelopes are written and read, and the facts of each kind as values.
Signatures are verified in ``operations.store.signatures``; which facts count is said in ``facts``, and what
they are good for in ``gates``.

Sources: in-toto Attestation Framework v1 (Statement), DSSE protocol v1.0.2.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from conveyor.domain.runs.states import holds_password
from conveyor.domain.words.names import ProjectName, minor_of
from conveyor.domain.words.notation import (
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    Commit,
    Moment,
    Sha256,
    StatementSubject,
    from_utc_text,
    read_json,
    utc_text,
)
from conveyor.domain.words.records import (
    Count,
    Described,
    Given,
    Judged,
    Named,
    Record,
    ShortText,
    Text,
    read_record,
    readable_by,
)

if TYPE_CHECKING:
    from datetime import datetime

EvidenceKind = Literal["build", "tests", "equivalence", "dependants", "qa-signature"]
Isolation = Literal["jail", "shared-proc", "degraded"]
"""How the programs of a project were kept from their worker: by a jail, or by little more than good will."""

PREDICATE_TYPES: dict[str, EvidenceKind] = {
    "urn:conveyor:evidence:build:1": "build",
    "urn:conveyor:evidence:tests:1": "tests",
    "urn:conveyor:evidence:equivalence:1": "equivalence",
    "urn:conveyor:evidence:dependants:1": "dependants",
}
MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
"""A tests statement names every package of its environment and every module outside; 4 MiB hold 20,000."""
MAX_SIGNATURES = 8
"""One worker signs one statement; each further signature costs a check."""
MOST_AHEAD = timedelta(minutes=2)
"""How far a worker's clock may be ahead of the store's; clocks set by the network differ by less."""


_TO_STANDARD = str.maketrans("-_", "+/")
_FOUR = "[A-Za-z0-9+/]{4}"


def decoded(text: str) -> bytes:
    """The bytes of a ``Base64``: standard or URL-safe alphabet, for the DSSE protocol allows both."""
    return base64.b64decode(text.translate(_TO_STANDARD), validate=True)


def _fault_of_signatures(signatures: list[Any]) -> str | None:
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        return f"holds {len(signatures)} signatures, not 1 to {MAX_SIGNATURES}"
    key_ids = [str(one.get("keyid")) for one in signatures if isinstance(one, dict)]
    return "holds two signatures of one key" if len(set(key_ids)) < len(key_ids) else None


Base64 = Annotated[
    str,
    Given(MAX_ENVELOPE_BYTES),
    readable_by(decoded, "is not base64"),
    Described(shortest=4, pattern=f"^({_FOUR})*({_FOUR}|[A-Za-z0-9+/]{{3}}=|[A-Za-z0-9+/]{{2}}==)$"),
]


@dataclass(frozen=True)
class ToldByJob(Record):
    """The job of a CI host that told a fact without a signature that counts."""

    publisher: Annotated[str, "The trusted publisher as whom it told it."]
    is_registered: Annotated[bool, "Whether that publisher is registered now."]
    claims: Annotated[dict[str, Any], "What the CI host's ID token says of the job."]


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
    made_at: Annotated[
        Moment | None, "When it was made; if it does not say so, when it came. The newest by this counts."
    ] = None
    signer_indexes: Annotated[
        tuple[str, ...] | None, "The indexes for which its signer may sign; null: all, and for workers."
    ] = None
    job: Annotated[
        ToldByJob | None,
        "The job of a CI host that told it; nothing of it was checked. Null: a worker or signer signed it.",
    ] = None


@dataclass(frozen=True)
class NewTag(Record):
    """The object of a signed git tag, as submitted."""

    project: ProjectName
    tag_object: Annotated[Base64, "The tag object, in base64."]

    @property
    def content(self) -> bytes:
        """The tag object itself."""
        return decoded(self.tag_object)


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


def _read_time(text: str) -> None:
    """Accept one spelling only: texts are compared, and a digit less would change their order."""
    if utc_text(from_utc_text(text)) != text:
        raise ValueError(text)


UtcText = Annotated[
    str,
    Given(40),
    readable_by(_read_time, "is not a time such as 2026-11-21T08:00:00.000000Z"),
    Described(format="date-time"),
]


@dataclass(frozen=True)
class Making(Record):
    """When, in which run and how isolated a worker found out a fact; older evidence does not say."""

    is_open = True
    at: Annotated[UtcText, "By the worker's clock."]
    isolation: Annotated[
        Isolation,
        "Whether a jail held the programs of the project, or one that shows the processes of the worker's "
        "container, or they ran as the worker's own user.",
    ]
    run: Annotated[Count | None, "The run's number in the store; null: none was asked for."] = None
    store: Annotated[Text | None, "Public URL of the store that it was found out for, if it has one."] = None


def _fault_of_repository(repository: str) -> str | None:
    if holds_password(repository):
        return "holds a password, which everybody who sees the release would see"
    return None


@dataclass(frozen=True)
class TrainedFile(Record):
    """A file that a training wrote."""

    is_open = True
    path: Text
    sha256: Sha256


@dataclass(frozen=True)
class SetLine(Record):
    """The line of a file that was set to the version."""

    is_open = True
    path: Text
    line: Annotated[Count, "Its number, from 1."]
    was: Text
    now: Annotated[Text, Named("is")]


@dataclass(frozen=True)
class BuiltOn(Record):
    """The environment of a build."""

    is_open = True
    python: Text | None = None
    platform: Text | None = None
    backend: Text | None = None


@dataclass(frozen=True)
class FactsOfBuild(Record):
    """Which commit a distribution was built from."""

    is_open = True
    project: Annotated[Text, "Of the distribution, as are its version and filename."]
    version: Text
    commit: Annotated[Commit, "The full id of the commit."]
    filename: Text
    repository: Annotated[
        Text | None, Given(), Judged(_fault_of_repository), "Where the commit is, as the worker clones it."
    ] = None
    tag: Annotated[Text | None, "The tag that the build was for."] = None
    folder: Annotated[Text, "Where the project lies in its repository; `.` is the top."] = "."
    built_from: Annotated[Sha256 | None, "SHA-256 of the sdist that a wheel was built from."] = None
    derived_from: Annotated[
        Sha256 | None, "SHA-256 of the wheel of the tested candidate that a final was derived from."
    ] = None
    trained: Annotated[tuple[TrainedFile, ...], Named("payload"), "The trained files in it."] = ()
    version_line: Annotated[SetLine | None, "The line of a file that was set to the version."] = None
    source_date_epoch: Annotated[Count | None, "Time of the commit, in seconds."] = None
    on: Annotated[BuiltOn | None, Named("environment")] = None
    made: Making | None = None
    author: Annotated[Text | None, "E-mail address of the commit's author."] = None

    @property
    def payload(self) -> tuple[tuple[str, str], ...]:
        """(path, SHA-256) of each trained file in it."""
        return tuple((one.path, one.sha256) for one in self.trained)


@dataclass(frozen=True)
class TestedPackage(Record):
    """A package of the environment of a test."""

    is_open = True
    name: Text
    version: Text


@dataclass(frozen=True)
class TestedOn(Record):
    """The environment of a test."""

    is_open = True
    python: Text
    platform: Text
    packages: Annotated[tuple[TestedPackage, ...], "What was installed, the distribution included."] = ()
    lock_sha256: Annotated[Sha256 | None, "Digest of its lock, which the store was handed before."] = None


@dataclass(frozen=True)
class TestedOrigin(Record):
    """Where the modules of the project that the tests imported came from."""

    is_open = True
    modules_checked: Annotated[Count, "Modules imported; with none of them the tests prove nothing."]
    outside: Annotated[tuple[Text, ...], "Those that did not come from the installed distribution."]
    files_checked: Annotated[Count | None, "Installed files compared with its RECORD."] = None


@dataclass(frozen=True)
class FactsOfTests(Record):
    """What the tests of one installed distribution gave, in one environment."""

    is_open = True
    project: Annotated[Text, "Of the distribution, as is its version."]
    version: Text
    index: Annotated[Text, "The index that the environment was resolved against."]
    passed: Count
    failed: Count
    errors: Count
    skipped: Count
    origin: TestedOrigin
    on: Annotated[TestedOn, Named("environment")]
    duration_milliseconds: Annotated[Count | None, "How long they ran."] = None
    made: Making | None = None
    counted: Annotated[
        Literal["plugin", "junit"] | None,
        "How the tests were counted: one by one, by a plugin of the worker's, or by the JUnit file of the "
        "project's own command; null: not known.",
    ] = None
    pythons: Annotated[
        tuple[Text, ...],
        "Pythons, without patch numbers, on which its job tests the file because the project or the index "
        "asks for it; empty: its job did not say.",
    ] = ()

    @property
    def environment(self) -> tuple[str, str, str]:
        """(index, Python without its patch number, platform): the newest result in each counts."""
        return environment_of(index=self.index, python=self.on.python, platform=self.on.platform)


@dataclass(frozen=True)
class FactsOfEquivalence(Record):
    """That a rebuilt final is what was derived from its candidate; the gate ``equivalence`` asks for it."""

    is_open = True
    project: Annotated[Text, "Of the final, as is its version."]
    version: Text
    rc_version: Annotated[Text, "Of the candidate, as are its SHA-256 and filename."]
    rc_sha256: Sha256
    derived_sha256: Annotated[
        Sha256, "The file that is published; an sdist is not derived, so the rebuilt one is published."
    ]
    rebuilt_sha256: Annotated[Sha256, "The file built again from the commit."]
    proof: Annotated[
        Literal["identical", "members-identical"],
        "Whether both have the same bytes, or the same members in another framing.",
    ]
    rc_filename: Text | None = None
    made: Making | None = None


@dataclass(frozen=True)
class ReferenceRun(Record):
    """The same tests with the release that the index has."""

    is_open = True
    version: Text
    passed: Count
    failures: Annotated[tuple[Text, ...], "Names of the tests that did not pass."]


@dataclass(frozen=True)
class FactsOfDependants(Record):
    """What the tests of a release gave that requires this one, installed together."""

    is_open = True
    project: Text
    version: Text
    index: Annotated[Text, "The index that has the dependant, and that the rest was resolved against."]
    dependant: Annotated[Text, "Its normalized name."]
    dependant_version: Text
    passed: Count
    failures: Annotated[tuple[Text, ...], "Names of the tests that did not pass."]
    reference: Annotated[
        ReferenceRun | None, "If some did not pass: the same with the release that the index has."
    ] = None
    on: Annotated[TestedOn | None, Named("environment")] = None
    made: Making | None = None

    @property
    def new_failures(self) -> tuple[str, ...]:
        """The tests that fail with this release, and did not with the one that the index has."""
        before = self.reference.failures if self.reference is not None else ()
        return tuple(one for one in self.failures if one not in before)

    @property
    def is_good(self) -> bool:
        """Whether nothing fails that did not fail before; with tests that pass, or never did."""
        had_any = self.reference is None or self.reference.passed > 0
        return not self.new_failures and (self.passed > 0 or not had_any)


def _fault_of_subjects(subjects: list[Any]) -> str | None:
    return None if len(subjects) == 1 else f"names {len(subjects)} distributions, not one"


@dataclass(frozen=True)
class EvidenceStatement(Record):
    """An in-toto statement about one distribution."""

    is_open = True
    statement_type: Annotated[Literal["https://in-toto.io/Statement/v1"], Named("_type")]
    subject: Annotated[tuple[StatementSubject, ...], Judged(_fault_of_subjects)]
    predicate_type: Annotated[
        Literal[
            "urn:conveyor:evidence:build:1",
            "urn:conveyor:evidence:tests:1",
            "urn:conveyor:evidence:equivalence:1",
            "urn:conveyor:evidence:dependants:1",
        ],
        Named("predicateType"),
    ]


@dataclass(frozen=True)
class BuildStatement(EvidenceStatement):
    """A statement of a build."""

    predicate: FactsOfBuild


@dataclass(frozen=True)
class TestsStatement(EvidenceStatement):
    """A statement of tests."""

    predicate: FactsOfTests


@dataclass(frozen=True)
class EquivalenceStatement(EvidenceStatement):
    """A statement of equivalence."""

    predicate: FactsOfEquivalence


@dataclass(frozen=True)
class DependantsStatement(EvidenceStatement):
    """A statement of the tests of a dependant."""

    predicate: FactsOfDependants


MAX_OF_JOB_BYTES = 512 * 1024
MOST_OF_JOBS = 100
"""Statements of jobs on one release: whoever holds the CI host tells as many as the store takes."""
_STATEMENTS: dict[str, type[EvidenceStatement]] = {
    "urn:conveyor:evidence:build:1": BuildStatement,
    "urn:conveyor:evidence:tests:1": TestsStatement,
    "urn:conveyor:evidence:equivalence:1": EquivalenceStatement,
    "urn:conveyor:evidence:dependants:1": DependantsStatement,
}


def made_at(predicate: dict[str, Any], *, received_at: str) -> str:
    """When the fact of a checked predicate was made; if it does not say so, when it was received."""
    return str((predicate.get("made") or {}).get("at") or received_at)


def fault_of_time(predicate: dict[str, Any], now: datetime) -> str | None:
    """Why the time of a checked predicate is refused; ``None`` if it is not.

    The newest result counts, so one from the future would outvote every result until then.
    """
    at = made_at(predicate, received_at=utc_text(now))
    if from_utc_text(at) <= now + MOST_AHEAD:
        return None
    return f"it was made at {at}, which is in the future: this store's clock says {utc_text(now)}"


def environment_of(*, index: str, python: str, platform: str) -> tuple[str, str, str]:
    """The environment of a test: (index, Python without its patch number, platform)."""
    return (index, minor_of(python), platform)


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
    return Envelope(decoded(read.payload), tuple((one.keyid, decoded(one.sig)) for one in read.signatures))


def canonical_envelope(envelope: Envelope, key_id: str) -> bytes:
    """The envelope with the one signature of that key, in the one spelling in which evidence is kept.

    The signature does not cover spaces, other signatures and unknown fields. If they were kept, an old
    statement could be submitted again in another spelling, so that an old success would follow a newer
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
    body: Any = read_json(payload, what="the statement")
    told = body.get("predicateType") if isinstance(body, dict) else None
    record = _STATEMENTS.get(told, EvidenceStatement) if isinstance(told, str) else EvidenceStatement
    read = read_record(record, body, what="the statement")
    (subject,) = read.subject
    return WorkerStatement(
        kind=PREDICATE_TYPES[read.predicate_type],
        filename=subject.name,
        sha256=subject.digest.sha256,
        predicate=body["predicate"],
    )


def facts_of_build(predicate: dict[str, Any]) -> FactsOfBuild:
    """The facts of build evidence; raises InvalidInput with every fault."""
    return read_record(FactsOfBuild, predicate, what="the build predicate")


def facts_of_equivalence(predicate: dict[str, Any]) -> FactsOfEquivalence:
    """The facts of equivalence evidence; raises InvalidInput with every fault."""
    return read_record(FactsOfEquivalence, predicate, what="the equivalence predicate")


def facts_of_dependants(predicate: dict[str, Any]) -> FactsOfDependants:
    """The facts of dependants evidence; raises InvalidInput with every fault."""
    return read_record(FactsOfDependants, predicate, what="the dependants predicate")


def facts_of_tests(predicate: dict[str, Any]) -> FactsOfTests:
    """The facts of tests evidence; raises InvalidInput with every fault."""
    return read_record(FactsOfTests, predicate, what="the tests predicate")
