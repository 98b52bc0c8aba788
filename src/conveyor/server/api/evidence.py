"""Evidence: envelopes of workers, tag objects and approvals of signers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.releases.approvals import NewSignedApproval, TakenApproval
from conveyor.domain.releases.evidence import (
    MAX_ENVELOPE_BYTES,
    MAX_OF_JOB_BYTES,
    DsseEnvelope,
    Evidence,
    EvidenceStatement,
    NewTag,
    TakenEvidence,
    TakenTag,
)
from conveyor.operations.releases.evidence import (
    add_approval,
    add_evidence,
    add_statement,
    add_tag,
    evidence_on_file,
)
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def post_evidence(call: Call) -> Answer:
    """Hand in a DSSE envelope with an in-toto statement about one distribution of this store."""
    received = add_evidence(call.store, call.identity, call.body, mirror=call.query.get("mirror") or None)
    return Answer(TakenEvidence(received.id), 201 if received.is_new else 200)


def get_evidence_on_file(call: Call) -> Answer:
    """What is known of a distribution, one of the store's own or a mirror's, oldest first."""
    found = evidence_on_file(call.store, call.identity, call.path["sha256"], call.path["filename"])
    return Answer({"evidence": list(found)})


def post_statement(call: Call) -> Answer:
    """Hand in an in-toto statement of the job of a trusted publisher, unsigned: it is kept and labelled."""
    received = add_statement(call.store, call.identity, call.body)
    return Answer(TakenEvidence(received.id), 201 if received.is_new else 200)


def post_tag(call: Call) -> Answer:
    """Hand in the object of a signed git tag: a signer's word on the tagged commit."""
    asked = call.read(NewTag, what="the tag")
    received = add_tag(call.store, call.identity, asked.project, asked.content)
    return Answer(TakenTag(received.version, received.signed_by), 201 if received.is_new else 200)


def post_signed_approval(call: Call) -> Answer:
    """Hand in a signed approval: a signer's word on the files of a release."""
    received = add_approval(
        call.store, call.identity, call.read(NewSignedApproval, what="the approval").signed
    )
    taken = TakenApproval(received.project, received.version, received.signed_by)
    return Answer(taken, 201 if received.is_new else 200)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/evidence",
        post_evidence,
        right=None,
        body=DsseEnvelope,
        query={"mirror": IndexName},
        answers={201: TakenEvidence, 200: TakenEvidence},
        # One byte more, so that the operation itself refuses an envelope that is too large.
        max_body_bytes=MAX_ENVELOPE_BYTES + 1,
    ),
    Endpoint(
        "GET",
        "/files/{sha256}/{filename}/evidence",
        get_evidence_on_file,
        right="read",
        answers={200: ListOf("evidence", Evidence)},
    ),
    Endpoint(
        "POST",
        "/statements",
        post_statement,
        right=None,
        body=EvidenceStatement,
        answers={201: TakenEvidence, 200: TakenEvidence},
        max_body_bytes=MAX_OF_JOB_BYTES + 1,
    ),
    Endpoint("POST", "/tags", post_tag, right="upload", body=NewTag, answers={201: TakenTag, 200: TakenTag}),
    Endpoint(
        "POST",
        "/approvals",
        post_signed_approval,
        right="read",
        body=NewSignedApproval,
        answers={201: TakenApproval, 200: TakenApproval},
    ),
)
