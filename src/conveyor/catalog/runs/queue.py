"""Rows of pipeline runs, their steps and output, of repositories that runs may be asked for, of webhooks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, insert, or_, select, true, update

from conveyor.catalog.database.statements import columns_of, record_of, values_of
from conveyor.catalog.database.tables import (
    repositories,
    run_output,
    run_steps,
    runs,
    webhook_deliveries,
    webhooks,
    workers,
)
from conveyor.domain.runs.repositories import Repository
from conveyor.domain.runs.states import OutputBatch, OutputPart, Run, Step
from conveyor.domain.runs.webhooks import Webhook
from conveyor.domain.words.records import as_json, read_record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import ColumnElement, Connection

    from conveyor.domain.runs.states import NewRun


def insert_run(
    connection: Connection, run: NewRun, *, requested_by: str, requested_at: str, priority: int = 0,
    retry_of: int | None = None, reason: str | None = None, tests_since: str | None = None,
) -> int:  # fmt: skip
    """Write a new run, requested, whose index is decided, and return its id."""
    values = {
        **values_of(run, index="index_name", without=("claim", "tests_again")),
        "state": "requested",
        "priority": priority,
    }
    values |= {"requested_by": requested_by, "requested_at": requested_at}
    values |= {"retry_of": retry_of, "reason": reason, "tests_since": tests_since}
    return int(connection.execute(insert(runs).values(values).returning(runs.c.id)).scalar_one())


def claim_first_run(
    connection: Connection,
    *,
    worker: str,
    claimed_at: str,
    indexes: Collection[str] | None = None,
    run_id: int | None = None,
) -> int | None:
    """Give the first requested run to a worker and return its id; ``None`` if no run is waiting.

    The first is the oldest of those with the highest priority.

    ``indexes`` are those that the run may enter, ``None``: any. A run that a worker requested itself needs no
    registered repository, so no other worker gets it. With ``run_id``, only that run is given. On PostgreSQL
    the inner select skips rows that another worker is taking (SQLite has one writer).
    """
    first = (
        select(runs.c.id)
        .where(_claimable(worker, indexes, run_id))
        .order_by(runs.c.priority.desc(), runs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    claimed: int | None = connection.scalar(
        update(runs)
        .where(runs.c.id == first.scalar_subquery(), runs.c.state == "requested")
        .values(state="running", worker=worker, claimed_at=claimed_at)
        .returning(runs.c.id)
    )
    return claimed


def has_claimable_run(
    connection: Connection, *, worker: str, indexes: Collection[str] | None = None, run_id: int | None = None
) -> bool:
    """Whether ``claim_first_run``, asked the same, would give a run."""
    waiting = select(runs.c.id).where(_claimable(worker, indexes, run_id)).limit(1)
    return connection.scalar(waiting) is not None


def _claimable(worker: str, indexes: Collection[str] | None, run_id: int | None) -> ColumnElement[bool]:
    return and_(
        runs.c.state == "requested",
        true() if run_id is None else runs.c.id == run_id,
        true() if indexes is None else runs.c.index_name.in_(sorted(indexes)),
        or_(runs.c.requested_by == worker, runs.c.requested_by.not_in(select(workers.c.name))),
    )


def count_running(connection: Connection) -> int:
    """How many runs are under way, in all workers."""
    asked = select(func.count()).select_from(runs).where(runs.c.state == "running")
    return int(connection.execute(asked).scalar_one())


def open_runs_like(connection: Connection, run: NewRun) -> list[Run]:
    """Runs of the same repository and ref that have not ended, without steps; not those of workers."""
    rows = connection.execute(
        _RUNS.where(
            runs.c.repository == run.repository,
            runs.c.ref == run.ref,
            runs.c.state.in_(("requested", "running")),
            runs.c.requested_by.not_in(select(workers.c.name)),
        ).order_by(runs.c.id)
    )
    return [record_of(Run, row, steps=()) for row in rows]


def delete_runs_ended_before(connection: Connection, before: str, *, most: int) -> int:
    """Remove the oldest runs that ended before a time, whole; returns how many were removed."""
    ended = select(runs.c.id).where(runs.c.finished_at < before).order_by(runs.c.finished_at).limit(most)
    ids = list(connection.execute(ended).scalars())
    for rows in (run_steps, run_output):
        connection.execute(delete(rows).where(rows.c.run_id.in_(ids)))
    connection.execute(delete(runs).where(runs.c.id.in_(ids)))
    return len(ids)


def find_run(connection: Connection, run_id: int) -> Run | None:
    """One run with its steps in order; ``None`` when there is none."""
    row = connection.execute(_RUNS.where(runs.c.id == run_id)).first()
    return None if row is None else record_of(Run, row, steps=_steps_of(connection, [run_id])[run_id])


def newest_runs(connection: Connection, *, limit: int, before: int | None = None) -> list[Run]:
    """The newest runs, newest first, with their steps; ``before`` limits them to runs older than this one."""
    older = true() if before is None else runs.c.id < before
    rows = connection.execute(_RUNS.where(older).order_by(runs.c.id.desc()).limit(limit)).all()
    steps = _steps_of(connection, [row.id for row in rows])
    return [record_of(Run, row, steps=steps[row.id]) for row in rows]


def update_run(connection: Connection, run_id: int, changes: Mapping[str, str | None]) -> None:
    """Write changed columns of a run."""
    connection.execute(update(runs).where(runs.c.id == run_id).values(**changes))


def insert_step(connection: Connection, run_id: int, step: Step) -> None:
    """Write the first report of a step; it comes after all steps of the run that are known."""
    position = select(func.count()).select_from(run_steps).where(run_steps.c.run_id == run_id)
    values = {**values_of(step), "run_id": run_id, "position": position.scalar_subquery()}
    connection.execute(insert(run_steps).values(values))


def update_step(connection: Connection, run_id: int, step: Step) -> None:
    """Write a later report of a step."""
    connection.execute(
        update(run_steps)
        .where(run_steps.c.run_id == run_id, run_steps.c.name == step.name)
        .values(values_of(step, with_nulls=True))
    )


def state_of_output(connection: Connection, run_id: int) -> tuple[int, int]:
    """(number of the newest batch of a run's output, 0 if there is none; characters of all together)."""
    asked = select(
        func.coalesce(func.max(run_output.c.number), 0), func.coalesce(func.sum(run_output.c.characters), 0)
    )
    number, characters = connection.execute(asked.where(run_output.c.run_id == run_id)).one()
    return int(number), int(characters)


def insert_output(connection: Connection, run_id: int, batch: OutputBatch, *, characters: int) -> None:
    """Write a batch of output; raises IntegrityError if its number is taken."""
    connection.execute(
        insert(run_output).values(
            run_id=run_id,
            number=batch.number,
            received_at=batch.received_at,
            characters=characters,
            parts=json.dumps(as_json(batch.parts)),
        )
    )


def delete_output_received_before(connection: Connection, before: str, *, most: int) -> None:
    """Remove the output of the oldest runs that began to write before a time, of at most so many."""
    oldest = select(run_output.c.run_id, run_output.c.received_at)
    oldest = oldest.order_by(run_output.c.run_id, run_output.c.number).limit(1)
    for _ in range(most):
        found = connection.execute(oldest).first()
        if found is None or found.received_at >= before:
            return
        connection.execute(delete(run_output).where(run_output.c.run_id == found.run_id))


def output_of_run(connection: Connection, run_id: int, *, after: int, most: int) -> list[OutputBatch]:
    """The first batches after a number, in order."""
    rows = connection.execute(
        select(run_output.c.number, run_output.c.received_at, run_output.c.parts)
        .where(run_output.c.run_id == run_id, run_output.c.number > after)
        .order_by(run_output.c.number)
        .limit(most)
    )
    return [
        OutputBatch(
            number, at, tuple(read_record(OutputPart, one, what="the part") for one in json.loads(parts))
        )
        for number, at, parts in rows
    ]


def _steps_of(connection: Connection, run_ids: Collection[int]) -> dict[int, tuple[Step, ...]]:
    """The steps of each of these runs, in their order."""
    found: dict[int, tuple[Step, ...]] = dict.fromkeys(run_ids, ())
    asked = _STEPS.where(run_steps.c.run_id.in_(run_ids))
    for run_id, *row in connection.execute(asked.order_by(run_steps.c.run_id, run_steps.c.position)):
        found[run_id] += (record_of(Step, row),)
    return found


_RUNS = select(*columns_of(Run, runs, without=("steps",), index="index_name", commit="commit_id"))
_STEPS = select(run_steps.c.run_id, *columns_of(Step, run_steps))


_REPOSITORIES = select(*columns_of(Repository, repositories, index="index_name"))


def insert_repository(connection: Connection, repository: Repository, *, seen_serial: int) -> None:
    """Write a registration that is not there yet; events up to ``seen_serial`` request no run of it."""
    values = {**values_of(repository, index="index_name"), "seen_serial": seen_serial}
    connection.execute(insert(repositories).values(values))


def due_repositories(connection: Connection, now: str) -> list[Repository]:
    """The registrations whose schedule has come, the longest ago first."""
    due = _REPOSITORIES.where(repositories.c.next_run_at <= now).order_by(repositories.c.next_run_at)
    return [record_of(Repository, row) for row in connection.execute(due)]


def move_next_run(connection: Connection, repository: Repository, *, after: str) -> bool:
    """Write when a schedule comes next; returns whether no other process has done so meanwhile."""
    moved = (
        update(repositories)
        .where(repositories.c.project == repository.project, repositories.c.url == repository.url)
        .where(repositories.c.next_run_at == repository.next_run_at)
        .values(next_run_at=after)
    )
    return connection.execute(moved).rowcount > 0


def watching_repositories(connection: Connection) -> list[tuple[Repository, int]]:
    """The registrations that wait for releases, each with the event up to which was looked."""
    asked = _REPOSITORIES.add_columns(repositories.c.seen_serial).where(repositories.c.on_release != "[]")
    return [(record_of(Repository, row), int(seen or 0)) for *row, seen in connection.execute(asked)]


def move_seen_serial(connection: Connection, repository: Repository, *, before: int, after: int) -> bool:
    """Write up to which event was looked; returns whether no other process has done so meanwhile."""
    moved = (
        update(repositories)
        .where(repositories.c.project == repository.project, repositories.c.url == repository.url)
        .where(repositories.c.seen_serial == before)
        .values(seen_serial=after)
    )
    return connection.execute(moved).rowcount > 0


def delete_repository(connection: Connection, project: str, url: str) -> bool:
    """Remove a registration; returns whether it existed."""
    removed = delete(repositories).where(repositories.c.project == project, repositories.c.url == url)
    return connection.execute(removed).rowcount > 0


def all_repositories(connection: Connection) -> list[Repository]:
    """Every registration, by project and URL."""
    rows = connection.execute(_REPOSITORIES.order_by(repositories.c.project, repositories.c.url))
    return [record_of(Repository, row) for row in rows]


def projects_of(connection: Connection, url: str) -> dict[str, bool]:
    """The projects that a repository is registered for, each with whether it may be local there."""
    asked = select(repositories.c.project, repositories.c.is_local).where(repositories.c.url == url)
    return {project: bool(is_local) for project, is_local in connection.execute(asked)}


def has_repository(connection: Connection, project: str) -> bool:
    """Whether any repository is registered for a project."""
    asked = select(repositories.c.url).where(repositories.c.project == project).limit(1)
    return connection.scalar(asked) is not None


def insert_webhook(connection: Connection, webhook: Webhook, *, secret: str) -> None:
    """Write a new webhook."""
    values = {**values_of(webhook, index="index_name"), "secret": secret}
    connection.execute(insert(webhooks).values(values))


def all_webhooks(connection: Connection) -> list[Webhook]:
    """Every webhook, by repository; their secrets are not among what it says."""
    return [record_of(Webhook, row) for row in connection.execute(_WEBHOOKS.order_by(webhooks.c.repository))]


def find_webhook(connection: Connection, webhook_id: str) -> tuple[Webhook, str] | None:
    """A webhook and its secret; ``None`` if there is none."""
    row = connection.execute(_WEBHOOKS.where(webhooks.c.id == webhook_id)).first()
    if row is None:
        return None
    secret = connection.scalar(select(webhooks.c.secret).where(webhooks.c.id == webhook_id))
    return record_of(Webhook, row), str(secret)


def delete_webhook(connection: Connection, webhook_id: str) -> bool:
    """Remove a webhook with its deliveries; returns whether it existed."""
    connection.execute(delete(webhook_deliveries).where(webhook_deliveries.c.webhook_id == webhook_id))
    return connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id)).rowcount > 0


def note_delivery(connection: Connection, webhook_id: str, digest: str, *, received_at: str) -> bool:
    """Remember a delivery; returns whether it is new."""
    mine = and_(webhook_deliveries.c.webhook_id == webhook_id, webhook_deliveries.c.digest == digest)
    if connection.scalar(select(func.count()).select_from(webhook_deliveries).where(mine)):
        return False
    row = {"webhook_id": webhook_id, "digest": digest, "received_at": received_at}
    connection.execute(insert(webhook_deliveries).values(row))
    return True


def forget_deliveries(connection: Connection, before: str) -> None:
    """Remove deliveries that were received before a time."""
    connection.execute(delete(webhook_deliveries).where(webhook_deliveries.c.received_at < before))


_WEBHOOKS = select(*columns_of(Webhook, webhooks, index="index_name"))
