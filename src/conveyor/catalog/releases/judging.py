"""Rows by which gates judge: versions of the policy, decisions of people, advisories about packages.

The newest version of the policy holds. It and the decisions are never changed; an advisory is kept in its
newest state. A release is judged again when time may have opened a gate, or as soon as somebody looks:
whoever deletes its row judges it, so it is judged once, whatever the number of processes that look.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, insert, literal, select, update

from conveyor.catalog.database.judging_tables import (
    advisories,
    advisory_projects,
    decisions,
    due_judgements,
    evidence,
    policies,
    told_verdicts,
)
from conveyor.catalog.database.statements import Statement, columns_of, record_of, values_of
from conveyor.catalog.database.tables import distributions as files
from conveyor.catalog.database.tables import placements
from conveyor.domain.releases.advisories import AdvisoryOfProject, OsvRange
from conveyor.domain.releases.decisions import PersonalDecision
from conveyor.domain.releases.policy import PolicyVersion
from conveyor.domain.words.records import as_json, read_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy import Connection, Select

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


# --- releases to judge again --------------------------------------------------------------------------------

_due = due_judgements.c
_DUE = Statement(
    select(_due.project, _due.version)
    .where(_due.due_at <= bindparam("now"))
    .order_by(_due.due_at, _due.project, _due.version)
    .limit(bindparam("most"))
)


def due_releases(connection: Connection, *, now: str, most: int) -> list[tuple[str, str]]:
    """(project, version) of the releases that are due, the longest due first."""
    return [(project, version) for project, version in _DUE.all(connection, {"now": now, "most": most})]


def take_due(connection: Connection, project: str, version: str, *, now: str) -> str | None:
    """Delete the row of a release that is due and return its cause; ``None`` if somebody else has it."""
    taken: str | None = connection.scalar(
        delete(due_judgements)
        .where(_due.project == project, _due.version == version, _due.due_at <= now)
        .returning(_due.cause)
    )
    return taken


def put_due(connection: Connection, project: str, version: str, *, due_at: str, cause: str) -> None:
    """Have a release judged at a moment, or at an earlier one that is written already."""
    mine = (_due.project == project, _due.version == version)
    later = update(due_judgements).where(*mine, _due.due_at > due_at).values(due_at=due_at, cause=cause)
    if not connection.execute(later).rowcount:
        values = select(literal(project), literal(version), literal(due_at), literal(cause))
        _insert(connection, values.where(~exists().where(*mine)))


def put_tested_due(
    connection: Connection,
    *,
    due_at: str,
    cause: str,
    project: str | None = None,
    version: str | None = None,
    indexes: Collection[str] | None = None,
) -> None:
    """Have releases judged that some test is known of: those of a project, or those in some indexes.

    One that is due later, for the time that a gate waits for, is due at this moment instead.
    """
    asked = [evidence.c.kind == "tests"]
    if project is not None:
        asked.append(evidence.c.project == project)
    if version is not None:
        asked.append(evidence.c.version == version)
    if indexes is not None:
        asked.append(
            exists()
            .where(files.c.project == evidence.c.project, files.c.version == evidence.c.version)
            .where(placements.c.distribution_id == files.c.id)
            .where(placements.c.index_name.in_(sorted(indexes)))
        )
    is_same = (_due.project == evidence.c.project, _due.version == evidence.c.version)
    later = update(due_judgements).where(_due.due_at > due_at, exists().where(*is_same, *asked))
    connection.execute(later.values(due_at=due_at, cause=cause))
    values = select(evidence.c.project, evidence.c.version, literal(due_at), literal(cause)).distinct()
    _insert(connection, values.where(*asked, ~exists().where(*is_same)))


def _insert(connection: Connection, found: Select[str, str, str, str]) -> None:
    connection.execute(insert(due_judgements).from_select(["project", "version", "due_at", "cause"], found))


# --- verdicts that the audit log told last
# -------------------------------------------------------------------

_told = told_verdicts.c


def tell_verdicts(
    connection: Connection, project: str, version: str, index: str, shut: Mapping[str, str]
) -> bool:
    """Remember which gates keep a release out of an index; returns whether that is news."""
    gates = json.dumps(shut, sort_keys=True)
    mine = (_told.project == project, _told.version == version, _told.index_name == index)
    known = connection.scalar(select(_told.gates).where(*mine))
    if known is None:
        values = {"project": project, "version": version, "index_name": index, "gates": gates}
        connection.execute(insert(told_verdicts).values(values))
    elif known != gates:
        connection.execute(update(told_verdicts).where(*mine).values(gates=gates))
    return known != gates
