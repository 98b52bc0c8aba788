"""Judging: what the rules of the indexes on a way say of a release, from the rows that a transaction sees.

Promotions, the question why, and the comparison of two policies ask here. What only some gates look at is
read only where an index on the way has one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.releases.distributions import metadata_of, releases_of_project
from conveyor.catalog.releases.docs_archives import find_docs
from conveyor.catalog.releases.evidence import evidence_of_release, is_built_elsewhere
from conveyor.catalog.releases.judging import (
    advisories_about,
    decisions_of_release,
    has_advisories,
    newest_policy,
)
from conveyor.catalog.releases.projects import find_release, projects_among
from conveyor.catalog.runs.queue import projects_of
from conveyor.domain.releases.facts import admitted
from conveyor.domain.releases.gates import JudgedFile, JudgedRelease, JudgingIndex, judge_on_way
from conveyor.domain.releases.gates.contents import packages_tested_with
from conveyor.domain.releases.gates.judged import Ties
from conveyor.domain.releases.licences import read_licence
from conveyor.domain.releases.policy import Policy, read_policy
from conveyor.domain.releases.promotions import route_to
from conveyor.domain.releases.tags import projects_named
from conveyor.domain.runs.repositories import canonical_url
from conveyor.operations.releases.standing import dependants_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from conveyor.catalog.releases.distributions import PlacedFile
    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.releases.advisories import AdvisoryOfProject
    from conveyor.domain.releases.evidence import Evidence
    from conveyor.domain.releases.gates.judged import Verdict


def policy_now(connection: Connection) -> Policy:
    """The policy that holds; an empty one before the first was applied."""
    newest = newest_policy(connection)
    return Policy() if newest is None else read_policy(newest.content)


def stations_to(
    connection: Connection,
    project: str,
    names: Iterable[str],
    indexes: Mapping[str, Index],
    *,
    source: str | None = None,
) -> tuple[JudgingIndex, ...]:
    """The indexes of those names, each with what it asks of the project now.

    ``source`` is the index that the release leaves; ``None``: none.
    """
    policy = policy_now(connection)
    return tuple(
        JudgingIndex(
            name,
            policy.rules(indexes[name], project),
            route_to(name, source, indexes),
            policy.deciding("isolation", name, project),
        )
        for name in names
    )


def judge_files(
    connection: Connection,
    files: Sequence[PlacedFile],
    way: Sequence[JudgingIndex],
    *,
    at: str,
    entry: str | None = None,
) -> tuple[Verdict, ...]:
    """One verdict per gate on a way for a release, whose files are given; at least one.

    Args:
        connection: of the transaction.
        files: of the release; one that is in several indexes counts once.
        way: the indexes that judge it.
        at: the time of the judgement, in the store's form.
        entry: the index to name to a run that carries it; ``None``: none need be named.
    """
    project, version = files[0].project, files[0].version
    gates = {gate for station in way for gate in station.rules.gates}
    evidence = evidence_of_release(connection, project, version)
    row = find_release(connection, project, version)
    release = JudgedRelease(
        project=project,
        version=version,
        files=_judged(connection, files, with_licence="licences" in gates),
        evidence=evidence,
        entry=entry,
        at=at,
        is_closed=row is not None and row.closed_at is not None,
        has_docs="docs" in gates and find_docs(connection, project, version) is not None,
        others=_others(connection, project) if "approval" in gates else (),
        decisions=tuple(decisions_of_release(connection, project, version)),
        dependants=dependants_in(
            connection, project, version, [one.index for one in way if "dependants" in one.rules.gates]
        ),
        advisories=_advisories(connection, project, evidence) if "advisories" in gates else None,
        ties=_ties(connection, project, evidence) if "qa-signature" in gates else None,
    )
    return judge_on_way(release, way)


def _judged(
    connection: Connection, files: Sequence[PlacedFile], *, with_licence: bool
) -> tuple[JudgedFile, ...]:
    found = {}
    for file in files:
        metadata = metadata_of(connection, file.filename, file.sha256) if with_licence else None
        licence = None if metadata is None else read_licence(metadata)
        found[file.filename, file.sha256] = JudgedFile(
            file.filename, file.packagetype, file.sha256, file.uploaded_at, licence
        )
    return tuple(found.values())


def _ties(connection: Connection, project: str, evidence: Sequence[Evidence]) -> Ties | None:
    """What ties its commit to the project; ``None`` if nobody signed a tag, for which it would matter."""
    tags = [one.predicate for one in evidence if one.kind == "qa-signature" and "tag" in one.predicate]
    if not tags:
        return None
    named = frozenset[str]().union(
        *(projects_named(str(one["tag"]), str(one.get("message", ""))) for one in tags)
    )
    builds = [one for one in evidence if one.kind == "build" and one.is_signer_valid]
    places = {canonical_url(str(place)) for one in builds if (place := one.predicate.get("repository"))}
    registered = [projects_of(connection, place) for place in sorted(places)]
    return Ties(
        is_registered=all(project in projects for projects in registered) if any(registered) else None,
        is_shared=is_built_elsewhere(
            connection, project, {one.commit_id for one in builds if one.commit_id is not None}
        ),
        others=projects_among(connection, named) - {project},
    )


def _others(connection: Connection, project: str) -> tuple[tuple[str, str], ...]:
    return tuple((version, index) for version, index, _ in releases_of_project(connection, project))


def _advisories(
    connection: Connection, project: str, evidence: Sequence[Evidence]
) -> tuple[AdvisoryOfProject, ...] | None:
    if not has_advisories(connection):
        return None
    told = [evidence, admitted(evidence, takes_jobs=True)]  # an index may count what jobs told
    names = {project, *(name for one in told for name, _ in packages_tested_with(one))}
    return tuple(advisories_about(connection, names))
