"""What people decide: approve a release for an index, or override a gate of it for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.people.signers import is_worker
from conveyor.catalog.releases.judging import decisions_of_release, insert_decision
from conveyor.catalog.releases.projects import lock_project
from conveyor.domain.people.access import STORE
from conveyor.domain.releases.decisions import (
    PersonalDecision,
    approvers,
    end_of_override,
    may_override,
    must_be_a_person,
)
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.domain.words.notation import checked_reason
from conveyor.errors import InvalidInput
from conveyor.operations.indexes.definitions import index_in
from conveyor.operations.releases.advances import advance
from conveyor.operations.releases.judging import policy_now
from conveyor.operations.releases.standing import release_in
from conveyor.operations.store.store import record_changes

if TYPE_CHECKING:
    from conveyor.catalog.database.events import Change
    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.decisions import NewApproval, NewOverride
    from conveyor.domain.releases.gates.rules import Rules
    from conveyor.operations.store.store import Store


def approve_release(
    store: Store, identity: Identity, project: str, version: str, asked: NewApproval
) -> PersonalDecision:
    """Approve a release for an index; approving again changes nothing and returns the first approval.

    Raises:
        InvalidName, InvalidVersion, InvalidInput: the project's name, the version or the reason is not valid.
        Unauthorized, Forbidden: the caller may not promote the project into the index, or is a worker.
        NotFound: there is no such index or release that the caller may see.
    """
    name, number = project_name(project), canonical_version(version)
    reason = checked_reason(asked.reason)
    with record_changes(store) as begin:
        change = begin(identity.name)
        _open(change, identity, name, number, index=asked.index)
        before = decisions_of_release(change.connection, name, number)
        if identity.name in approvers(before, asked.index):
            return next(
                one
                for one in before
                if (one.kind, one.person, one.index) == ("approval", identity.name, asked.index)
            )
        decision = PersonalDecision(
            "approval", name, number, asked.index, "approval", identity.name, reason, change.at, None
        )
        _write(change, decision)
        advance(begin(STORE), name, number, cause=f"{decision.kind} of {identity.name}")
    return decision


def override_gate(
    store: Store, identity: Identity, project: str, version: str, asked: NewOverride
) -> PersonalDecision:
    """Have a gate of an index let a release pass until a time, whatever it says.

    Its end is judged by the store itself (``advances.judge_due``): an event says what the gate says then.

    Raises:
        InvalidName, InvalidVersion, InvalidInput: the project's name, the version, the reason or the time is
            not valid, or the index has no such gate.
        Unauthorized, Forbidden: the caller may not promote the project into the index, is a worker, or is
            neither an administrator nor named by the policy.
        NotFound: there is no such index or release that the caller may see.
    """
    name, number = project_name(project), canonical_version(version)
    reason = checked_reason(asked.reason)
    if reason is None:
        raise InvalidInput("an override needs a reason", faults=["the reason is blank"])
    with record_changes(store) as begin:
        change = begin(identity.name)
        rules = _open(change, identity, name, number, index=asked.index)
        may_override(identity, rules, asked.index)
        until = end_of_override(asked, rules, store.clock())
        decision = PersonalDecision(
            "override", name, number, asked.index, asked.gate, identity.name, reason, change.at, until
        )
        _write(change, decision)
        advance(begin(STORE), name, number, cause=f"{decision.kind} of {identity.name}")
    return decision


def _open(change: Change, identity: Identity, project: str, version: str, *, index: str) -> Rules:
    """What the index asks of the project, if the caller may decide about this release of it."""
    found = index_in(change.connection, identity, index)
    must_be_a_person(identity, index, project, is_worker=is_worker(change.connection, identity.name))
    lock_project(change.connection, project)
    release_in(change.connection, identity, project, version)
    return policy_now(change.connection).rules(found, project)


def _write(change: Change, decision: PersonalDecision) -> None:
    insert_decision(change.connection, decision)
    change.event(
        "approve" if decision.kind == "approval" else "override",
        index=decision.index,
        project=decision.project,
        version=decision.version,
        detail={"gate": decision.gate, "reason": decision.reason, "until": decision.until},
    )
