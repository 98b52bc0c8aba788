"""What people decide about releases, and the advisories by which gates judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.advisories import MAX_BATCH_BYTES, NewAdvisories, TakenAdvisories
from conveyor.domain.releases.decisions import NewApproval, NewOverride, PersonalDecision
from conveyor.operations.releases.advisories import import_advisories
from conveyor.operations.releases.decisions import approve_release, override_gate
from conveyor.server.api.endpoints import Answer, Endpoint

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call

_RELEASE = "/projects/{project}/releases/{version}"


def post_approval(call: Call) -> Answer:
    """Approve a release for an index; approving it again changes nothing."""
    asked = call.read(NewApproval, what="the approval")
    decision = approve_release(call.store, call.identity, call.path["project"], call.path["version"], asked)
    return Answer(decision, 201)


def post_override(call: Call) -> Answer:
    """Have a gate of an index let a release pass until a time; shown for ever."""
    asked = call.read(NewOverride, what="the override")
    decision = override_gate(call.store, call.identity, call.path["project"], call.path["version"], asked)
    return Answer(decision, 201)


def post_advisories(call: Call) -> Answer:
    """Keep advisories in the form of OSV, each in its newest state."""
    asked = call.read(NewAdvisories, what="the request")
    return Answer(import_advisories(call.store, call.identity, asked))


ENDPOINTS = (
    Endpoint(
        "POST",
        f"{_RELEASE}/approvals",
        post_approval,
        right="promote",
        body=NewApproval,
        answers={201: PersonalDecision},
    ),
    Endpoint(
        "POST",
        f"{_RELEASE}/overrides",
        post_override,
        right="promote",
        body=NewOverride,
        answers={201: PersonalDecision},
    ),
    Endpoint(
        "POST",
        "/advisories",
        post_advisories,
        right="admin",
        body=NewAdvisories,
        max_body_bytes=MAX_BATCH_BYTES,
        answers={200: TakenAdvisories},
    ),
)
