"""What gates judge by: the policy and its versions, what people decide, advisories about packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.advisories import MAX_BATCH_BYTES, NewAdvisories, TakenAdvisories
from conveyor.domain.releases.decisions import NewApproval, NewOverride, PersonalDecision
from conveyor.domain.releases.policy import (
    JudgedOtherwise,
    NewPolicy,
    PolicyVersion,
    ProposedPolicy,
    RulesOfIndex,
)
from conveyor.domain.words.records import Count
from conveyor.operations.releases.advances import judge_due
from conveyor.operations.releases.decisions import approve_release, override_gate
from conveyor.operations.releases.policies import (
    apply_policy,
    compare_policy,
    get_policy,
    import_advisories,
    list_policies,
    rules_for,
)
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_newest_policy(call: Call) -> Answer:
    """The policy that holds."""
    return Answer(get_policy(call.store, call.identity))


def get_policy_versions(call: Call) -> Answer:
    """Every version of the policy, newest first."""
    return Answer({"versions": list_policies(call.store, call.identity)})


def get_policy_version(call: Call) -> Answer:
    """One version of the policy."""
    return Answer(get_policy(call.store, call.identity, call.number("version")))


def post_policy(call: Call) -> Answer:
    """Make a policy hold, as a new version; the content that holds already changes nothing."""
    applied = apply_policy(call.store, call.identity, call.read(NewPolicy, what="the policy"))
    judge_due(call.store)
    return Answer(applied)


def post_policy_comparison(call: Call) -> Answer:
    """The releases that another policy would judge otherwise; changes nothing."""
    asked = call.read(ProposedPolicy, what="the policy")
    return Answer({"releases": compare_policy(call.store, call.identity, asked.content)})


def get_rules(call: Call) -> Answer:
    """What each local index asks of the releases of a project now."""
    return Answer({"rules": rules_for(call.store, call.identity, call.path["project"])})


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


_RELEASE = "/projects/{project}/releases/{version}"

ENDPOINTS = (
    Endpoint("GET", "/policy", get_newest_policy, right="admin", answers={200: PolicyVersion}),
    Endpoint("POST", "/policy", post_policy, right="admin", body=NewPolicy, answers={200: PolicyVersion}),
    Endpoint(
        "POST",
        "/policy/comparison",
        post_policy_comparison,
        right="admin",
        body=ProposedPolicy,
        answers={200: ListOf("releases", JudgedOtherwise)},
    ),
    Endpoint(
        "GET",
        "/policy/versions",
        get_policy_versions,
        right="admin",
        answers={200: ListOf("versions", PolicyVersion)},
    ),
    Endpoint(
        "GET",
        "/policy/versions/{version}",
        get_policy_version,
        right="admin",
        in_path={"version": Count},
        answers={200: PolicyVersion},
    ),
    Endpoint(
        "GET",
        "/projects/{project}/rules",
        get_rules,
        right="read",
        answers={200: ListOf("rules", RulesOfIndex)},
    ),
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
