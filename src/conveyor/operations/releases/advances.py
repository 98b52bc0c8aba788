"""Advances: the promotions that the store makes by itself, as soon as the last fact for them is here.

``advance`` is called within the transaction that brings a fact (evidence, a signature, documentation), and
moves the release as far as its gates allow, index by index; the events name the store as their actor, and
their cause. Facts that touch many releases, gates that only time opens, and the ends of overrides leave a row
for each release that is judged again (``judge_due``): any process of any node looks for them, and whoever
deletes the row judges. The end of an override moves nothing back: an event says what its gate says now.

Only releases move that a registered worker has tested for the index that they enter: what a person uploads
and nobody tests stays where it was put (decision 0047). One promotion at a time per project: the project's
row is locked before its facts are read, so of two facts that come at once the second sees the first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from conveyor.catalog.database.events import details_of
from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.releases.distributions import placements_of_release
from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.catalog.releases.judging import (
    decisions_of_release,
    due_releases,
    put_due,
    take_due,
    tell_verdicts,
)
from conveyor.catalog.releases.projects import lock_project
from conveyor.domain.indexes.projects import must_offer_files
from conveyor.domain.people.access import STORE, Identity, may_testify
from conveyor.domain.releases.facts import is_failed_for, is_tested_for, taken_by
from conveyor.domain.releases.promotions import (
    Judgement,
    has_arrived,
    next_station,
    own_moves,
    standstill,
)
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, DistributionExists, Forbidden, NotFound
from conveyor.operations.releases.judging import policy_now
from conveyor.operations.releases.promotions import judge_release, move_release, plan_promotion
from conveyor.operations.releases.standing import release_in
from conveyor.operations.store.store import read, record_changes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.catalog.database.events import Change
    from conveyor.domain.releases.decisions import PersonalDecision
    from conveyor.domain.releases.evidence import FactsOfTests
    from conveyor.domain.releases.gates.judged import Verdict
    from conveyor.domain.releases.gates.rules import Rules
    from conveyor.operations.releases.promotions import PromotionPlan
    from conveyor.operations.store.store import Store

_THE_STORE = Identity(STORE, frozenset({"admin"}))
END_OF_OVERRIDE = "end-override"
"""The action of the event that tells of it."""
MOST_AT_ONCE = 50
"""Releases that one look for due ones judges, each in a change of its own."""


def advance(change: Change, project: str, version: str, *, cause: str) -> None:
    """Move a release as far as the gates allow; its project is locked, and ``change`` is the store's.

    If a gate will be changed by time alone, or an override ends, the release is judged again then.
    """
    connection = change.connection
    while True:
        moves = _moves(connection, project, version, at=change.at)
        ready = next((move.plan for move in moves if move.is_open), None)
        if ready is None or ready.way is None:
            break
        move_release(change, ready, ready.way, cause=cause)
    opening = {one.opens_at for move in moves if move.is_tested for one in move.plan.verdicts}
    ending = {one.until for one in decisions_of_release(connection, project, version)}
    ahead = [moment for moment in opening | ending if moment is not None and moment > change.at]
    if ahead:
        put_due(connection, project, version, due_at=min(ahead), cause="the time that a gate waited for")
    for move in moves:
        _note_verdicts(change, move.plan, cause=cause)


def _note_verdicts(change: Change, plan: PromotionPlan, *, cause: str) -> None:
    """Record that gates keep a release out of an index, unless the audit log said the same of it last.

    ``hold``: it waits for people, or for time; ``refuse``: a gate fails it. As long as its run may still
    bring what is missing, there is nothing to say.
    """
    shut = {one.gate: one.outcome for one in plan.verdicts if not one.lets_pass}
    action = standstill(shut)
    if action is None or not tell_verdicts(change.connection, plan.project, plan.version, plan.target, shut):
        return
    change.event(
        action,
        index=plan.target,
        project=plan.project,
        version=plan.version,
        detail={"verdicts": [asdict(one) for one in plan.verdicts if not one.lets_pass], "cause": cause},
    )


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
        moves = _moves(connection, name, number, at=utc_text(store.clock()))
        is_ready = any(move.is_open for move in moves)
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
                _note_ends(change, project, version)
                advance(change, project, version, cause=cause)
                judged += 1
    return judged


def _note_ends(change: Change, project: str, version: str) -> None:
    """Write an event for each override that has ended, once: what its gate says of the release now."""
    ended = [
        one for one in decisions_of_release(change.connection, project, version) if one.has_ended(change.at)
    ]
    if not ended:
        return
    noted = {
        (one["index"], one["gate"], one["until"])
        for one in details_of(change.connection, END_OF_OVERRIDE, project, version)
    }
    for one in ended:
        what = (one.index, one.gate, one.until)
        if what in noted:
            continue
        noted.add(what)
        detail = {"index": one.index, "gate": one.gate, "until": one.until, "person": one.person}
        verdict = _verdict_now(change, one)
        if verdict is not None:
            detail |= {"outcome": verdict.outcome, "reason": verdict.reason}
        change.event(END_OF_OVERRIDE, index=one.index, project=project, version=version, detail=detail)


def _verdict_now(change: Change, decision: PersonalDecision) -> Verdict | None:
    """What the gate of an override says of its release; ``None`` if the index has no way for it any more."""
    try:
        plan = plan_promotion(
            change.connection, _THE_STORE, decision.project, decision.version, to=decision.index,
            source=None, at=change.at,
        )  # fmt: skip
    except (Conflict, DistributionExists, NotFound):
        return None
    return next((one for one in plan.verdicts if one.gate == decision.gate), None)


@dataclass(frozen=True)
class _Move:
    """A promotion that the store would make of a release, whatever the gates say."""

    plan: PromotionPlan
    is_tested: bool
    """Whether a worker has tested the release for the index that it would enter, with success."""

    @property
    def is_open(self) -> bool:
        """Whether the store makes it now."""
        passes = all(verdict.lets_pass for verdict in self.plan.verdicts)
        return self.is_tested and self.plan.way is not None and passes


def _moves(connection: Connection, project: str, version: str, *, at: str) -> list[_Move]:
    """The promotions that the store would make of a release of which some test is known."""
    placed = placements_of_release(connection, project, version)
    evidence = evidence_of_release(connection, project, version) if placed else ()
    if not any(one.kind == "tests" for one in evidence):  # evidence comes before an open release is published
        return []
    indexes = all_indexes(connection)
    found = []
    for source, target in own_moves({file.index for file in placed}, version, indexes):
        digests = {file.sha256 for file in placed if file.index == source}
        rules = policy_now(connection).rules(indexes[target], project)
        taken = taken_by(rules, evidence)
        blocks = partial(_is_blocked_by, rules)
        is_tested = is_tested_for(taken, digests, target, blocks)
        if not is_tested and not is_failed_for(taken, digests, target, blocks):
            continue
        try:
            plan = plan_promotion(connection, _THE_STORE, project, version, to=target, source=source, at=at)
            must_offer_files(plan.project, plan.status)
        except (Conflict, DistributionExists, Forbidden):
            continue  # a person who asks for it is told
        found.append(_Move(plan, is_tested))
    return found


def _is_blocked_by(rules: Rules, facts: FactsOfTests) -> bool:
    """Whether failing tests hold a release up, rather than being shown only."""
    return rules.blocks_on(facts.on.python, facts.on.platform)
