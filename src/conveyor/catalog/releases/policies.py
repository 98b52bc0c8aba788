"""Rows of the policy, whose newest version holds, and of what people decide. None is ever changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from conveyor.catalog.database.statements import Statement, columns_of, record_of, values_of
from conveyor.catalog.database.tables import decisions, policies
from conveyor.domain.releases.decisions import PersonalDecision
from conveyor.domain.releases.policy import PolicyVersion

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ALL = select(*columns_of(PolicyVersion, policies)).order_by(policies.c.version.desc())
_NEWEST = Statement(_ALL.limit(1))


def newest_policy(connection: Connection) -> PolicyVersion | None:
    """The policy that holds; ``None`` if none was ever applied."""
    row = _NEWEST.first(connection)
    return None if row is None else record_of(PolicyVersion, row)


def policy_versions(connection: Connection) -> list[PolicyVersion]:
    """Every version, newest first."""
    return [record_of(PolicyVersion, row) for row in connection.execute(_ALL)]


def find_policy(connection: Connection, version: int) -> PolicyVersion | None:
    """One version; ``None`` if there is no such version."""
    row = connection.execute(_ALL.where(policies.c.version == version)).first()
    return None if row is None else record_of(PolicyVersion, row)


def insert_policy(connection: Connection, policy: PolicyVersion) -> None:
    """Write a new version; raises IntegrityError if its number is taken."""
    connection.execute(insert(policies).values(values_of(policy)))


_DECISIONS = select(*columns_of(PersonalDecision, decisions, index="index_name"))


def insert_decision(connection: Connection, decision: PersonalDecision) -> None:
    """Write a decision."""
    connection.execute(insert(decisions).values(values_of(decision, index="index_name")))


def decisions_of_release(connection: Connection, project: str, version: str) -> list[PersonalDecision]:
    """What people decided about a release, oldest first, expired overrides too."""
    rows = connection.execute(
        _DECISIONS.where(decisions.c.project == project, decisions.c.version == version).order_by(
            decisions.c.id
        )
    )
    return [record_of(PersonalDecision, row) for row in rows]
