"""Promotions: report the verdicts of the gates, and move a whole release when all of them pass it.

A person asks for them here; what the store does by itself is in ``advances``. Only rows move. Gates are
evaluated twice: before the write transaction, so that a refusal does not cost one, and inside it, so that
they see everything that was revoked, uploaded or moved in between. Nobody bypasses a gate: even an
administrator has only the right to ask.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.releases import distributions as rows
from conveyor.catalog.releases.judging import decisions_of_release
from conveyor.catalog.releases.projects import close_release, lock_project, status_of
from conveyor.domain.indexes.definitions import resolution_order
from conveyor.domain.indexes.policy import not_here, readable_indexes
from conveyor.domain.indexes.projects import must_offer_files
from conveyor.domain.people.access import may_promote
from conveyor.domain.releases.promotions import (
    SEE_INDEXES,
    Judgement,
    Promotion,
    choose_source,
    entry_to_name,
    next_station,
    plan_way,
    way_of_run,
)
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, DistributionExists, NotFound, PromotionRefused
from conveyor.operations.releases.judging import judge_files, stations_to
from conveyor.operations.releases.standing import no_release, release_in
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.catalog.database.events import Change
    from conveyor.catalog.releases.distributions import PlacedFile
    from conveyor.domain.indexes.projects import ProjectStatus
    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.gates.judged import Verdict
    from conveyor.domain.releases.promotions import Way
    from conveyor.operations.store.store import Store


@dataclass(frozen=True)
class PromotionPlan:
    """The effect of a promotion, and whether it is allowed."""

    project: str
    version: str
    target: str
    way: Way | None
    """``None`` if the release is already in the target."""
    moving: tuple[PlacedFile, ...]
    """The release's files in the source."""
    files: tuple[PlacedFile, ...]
    """The release's files in source and target together."""
    verdicts: tuple[Verdict, ...]
    status: ProjectStatus


def find_way(store: Store, identity: Identity, entry: str | None) -> tuple[str, ...]:
    """The indexes that a pipeline run may carry a release through; raises as ``way_of_run``.

    In a store that has a private index, anonymous callers get Unauthorized instead of NotFound.
    """
    with read(store) as connection:
        indexes = all_indexes(connection)
        try:
            return way_of_run(identity, entry, indexes)
        except NotFound as error:
            raise not_here(error, identity, indexes) from error


def judge_release(
    store: Store, identity: Identity, project: str, version: str, *, to: str | None
) -> Judgement:
    """One verdict per gate between where a release is now and the index ``to``.

    ``None`` means the index that follows the release's current one. For a release that is already in the
    index, or at the end of its way, the verdicts say whether it would still be admitted.

    Raises:
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound: there is no such index or release that the caller may see.
        Conflict: no way leads from the release's index to that one, or several indexes follow.
    """
    at = utc_text(store.clock())
    with read(store) as connection:
        if to is None:
            release = release_in(connection, identity, project, version)
            to = next_station(release.index, all_indexes(connection))
        plan = plan_promotion(connection, identity, project, version, to=to, source=None, at=at)
        decided = decisions_of_release(connection, plan.project, plan.version)
    return Judgement(plan.project, plan.version, to, plan.verdicts, tuple(decided))


def promote_release(
    store: Store, identity: Identity, project: str, version: str, *, to: str, source: str | None = None
) -> Promotion:
    """Move every file of a release from the index it is in to the index ``to``, all of them or none.

    ``source`` names the index it leaves; ``None`` means the one that leads to ``to``. If the release is
    already there, the call succeeds and changes nothing.

    Raises:
        Unauthorized, Forbidden: the caller may not promote the project into that index, or it is quarantined.
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound: there is no such index or release that the caller may see.
        Conflict: no way leads there, or several indexes could be left.
        DistributionExists: the target or a base of it holds other bytes under one of the filenames.
        PromotionRefused: a gate on the way does not pass it; the error carries one verdict per gate.
    """
    # 1. the caller's right
    may_promote(identity, to, project_name(project))
    # 2. the plan, and the verdicts of the gates
    with read(store) as connection:
        plan = plan_promotion(
            connection, identity, project, version, to=to, source=source, at=utc_text(store.clock())
        )
    _refuse_unless_open(plan)
    if plan.way is None:
        store.newest.settle()
        return _done(plan)
    with record_change(store, actor=identity.name) as change:
        # 3. the same again, now that nobody else can change anything
        lock_project(change.connection, plan.project)
        plan = plan_promotion(
            change.connection, identity, project, version, to=to, source=source, at=change.at
        )
        _refuse_unless_open(plan)
        if plan.way is not None:
            # 4. rows, closing and event
            move_release(change, plan, plan.way)
    return _done(plan)


