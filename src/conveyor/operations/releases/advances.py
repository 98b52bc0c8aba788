"""Advances: the promotions that the store makes by itself, as soon as the last fact for them is here.

``advance`` is called within the transaction that brings a fact (evidence, a signature, documentation), and
moves the release as far as its gates allow, index by index; the events name the store as their actor, and
their cause. Facts that touch many releases, and gates that only time opens, leave a row for each release that
is judged again (``judge_due``): any process of any node looks for them, and whoever deletes the row judges.

Only releases move that a registered worker has tested for the index that they enter: what a person uploads
and nobody tests stays where it was put (decision 0047). One promotion at a time per project: the project's
row is locked before its facts are read, so of two facts that come at once the second sees the first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.releases.distributions import placements_of_release
from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.catalog.releases.judging import due_releases, put_due, take_due
from conveyor.catalog.releases.projects import lock_project
from conveyor.domain.indexes.projects import must_offer_files
from conveyor.domain.people.access import STORE, Identity, may_testify
from conveyor.domain.releases.facts import is_tested_for
from conveyor.domain.releases.promotions import Judgement, has_arrived, next_station, own_moves
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, DistributionExists, Forbidden
from conveyor.operations.releases.promotions import judge_release, move_release, plan_promotion
from conveyor.operations.releases.standing import release_in
from conveyor.operations.store.store import read, record_changes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.catalog.database.events import Change
    from conveyor.operations.releases.promotions import PromotionPlan
    from conveyor.operations.store.store import Store

_THE_STORE = Identity(STORE, frozenset({"admin"}))
MOST_AT_ONCE = 50
"""Releases that one look for due ones judges, each in a change of its own."""


def advance(change: Change, project: str, version: str, *, cause: str) -> None:
    """Move a release as far as the gates allow; its project is locked, and ``change`` is the store's.

    If a gate will be changed by time alone, the release is judged again then.
    """
    connection = change.connection
    while True:
        plans = _plans(connection, project, version, at=change.at)
        ready = next((plan for plan in plans if _is_open(plan)), None)
        if ready is None or ready.way is None:
            break
        move_release(change, ready, ready.way, cause=cause)
    moments = {one.opens_at for plan in plans for one in plan.verdicts if one.opens_at is not None}
    ahead = [moment for moment in moments if moment > change.at]
    if ahead:
        put_due(connection, project, version, due_at=min(ahead), cause="the time that a gate waited for")


def judge_now(store: Store, identity: Identity, project: str, version: str, *, to: str | None) -> Judgement:
    """Judge a release and move it as far as the gates allow; say what then is missing on the way to ``to``.

    ``None`` means the index that follows where the release is then.

    Raises:
        Unauthorized, Forbidden: the caller may not hand in evidence on that project.
        As ``promotions.judge_release``.
    """
    name, number = project_name(project), canonical_version(version)
    may_testify(identity, name)
    with read(store) as connection:
        release_in(connection, identity, name, number)
        is_ready = any(
            _is_open(plan) for plan in _plans(connection, name, number, at=utc_text(store.clock()))
        )
    if is_ready:
        with record_changes(store) as begin:
            change = begin(STORE)
            lock_project(change.connection, name)
            advance(change, name, number, cause=f"{identity.name} asked")
    with read(store) as connection:
        release = release_in(connection, identity, name, number)
        indexes = all_indexes(connection)
    target = to or next_station(release.index, indexes)
    if has_arrived(release.indexes, target, indexes):
        return Judgement(name, number, target, (), index=release.index, has_arrived=True)
    told = judge_release(store, identity, name, number, to=target)
    return replace(told, index=release.index)


def judge_due(store: Store) -> int:
    """Judge the releases that are due, each in a change of its own; returns how many this process judged."""
    now = utc_text(store.clock())
    with read(store) as connection:
        due = due_releases(connection, now=now, most=MOST_AT_ONCE)
    judged = 0
    for project, version in due:
        with record_changes(store) as begin:
            change = begin(STORE)
            lock_project(change.connection, project)
            cause = take_due(change.connection, project, version, now=now)
            if cause is not None:
                advance(change, project, version, cause=cause)
                judged += 1
    return judged


def _plans(connection: Connection, project: str, version: str, *, at: str) -> list[PromotionPlan]:
    """The promotions that the store would make of a release, whatever the gates say."""
    placed = placements_of_release(connection, project, version)
    if not placed:  # evidence comes before an open release is published
        return []
    evidence = evidence_of_release(connection, project, version)
    found = []
    for source, target in own_moves({file.index for file in placed}, version, all_indexes(connection)):
        digests = {file.sha256 for file in placed if file.index == source}
        if not is_tested_for(evidence, digests, target):
            continue
        try:
            plan = plan_promotion(connection, _THE_STORE, project, version, to=target, source=source, at=at)
            must_offer_files(plan.project, plan.status)
        except (Conflict, DistributionExists, Forbidden):
            continue  # a person who asks for it is told
        found.append(plan)
    return found


def _is_open(plan: PromotionPlan) -> bool:
    return plan.way is not None and all(verdict.lets_pass for verdict in plan.verdicts)
