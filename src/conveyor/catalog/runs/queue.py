"""Rows of pipeline runs and their steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, insert, or_, select, true, update

from conveyor.catalog.database.tables import run_steps, runs, workers
from conveyor.domain.runs.states import Run, RunState, Step, StepState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import ColumnElement, Connection, Row


def insert_run(
    connection: Connection, *, repository: str, ref: str, index: str, requested_by: str, requested_at: str
) -> int:
    """Write a new run, requested, and return its id."""
    statement = (
        insert(runs)
        .values(
            repository=repository,
            ref=ref,
            index_name=index,
            state="requested",
            requested_by=requested_by,
            requested_at=requested_at,
        )
        .returning(runs.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def claim_oldest_run(
    connection: Connection,
    *,
    worker: str,
    claimed_at: str,
    indexes: Collection[str] | None = None,
    run_id: int | None = None,
) -> int | None:
    """Give the oldest requested run to a worker and return its id; ``None`` when there is none.

    ``indexes``: those that the run may enter, ``None``: any. What a worker asked for itself needs no
    registered repository, so no other worker gets it. With ``run_id`` only that run is given. On PostgreSQL
    the inner select skips rows that another worker is just taking (SQLite has one writer).
    """
    oldest = (
        select(runs.c.id)
        .where(
            runs.c.state == "requested",
            true() if run_id is None else runs.c.id == run_id,
            _enters(indexes),
            or_(runs.c.requested_by == worker, runs.c.requested_by.not_in(select(workers.c.name))),
        )
        .order_by(runs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    claimed: int | None = connection.scalar(
        update(runs)
        .where(runs.c.id == oldest.scalar_subquery(), runs.c.state == "requested")
        .values(state="running", worker=worker, claimed_at=claimed_at)
        .returning(runs.c.id)
    )
    return claimed


def has_requested_run(connection: Connection, indexes: Collection[str] | None = None) -> bool:
    """Whether some run waits for a worker, to enter one of these indexes; ``None``: any."""
    waiting = select(runs.c.id).where(runs.c.state == "requested", _enters(indexes)).limit(1)
    return connection.scalar(waiting) is not None


def _enters(indexes: Collection[str] | None) -> ColumnElement[bool]:
    return true() if indexes is None else runs.c.index_name.in_(sorted(indexes))


def find_run(connection: Connection, run_id: int) -> Run | None:
    """One run with its steps in order; ``None`` when there is none."""
    row = connection.execute(select(runs).where(runs.c.id == run_id)).first()
    return None if row is None else _run(row, _steps_of(connection, [run_id]).get(run_id, []))


def newest_runs(connection: Connection, *, limit: int, before: int | None = None) -> list[Run]:
    """The newest runs, newest first, with their steps; ``before``: of those that are older than this one."""
    older = true() if before is None else runs.c.id < before
    rows = connection.execute(select(runs).where(older).order_by(runs.c.id.desc()).limit(limit)).all()
    steps = _steps_of(connection, [row.id for row in rows])
    return [_run(row, steps.get(row.id, [])) for row in rows]


def update_run(connection: Connection, run_id: int, changes: Mapping[str, str | None]) -> None:
    """Write changed columns of a run."""
    connection.execute(update(runs).where(runs.c.id == run_id).values(**changes))


def insert_step(
    connection: Connection,
    run_id: int,
    name: str,
    *,
    state: str,
    started_at: str,
    finished_at: str | None,
    detail: Mapping[str, Any],
) -> None:
    """Write the first report of a step; it comes after all steps of the run that are known."""
    position = select(func.count()).select_from(run_steps).where(run_steps.c.run_id == run_id)
    connection.execute(
        insert(run_steps).values(
            run_id=run_id,
            name=name,
            position=position.scalar_subquery(),
            state=state,
            started_at=started_at,
            finished_at=finished_at,
            detail=json.dumps(detail, sort_keys=True),
        )
    )


def update_step(
    connection: Connection,
    run_id: int,
    name: str,
    *,
    state: str,
    started_at: str,
    finished_at: str | None,
    detail: Mapping[str, Any],
) -> None:
    """Write a later report of a step."""
    connection.execute(
        update(run_steps)
        .where(run_steps.c.run_id == run_id, run_steps.c.name == name)
        .values(
            state=state,
            started_at=started_at,
            finished_at=finished_at,
            detail=json.dumps(detail, sort_keys=True),
        )
    )


def _steps_of(connection: Connection, run_ids: list[int]) -> dict[int, list[Step]]:
    found: dict[int, list[Step]] = {}
    for row in connection.execute(
        select(run_steps)
        .where(run_steps.c.run_id.in_(run_ids))
        .order_by(run_steps.c.run_id, run_steps.c.position)
    ):
        step = Step(
            name=row.name,
            state=cast("StepState", row.state),
            started_at=row.started_at,
            finished_at=row.finished_at,
            detail=json.loads(row.detail),
        )
        found.setdefault(row.run_id, []).append(step)
    return found


def _run(row: Row[Any], steps: list[Step]) -> Run:
    return Run(
        id=row.id,
        repository=row.repository,
        ref=row.ref,
        index=row.index_name,
        commit=row.commit_id,
        project=row.project,
        version=row.version,
        state=cast("RunState", row.state),
        worker=row.worker,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        claimed_at=row.claimed_at,
        finished_at=row.finished_at,
        detail=row.detail,
        steps=tuple(steps),
    )