def plan_promotion(
    connection: Connection,
    identity: Identity,
    project: str,
    version: str,
    *,
    to: str,
    source: str | None,
    at: str,
) -> PromotionPlan:
    """The plan of a promotion, from the rows that this transaction sees."""
    name, number = project_name(project), canonical_version(version)
    indexes = all_indexes(connection)
    for index in (to, source or to):
        if index not in readable_indexes(indexes, identity):
            raise not_here(NotFound(f'there is no index "{index}"', hint=SEE_INDEXES), identity, indexes)
    seen = readable_indexes(indexes, identity, project=name)
    placed = [file for file in rows.placements_of_release(connection, name, number) if file.index in seen]
    present = {file.index for file in placed}
    if not present:
        raise no_release(connection, identity, name, number)
    left = choose_source(present, to, wanted=source, indexes=indexes, release=(name, number))
    way = None if left is None else plan_way(left, to, indexes)
    files = tuple(file for file in placed if file.index in (left, to))
    moving = tuple(file for file in files if file.index == left)
    _check_filenames(connection, name, moving, resolution_order(to, indexes))
    verdicts = judge_files(
        connection,
        files,
        stations_to(connection, name, (to,) if way is None else way.stations, indexes, source=left),
        at=at,
        entry=entry_to_name(left or to, identity, indexes),
    )
    return PromotionPlan(name, number, to, way, moving, files, verdicts, status_of(connection, name))


def _check_filenames(
    connection: Connection, project: str, moving: tuple[PlacedFile, ...], chain: tuple[str, ...]
) -> None:
    """Raise DistributionExists when the target or a base has other bytes under a moving file's name."""
    for file in moving:
        found = rows.placements_of_filename(connection, project, file.filename, indexes=chain)
        for index, sha256 in found.items():
            if sha256 != file.sha256:
                raise DistributionExists(
                    f'{file.filename} is already in "{index}" with other content',
                    hint="published files never change; release a new version",
                )


def _refuse_unless_open(plan: PromotionPlan) -> None:
    """Raise Forbidden for a quarantined project, PromotionRefused when a gate on the way is shut."""
    must_offer_files(plan.project, plan.status)
    shut = [verdict.gate for verdict in plan.verdicts if not verdict.lets_pass]
    if plan.way is not None and shut:
        raise PromotionRefused(
            f'{plan.project} {plan.version} may not enter "{plan.target}" yet: {", ".join(shut)}',
            verdicts=plan.verdicts,
            hint="do what the verdicts ask for, then promote again",
        )


def move_release(change: Change, plan: PromotionPlan, way: Way, *, cause: str | None = None) -> None:
    """Write the rows and the event of a promotion; ``cause``: why the store promotes, if nobody asked.

    Raises:
        Conflict: somebody else moved a file just now.
    """
    serial = change.event(
        "promote",
        index=way.target,
        project=plan.project,
        version=plan.version,
        detail={
            "from": way.source,
            "through": list(way.passed_through),
            "files": {file.filename: file.sha256 for file in plan.moving},
            "verdicts": [asdict(verdict) for verdict in plan.verdicts],
            **({} if cause is None else {"cause": cause}),
        },
    )
    already_there = {file.filename for file in plan.files if file.index == way.target}
    for file in plan.moving:
        if file.filename in already_there:
            rows.delete_placement(
                change.connection, index=way.source, project=plan.project, filename=file.filename
            )
            continue
        moved = rows.move_placement(
            change.connection,
            source=way.source,
            target=way.target,
            project=plan.project,
            filename=file.filename,
            added_serial=serial,
        )
        if not moved:
            raise Conflict(
                f"{file.filename} was moved by somebody else just now", hint="look, then try again"
            )
    close_release(change.connection, plan.project, plan.version, closed_at=change.at)


def _done(plan: PromotionPlan) -> Promotion:
    return Promotion(
        project=plan.project,
        version=plan.version,
        source=None if plan.way is None else plan.way.source,
        target=plan.target,
        files=tuple(sorted({file.filename for file in plan.files})),
        verdicts=plan.verdicts,
    )
