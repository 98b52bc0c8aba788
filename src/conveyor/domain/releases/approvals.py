"""Approvals: a signer's word on the very files of a release, where a signed tag is a word on a commit.

What is signed is an in-toto statement as one line of JSON: the files with their digests, the release, and the
store it is meant for, so that it means nothing elsewhere. It is signed as people sign tags, with SSH or
OpenPGP, and travels as git keeps a signed tag: the statement, then the armoured signature. SSH signatures
are made in a namespace of our own, so that none made for a tag or a file is taken for an approval.

Whether the signature is genuine is decided in ``operations.store.signatures``; nothing here proves anything.

Sources: in-toto Attestation Framework v1 (Statement); OpenSSH's PROTOCOL.sshsig (namespaces).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from conveyor.domain.people.keys import APPROVAL_NAMESPACE
from conveyor.domain.releases.evidence import MOST_AHEAD, Base64, UtcText, decoded
from conveyor.domain.releases.tags import split_signed
from conveyor.domain.words.names import ProjectName, VersionNumber
from conveyor.domain.words.notation import (
    STATEMENT_TYPE,
    StatementSubject,
    from_utc_text,
    read_json,
    utc_text,
)
from conveyor.domain.words.records import Judged, Named, Record, ShortText, read_record
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

APPROVAL_TYPE = "urn:conveyor:evidence:approval:1"
MAX_APPROVAL_BYTES = 512 * 1024
HINT_OF_APPROVALS = "make it anew with: conveyor approve NAME VERSION --key FILE"


@dataclass(frozen=True)
class NewSignedApproval(Record):
    """An approval, as submitted."""

    content: Annotated[Base64, "The statement and its armoured signature, in base64."]

    @property
    def signed(self) -> bytes:
        """The statement and its signature."""
        return decoded(self.content)


@dataclass(frozen=True)
class TakenApproval(Record):
    """An approval that was accepted."""

    project: str
    version: str
    principal: Annotated[str, "The principal of its signature."]


@dataclass(frozen=True)
class FactsOfApproval(Record):
    """What a signer approves, beside the files."""

    is_open = True
    project: ProjectName
    version: VersionNumber
    store: Annotated[ShortText, "Id of the store that it is meant for."]
    at: Annotated[UtcText, "When it was made, by the signer's clock."]


def _fault_of_subjects(subjects: list[Any]) -> str | None:
    return None if subjects else "names no file"


@dataclass(frozen=True)
class ApprovalStatement(Record):
    """An in-toto statement about all files of a release."""

    is_open = True
    statement_type: Annotated[Literal["https://in-toto.io/Statement/v1"], Named("_type")]
    subject: Annotated[tuple[StatementSubject, ...], Judged(_fault_of_subjects)]
    predicate_type: Annotated[Literal["urn:conveyor:evidence:approval:1"], Named("predicateType")]
    predicate: FactsOfApproval


@dataclass(frozen=True)
class SignedApproval:
    """An approval whose signature is well-formed but not verified."""

    facts: FactsOfApproval
    files: Mapping[str, str]
    """Filename → SHA-256."""
    payload: bytes
    """The bytes that were signed."""
    signature: bytes
    """The armoured signature."""
    public_key: str
    """The key that the signature claims to be from, as in a ``SignedTag``."""

    namespace = APPROVAL_NAMESPACE

    @property
    def subject(self) -> str:
        """What was signed, for messages."""
        return f"the approval of {self.facts.project} {self.facts.version}"


def approval_statement(files: Mapping[str, str], *, facts: FactsOfApproval) -> bytes:
    """The canonical bytes to be signed; ``files`` are the digests of all files of the release, by name."""
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())],
        "predicateType": APPROVAL_TYPE,
        "predicate": {
            "project": facts.project, "version": facts.version, "store": facts.store, "at": facts.at,
        },
    }  # fmt: skip
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def parse_approval(content: bytes) -> SignedApproval:
    """The approval in a statement with its signature.

    Raises:
        InvalidInput: it is not a statement of ours, or lacks a well-formed signature for approvals; names
            every fault that can be determined.
    """
    if len(content) > MAX_APPROVAL_BYTES:
        raise InvalidInput(f"an approval of {len(content)} bytes is over the limit of {MAX_APPROVAL_BYTES}")
    what = "the approval"
    payload, signature, public_key = split_signed(
        content, what=what, namespace=APPROVAL_NAMESPACE, hint=HINT_OF_APPROVALS
    )
    read = read_record(ApprovalStatement, read_json(payload, what=what), what=what)
    files = {one.name: one.digest.sha256 for one in read.subject}
    if len(files) < len(read.subject):
        raise InvalidInput(f"{what} names a file twice", hint=HINT_OF_APPROVALS)
    return SignedApproval(read.predicate, files, payload, signature, public_key)


def faults_of_approval(
    approval: SignedApproval, files: Mapping[str, str], *, store: str, now: datetime
) -> list[str]:
    """Why an approval is refused for a release with these files (filename → SHA-256) of this store."""
    faults = []
    if approval.facts.store != store:
        faults.append(f"it is meant for the store {approval.facts.store}, not for {store}")
    if from_utc_text(approval.facts.at) > now + MOST_AHEAD:
        faults.append(
            f"it was made at {approval.facts.at}, which is in the future: it is {utc_text(now)} here"
        )
    faults += [
        f"{name} has the SHA-256 {files[name]} here, and not {digest}"
        if name in files
        else f"the release has no file {name[:100]}"
        for name, digest in approval.files.items()
        if files.get(name) != digest
    ]
    return [*faults, *(f"it does not name the file {name}" for name in files.keys() - approval.files.keys())]


def is_approval(content: bytes) -> bool:
    """Whether what a signer signed is an approval and not a tag; a tag object begins with a header."""
    return content.startswith(b"{")


def approves(predicate: Mapping[str, Any], files: Mapping[str, str]) -> bool:
    """Whether the predicate of a kept approval covers all these files (filename → SHA-256)."""
    approved = predicate.get("files")
    return isinstance(approved, dict) and all(approved.get(name) == digest for name, digest in files.items())
