"""What gates judge by: the policy, its versions and what another one would change; advisories about packages.

Nothing of a version ever changes; an earlier one is restored by applying its content again, as a new version.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.people.signers import list_workers
from conveyor.catalog.releases import judging as rows
from conveyor.catalog.releases.distributions import all_releases, placements_of_release
from conveyor.catalog.releases.judging import put_tested_due
from conveyor.domain.indexes.policy import readable_indexes
from conveyor.domain.people.access import may_administer
from conveyor.domain.releases.advisories import TakenAdvisories, about_projects
from conveyor.domain.releases.gates import JudgingIndex
from conveyor.domain.releases.policy import (
    JudgedOtherwise,
    PolicyVersion,
    RulesOfIndex,
    check_policy,
    differing_gates,
    read_policy,
)
from conveyor.domain.releases.promotions import next_station, successors
from conveyor.domain.words.names import project_name
from conveyor.domain.words.notation import checked_reason, utc_text
from conveyor.errors import Conflict, InvalidInput, NotFound
from conveyor.operations.releases.judging import judge_files, policy_now
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from conveyor.catalog.database.events import Change
    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.advisories import NewAdvisories
    from conveyor.domain.releases.policy import NewPolicy, Policy
    from conveyor.operations.store.store import Store

_NONE_YET = "none was applied yet: conveyor store policy apply FILE --reason TEXT"


def apply_policy(store: Store, identity: Identity, asked: NewPolicy) -> PolicyVersion:
    """Make a policy hold, as a new version, and return it; the content that holds already changes nothing.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidInput: the reason is blank, or it is not a policy for this store; names every fault with its
            line.
    """
    # 1. the caller's right, and the file alone
    may_administer(identity)
    reason = checked_reason(asked.reason)
    if reason is None:
        raise InvalidInput("a policy needs a reason, for its history", faults=["the reason is blank"])
    policy = read_policy(asked.content)
    with record_change(store, actor=identity.name) as change:
        # 2. the file and this store
        _check(change.connection, policy)
        newest = rows.newest_policy(change.connection)
        if newest is not None and newest.content == asked.content:
            return newest
        # 3. the row and the event
        number = 1 if newest is None else newest.version + 1
        applied = PolicyVersion(number, change.at, identity.name, reason, asked.content)
        rows.insert_policy(change.connection, applied)
        sha256 = hashlib.sha256(asked.content.encode()).hexdigest()
        change.event("apply-policy", detail={"version": number, "reason": reason, "sha256": sha256})
        _judge_again(change, cause=f"version {number} of the policy")
    return applied


def _judge_again(change: Change, *, cause: str) -> None:
    """Have every release judged that may go on: the change may have opened a gate for any of them."""
    indexes = all_indexes(change.connection)
    leading = [name for name in indexes if successors(name, indexes)]
    put_tested_due(change.connection, due_at=change.at, cause=cause, indexes=leading)


def get_policy(store: Store, identity: Identity, version: int | None = None) -> PolicyVersion:
    """One version of the policy; ``None`` means the one that holds.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store: it may name private indexes.
        NotFound: there is no such version.
    """
    may_administer(identity)
    with read(store) as connection:
        newest = rows.newest_policy(connection)
        found = newest if version is None else rows.find_policy(connection, version)
    if found is None and newest is None:
        raise NotFound("this store has no policy: the settings of its indexes hold", hint=_NONE_YET)
    if found is None:
        raise NotFound(
            f"there is no version {version} of the policy", hint="see conveyor store policy history"
        )
    return found


def list_policies(store: Store, identity: Identity) -> list[PolicyVersion]:
    """Every version of the policy, newest first. Raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return rows.policy_versions(connection)


def rules_for(store: Store, identity: Identity, project: str) -> list[RulesOfIndex]:
    """What each local index that the caller may read asks of a project now, by index.

    Raises:
        InvalidName: the project's name is not valid.
    """
    name = project_name(project)
    with read(store) as connection:
        indexes = all_indexes(connection)
        policy = policy_now(connection)
        seen = sorted(readable_indexes(indexes, identity, project=name))
    found = (indexes[one] for one in seen)
    return [RulesOfIndex(index.name, policy.rules(index, name)) for index in found if index.kind == "local"]


def compare_policy(store: Store, identity: Identity, content: str) -> list[JudgedOtherwise]:
    """The releases that another policy would judge otherwise, by project, version and index.

    Each release is judged at the index that follows the one where it is, and at the one where it is. Only
    those are judged of which the two policies ask different things.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidInput: it is not a policy for this store; names every fault with its line.
    """
    may_administer(identity)
    policy = read_policy(content)
    at = utc_text(store.clock())
    with read(store) as connection:
        _check(connection, policy)
        indexes = all_indexes(connection)
        before = policy_now(connection)
        found = []
        for project, version, index, is_inside in _places(connection, indexes):
            asked = [one.rules(indexes[index], project) for one in (before, policy)]
            if asked[0] == asked[1]:
                continue
            files = placements_of_release(connection, project, version)
            old, new = (
                judge_files(connection, files, (JudgingIndex(index, rules),), at=at) for rules in asked
            )
            gates = differing_gates(old, new)
            if gates:
                gone, come = (tuple(one for one in verdicts if one.gate in gates) for verdicts in (old, new))
                found.append(JudgedOtherwise(project, version, index, is_inside, gone, come))
    return found


def _places(connection: Connection, indexes: dict[str, Index]) -> Iterator[tuple[str, str, str, bool]]:
    """Each release with the promotion-only index where it is, and the one that it would enter next."""
    for project, version, index in all_releases(connection):
        if indexes[index].mode == "promotion-only":
            yield project, version, index, True
        try:
            following = next_station(index, indexes)
        except Conflict:  # several follow: nothing moves by itself there
            continue
        if following != index:
            yield project, version, following, False


def _check(connection: Connection, policy: Policy) -> None:
    check_policy(policy, all_indexes(connection), {one.name for one in list_workers(connection)})


def import_advisories(store: Store, identity: Identity, asked: NewAdvisories) -> TakenAdvisories:
    """Keep advisories, each in its newest state; a withdrawn one stays, and holds no longer.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
    """
    # 1. the caller's right
    may_administer(identity)
    newest = {}
    for one in sorted(asked.advisories, key=lambda one: one.modified_at):
        newest[one.id] = one
    with record_change(store, actor=identity.name) as change:
        # 2. what is news
        known = rows.states_of_advisories(change.connection, newest)
        news = [one for one in newest.values() if one.modified_at > known.get(one.id, "")]
        # 3. rows and event
        for one in news:
            rows.put_advisory(
                change.connection, one, about_projects(one).values(), is_new=one.id not in known
            )
        new = sum(one.id not in known for one in news)
        taken = TakenAdvisories(new, len(news) - new, len(newest) - len(news))
        if news:
            change.event(
                "import-advisories", detail={"new": taken.new, "changed": taken.changed, "withdrawn": [
                    one.id for one in news if one.withdrawn
                ][:100]},
            )  # fmt: skip
            _judge_again(change, cause="advisories")
    return taken
