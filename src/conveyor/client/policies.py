"""The policy of a store, what people decide about releases, and the advisories by which gates judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.connection import Request, api_path, ask_for, ask_for_all
from conveyor.domain.releases.advisories import NewAdvisories, TakenAdvisories
from conveyor.domain.releases.decisions import PersonalDecision
from conveyor.domain.releases.policy import (
    JudgedOtherwise,
    NewPolicy,
    PolicyVersion,
    ProposedPolicy,
    RulesOfIndex,
)

if TYPE_CHECKING:
    from conveyor.client.connection import Connection
    from conveyor.domain.releases.advisories import OsvAdvisory
    from conveyor.domain.releases.decisions import NewApproval, NewOverride
    from conveyor.domain.releases.gates.rules import Rules


@dataclass(frozen=True)
class Policies:
    """The policy of a store."""

    connection: Connection

    def get(self, version: int | None = None) -> PolicyVersion:
        """One version; ``None`` means the one that holds. Raises NotFound."""
        path = api_path("policy") if version is None else api_path("policy", "versions", version)
        return ask_for(self.connection, Request("GET", path), PolicyVersion)

    def history(self) -> tuple[PolicyVersion, ...]:
        """Every version, newest first."""
        return ask_for_all(
            self.connection, Request("GET", api_path("policy", "versions")), "versions", PolicyVersion
        )

    def apply(self, content: str, *, reason: str) -> PolicyVersion:
        """Make a policy hold and return its version; raises InvalidInput with every fault and its line."""
        request = Request("POST", api_path("policy"), json_body=NewPolicy(content, reason), may_repeat=True)
        return ask_for(self.connection, request, PolicyVersion)

    def compare(self, content: str) -> tuple[JudgedOtherwise, ...]:
        """The releases that another policy would judge otherwise; raises as ``apply``."""
        request = Request(
            "POST", api_path("policy", "comparison"), json_body=ProposedPolicy(content), may_repeat=True
        )
        return ask_for_all(self.connection, request, "releases", JudgedOtherwise)

    def rules(self, project: str) -> dict[str, Rules]:
        """What each local index asks of the releases of a project."""
        request = Request("GET", api_path("projects", project, "rules"))
        return {one.index: one.rules for one in ask_for_all(self.connection, request, "rules", RulesOfIndex)}


@dataclass(frozen=True)
class Decisions:
    """What people decide about the releases of a store."""

    connection: Connection

    def approve(self, project: str, version: str, asked: NewApproval) -> PersonalDecision:
        """Approve a release for an index."""
        path = api_path("projects", project, "releases", version, "approvals")
        request = Request("POST", path, json_body=asked, may_repeat=True)
        return ask_for(self.connection, request, PersonalDecision)

    def override(self, project: str, version: str, asked: NewOverride) -> PersonalDecision:
        """Have a gate of an index let a release pass until a time."""
        path = api_path("projects", project, "releases", version, "overrides")
        return ask_for(self.connection, Request("POST", path, json_body=asked), PersonalDecision)


@dataclass(frozen=True)
class Advisories:
    """The advisories of a store."""

    connection: Connection

    def add(self, advisories: tuple[OsvAdvisory, ...]) -> TakenAdvisories:
        """Hand in advisories, at most as many as ``MAX_BATCH_BYTES`` hold."""
        request = Request(
            "POST", api_path("advisories"), json_body=NewAdvisories(advisories), may_repeat=True
        )
        return ask_for(self.connection, request, TakenAdvisories)
