"""Rows by which gates judge: versions of the policy, decisions of people, advisories about packages.

The newest version of the policy holds. It and the decisions are never changed; an advisory is kept in its
newest state.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, insert, select, update

from conveyor.catalog.database.statements import Statement, columns_of, record_of, values_of
from conveyor.catalog.database.tables import advisories, advisory_projects, decisions, policies
from conveyor.domain.releases.advisories import AdvisoryOfProject, OsvRange
from conveyor.domain.releases.decisions import PersonalDecision
from conveyor.domain.releases.policy import PolicyVersion
from conveyor.domain.words.records import as_json, read_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection

    from conveyor.domain.releases.advisories import OsvAdvisory

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


_of = advisory_projects.c
_MOST_AT_ONCE = 500
"""Names in one statement: databases limit its parameters."""


def states_of_advisories(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """Id → when the stored state of the advisory was modified, for those of ``ids`` that are stored."""
    rows = connection.execute(
        select(advisories.c.id, advisories.c.modified).where(advisories.c.id.in_(sorted(ids)))
    )
    return {row.id: row.modified for row in rows}


def put_advisory(
    connection: Connection,
    advisory: OsvAdvisory,
    affected: Iterable[AdvisoryOfProject],
    *,
    is_new: bool,
) -> None:
    """Write an advisory, in place of its earlier state unless it is new."""
    values = {
        "id": advisory.id,
        "modified": advisory.modified_at,
        "withdrawn": advisory.withdrawn,
        "summary": advisory.summary[:500],
        "aliases": json.dumps(advisory.aliases),
    }
    if is_new:
        connection.execute(insert(advisories).values(values))
    else:
        connection.execute(update(advisories).where(advisories.c.id == advisory.id).values(values))
        connection.execute(delete(advisory_projects).where(_of.id == advisory.id))
    for one in affected:
        connection.execute(
            insert(advisory_projects).values(
                id=one.id,
                project=one.project,
                ranges=json.dumps(as_json(one.ranges)),
                versions=json.dumps(one.versions),
            )
        )


def has_advisories(connection: Connection) -> bool:
    """Whether any were imported."""
    return bool(connection.scalar(select(exists().where(advisories.c.id.is_not(None)))))


def advisories_about(connection: Connection, projects: Collection[str]) -> list[AdvisoryOfProject]:
    """The advisories that hold about these projects, by id; withdrawn ones do not hold."""
    names = sorted(projects)
    found = []
    for start in range(0, len(names), _MOST_AT_ONCE):
        rows = connection.execute(
            select(_of.id, _of.project, _of.ranges, _of.versions, advisories.c.summary, advisories.c.aliases)
            .join_from(advisory_projects, advisories, advisories.c.id == _of.id)
            .where(_of.project.in_(names[start : start + _MOST_AT_ONCE]), advisories.c.withdrawn.is_(None))
            .order_by(_of.id)
        )
        found += [
            AdvisoryOfProject(
                id=row.id,
                project=row.project,
                summary=row.summary,
                aliases=tuple(json.loads(row.aliases)),
                ranges=tuple(read_record(OsvRange, one, what="the range") for one in json.loads(row.ranges)),
                versions=tuple(json.loads(row.versions)),
            )
            for row in rows
        ]
    return found
