"""Pipeline runs: ask for one, claim one, report on it.

A run is a row, and people look it up in the store: which worker has it, which step it is in, how it ended.
Carrying it through, and resuming it after being killed, is up to the worker. Reports may come twice:
repeating a known fact changes nothing, not even a time.

Asking for a run, claiming it, its project, which its tokens reach, and its end are events of the audit log;
other facts found out on the way and the steps are progress, shown but not logged.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from conveyor.catalog.database.schema import lock_facts, read_fact, write_fact
from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.people.signers import find_worker
from conveyor.catalog.people.users import delete_tokens_of_run, narrow_tokens_of_run
from conveyor.catalog.releases.distributions import releases_of_project
from conveyor.catalog.runs import queue as rows
from conveyor.domain.indexes.policy import readable_indexes
from conveyor.domain.people.access import Identity, may_administer, may_work_on, must_be_known, must_have
from conveyor.domain.releases.promotions import entry_of, way_of_run
from conveyor.domain.releases.tags import could_be_release
from conveyor.domain.runs.repositories import (
    canonical_url,
    command_to_register,
    is_path,
    may_see_run,
    may_start_run,
)
from conveyor.domain.runs.states import (
    MOST_OUTPUT,
    NewRun,
    OutputBatch,
    OutputReport,
    OutputTaken,
    Run,
    RunSettings,
    RunState,
    Step,
    StepState,
    check_can_retry,
    check_holder,
    check_request,
    check_run_move,
    check_step_move,
    is_same_event,
    priority_of,
)
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, Forbidden, NotFound
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlalchemy import Connection

    from conveyor.catalog.database.events import Change
    from conveyor.operations.store.store import Store

MAX_RUNS_LISTED = 200
AT_A_TIME, KEPT_DAYS = "runs_at_a_time", "runs_kept_days"
OUTPUT_DAYS = 30
"""For how long output is kept, of runs that are kept longer."""
MOST_BATCHES = 20
"""Batches of output in one answer."""
MOST_DROPPED = 100
"""Old runs that the end of one run removes: a shorter time to keep must not make one request long."""


def create_run(store: Store, identity: Identity, asked: NewRun) -> Run:
    """Ask for a commit or tag to be carried through; a worker claims the run later.

    Without an index, its release enters the only one that runs of this caller can enter. If a run of the same
    waits already, it is returned: a push that is told twice is carried once.

    Raises:
        Unauthorized, Forbidden: the caller may not start runs, or no administrator has registered the
            repository for the project (``may_start_run``), or the run is to be claimed and the caller is
            not a worker.
        InvalidInput: the repository or the ref is not allowed.
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound, Conflict: no run can enter there (``way_of_run``).
    """
    may_work_on(identity, None)
    if asked.claim and identity.worker is None:
        raise Forbidden(f"{identity.name} is not a worker, so it cannot claim the run that it asks for")
    with record_change(store, actor=identity.name) as change:
        run = run_in(change, identity, asked)
        if asked.claim and identity.worker is not None:
            _claim(change, identity.worker, run_id=run.id)
        return _get(change.connection, run.id)


def run_in(change: Change, identity: Identity, asked: NewRun, *, reason: str | None = None) -> Run:
    """The run that is asked for, new or waiting already; ``reason``: why the store asks by itself.

    Raises as ``create_run``, and has then written nothing.
    """
    check_request(asked.repository, asked.ref)
    project = None if asked.project is None else project_name(asked.project)
    version = None if asked.version is None else canonical_version(asked.version)
    indexes = all_indexes(change.connection)
    entry = asked.index
    if asked.version is not None and entry is not None:  # the release may be on its way already
        entry = entry_of(entry, identity, indexes) or entry
    entry = way_of_run(identity, entry, indexes)[0]
    registered = rows.projects_of(change.connection, canonical_url(asked.repository))
    may_start_run(identity, asked.repository, registered, index=entry, project=project)
    wanted = replace(asked, index=entry, project=project, version=version)
    if identity.worker is None:
        for run in rows.open_runs_like(change.connection, wanted):
            if is_same_event(run, wanted, index=entry):
                return run
    return _insert(change, wanted, requested_by=identity.name, reason=reason)


def _insert(
    change: Change, run: NewRun, *, requested_by: str, retry_of: int | None = None, reason: str | None = None
) -> Run:
    run_id = rows.insert_run(
        change.connection, run, requested_by=requested_by, requested_at=change.at,
        priority=priority_of(run.ref, could_be_release=could_be_release(run.ref)),
        retry_of=retry_of, reason=reason, tests_since=change.at if run.tests_again else None,
    )  # fmt: skip
    detail: dict[str, Any] = {"run": run_id, "repository": run.repository, "ref": run.ref}
    more = {"project": run.project, "retry_of": retry_of, "reason": reason}
    detail |= {key: value for key, value in more.items() if value is not None}
    change.event("request-run", index=run.index, detail=detail)
    return _get(change.connection, run_id)


def cancel_run(store: Store, identity: Identity, run_id: int, reason: str | None = None) -> Run:
    """End a run that waits or is under way; the worker that carries it ends its children.

    Cancelling what is cancelled changes nothing.

    Raises:
        Unauthorized, Forbidden: the caller may not start runs of this repository, and is no administrator.
        NotFound: there is no such run, or the caller may not see it.
        Conflict: it has ended.
    """
    with _ordered(store, identity, run_id) as (change, run):
        if not identity.is_whole_admin:
            _must_reach(change.connection, identity, run)
        if check_run_move(run.state, "cancelled"):
            detail = f"cancelled by {identity.name}" + (f": {reason}" if reason else "")
            changes = {"state": "cancelled", "finished_at": change.at, "detail": detail, "reason": reason}
            rows.update_run(change.connection, run_id, changes)
            delete_tokens_of_run(change.connection, run_id)
            change.event("end-run", detail={"run": run_id, "state": "cancelled", "reason": reason})
        return _get(change.connection, run_id)


def retry_run(store: Store, identity: Identity, run_id: int, reason: str | None = None) -> Run:
    """Ask for what a run that has ended was to do once more; returns the new run.

    Raises:
        Unauthorized, Forbidden: the caller may not start runs of this repository.
        NotFound: there is no such run, or the caller may not see it.
        Conflict: it has not ended.
    """
    with _ordered(store, identity, run_id) as (change, run):
        check_can_retry(run)
        _must_reach(change.connection, identity, run)
        wanted = NewRun(
            run.repository, run.ref, run.index, run.project, tests_again=run.tests_since is not None
        )
        return _insert(change, wanted, requested_by=identity.name, retry_of=run_id, reason=reason)


@contextmanager
def _ordered(store: Store, identity: Identity, run_id: int) -> Iterator[tuple[Change, Run]]:
    """A change to a run that the caller may see."""
    must_have(identity, "run")
    with record_change(store, actor=identity.name) as change:
        run = _get(change.connection, run_id)
        if not _Watcher(change.connection, identity).may_see(run):
            raise _no_run(run_id)
        yield change, run


def _must_reach(connection: Connection, identity: Identity, run: Run) -> None:
    """Allow those who asked for a run, and those who might have, what they ask of it."""
    if run.requested_by != identity.name:
        registered = rows.projects_of(connection, canonical_url(run.repository))
        may_start_run(identity, run.repository, registered, index=run.index, project=run.project)


def claim_run(store: Store, identity: Identity, worker: str, *, run_id: int | None = None) -> Run | None:
    """Give the first requested run to a registered worker; returns ``None`` if none waits or has room.

    Tags come before branches, and older requests before younger ones.

    With ``run_id`` only that run is given: a worker that asked for a run itself takes no other. A token that
    is narrowed to indexes gets only runs that enter one of them.

    Two workers that ask at once never get the same run: the row changes hands in one statement.

    Raises:
        Unauthorized, Forbidden: the caller is not that worker, or the worker was revoked.
    """
    _must_be(identity, worker)
    with read(store) as connection:  # workers poll: when none is theirs, it must not cost a write transaction
        if run_id is None and not _has_room(connection):
            return None
        if not rows.has_claimable_run(connection, worker=worker, indexes=identity.indexes, run_id=run_id):
            return None
    with record_change(store, actor=identity.name) as change:
        if run_id is None and not _has_room(change.connection, is_locked=True):
            return None
        claimed = _claim(change, worker, indexes=identity.indexes, run_id=run_id)
        return None if claimed is None else _get(change.connection, claimed)


def _claim(
    change: Change, worker: str, *, indexes: Collection[str] | None = None, run_id: int | None = None
) -> int | None:
    """Give the worker the first run that waits for it, or this one; its id, ``None`` if none waits."""
    _must_be_trusted(change.connection, worker)
    claimed = rows.claim_first_run(
        change.connection, worker=worker, claimed_at=change.at, indexes=indexes, run_id=run_id
    )
    if claimed is not None:
        change.event("claim-run", detail={"run": claimed, "worker": worker})
    return claimed


def take_over_run(store: Store, identity: Identity, worker: str, run_id: int, *, held_by: str) -> Run | None:
    """Give a run that goes on to another worker; returns ``None`` if ``held_by`` does not hold it any more.

    Workers that share an engine see that one of them has ended (``pipeline.engine.liveness``); the store sees
    only that a registered worker says so. The former holder's reports are refused from then on, and its
    tokens of this run are gone.

    Raises:
        Unauthorized, Forbidden: the caller is not that worker, the worker was revoked, or its token does not
            reach the index that the run enters.
        NotFound: there is no such run.
    """
    _must_be(identity, worker)
    with record_change(store, actor=identity.name) as change:
        _must_be_trusted(change.connection, worker)
        run = _get(change.connection, run_id)
        if identity.indexes is not None and run.index not in identity.indexes:
            raise Forbidden(f'{worker} may not take over runs that enter "{run.index}"')
        if run.state != "running" or run.worker != held_by:
            return None
        rows.update_run(change.connection, run_id, {"worker": worker, "claimed_at": change.at})
        delete_tokens_of_run(change.connection, run_id)
        change.event("take-over-run", detail={"run": run_id, "worker": worker, "from": held_by})
        return _get(change.connection, run_id)


def _must_be(identity: Identity, worker: str) -> None:
    may_work_on(identity, None)
    if identity.worker != worker:
        raise Forbidden(
            f"{identity.name} is not the worker {worker}",
            hint="claim with the token in the credentials file of that worker",
        )


def _must_be_trusted(connection: Connection, worker: str) -> None:
    registered = find_worker(connection, worker)
    if registered is None or registered.revoked_at is not None:
        raise Forbidden(f"the worker {worker} was revoked")


def get_run_settings(store: Store, identity: Identity) -> RunSettings:
    """The settings of today; raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return _settings(connection)


def set_run_settings(store: Store, identity: Identity, settings: RunSettings) -> RunSettings:
    """Change both settings; runs that are under way go on. Raises Unauthorized, Forbidden."""
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        lock_facts(change.connection)
        for key, value in ((AT_A_TIME, settings.at_a_time), (KEPT_DAYS, settings.kept_days)):
            write_fact(change.connection, key, "" if value is None else str(value))
        detail = {"at_a_time": settings.at_a_time, "kept_days": settings.kept_days}
        change.event("set-run-settings", detail=detail)
    return settings


def _has_room(connection: Connection, *, is_locked: bool = False) -> bool:
    """Whether one more run may begin. ``is_locked``: no other transaction may begin one meanwhile."""
    most = _number(connection, AT_A_TIME)
    if most is None:
        return True
    if is_locked:
        lock_facts(connection)
    return rows.count_running(connection) < most


def _drop_old_runs(store: Store, change: Change) -> None:
    """Remove runs that ended longer ago than they are kept, and old output; of at most ``MOST_DROPPED``."""
    output = utc_text(store.clock() - timedelta(days=OUTPUT_DAYS))
    rows.delete_output_received_before(change.connection, output, most=MOST_DROPPED)
    days = _number(change.connection, KEPT_DAYS)
    if days is not None:
        before = utc_text(store.clock() - timedelta(days=days))
        rows.delete_runs_ended_before(change.connection, before, most=MOST_DROPPED)


def _settings(connection: Connection) -> RunSettings:
    return RunSettings(_number(connection, AT_A_TIME), _number(connection, KEPT_DAYS))


def _number(connection: Connection, key: str) -> int | None:
    value = read_fact(connection, key)
    return int(value) if value else None


def get_run(store: Store, identity: Identity, run_id: int) -> Run:
    """One run with its steps in order.

    Raises:
        Unauthorized, Forbidden: the caller is anonymous, or may neither read nor start runs.
        NotFound: there is no such run, or the caller may not see it.
    """
    _must_be_known(identity, "see a pipeline run")
    with read(store) as connection:
        run = _get(connection, run_id)
        if not _Watcher(connection, identity).may_see(run):
            raise _no_run(run_id)
    return run


def list_runs(store: Store, identity: Identity, *, limit: int = 50) -> list[Run]:
    """The newest runs that the caller may see, newest first, at most ``MAX_RUNS_LISTED``.

    Raises:
        Unauthorized, Forbidden: the caller is anonymous, or may neither read nor start runs.
    """
    _must_be_known(identity, "see pipeline runs")
    wanted = min(limit, MAX_RUNS_LISTED)
    seen: list[Run] = []
    with read(store) as connection:
        watcher = _Watcher(connection, identity)
        before: int | None = None
        while len(seen) < wanted:
            batch = rows.newest_runs(connection, limit=MAX_RUNS_LISTED, before=before)
            seen += [run for run in batch if watcher.may_see(run)]
            if len(batch) < MAX_RUNS_LISTED:
                break
            before = batch[-1].id
    return seen[:wanted]


def _must_be_known(identity: Identity, action: str) -> None:
    if not identity.has_scope("run"):
        must_be_known(identity, action)


class _Watcher:
    """A caller who looks at runs, with the projects that they may read."""

    def __init__(self, connection: Connection, identity: Identity) -> None:
        self._connection = connection
        self._identity = identity
        self._indexes = all_indexes(connection)
        self._readable: dict[str | None, bool] = {}

    def may_see(self, run: Run) -> bool:
        """Whether they may see the run."""
        projects = {run.project} if run.project is not None else self._registered(run)
        return may_see_run(self._identity, run, projects=projects, reads=partial(self._reads, run.index))

    def _registered(self, run: Run) -> Collection[str]:
        return rows.projects_of(self._connection, canonical_url(run.repository))

    def _reads(self, entered: str, project: str | None) -> bool:
        """Whether they may read the project in the index that it enters, and some release of it.

        If they may read it in every index, it need not have a release yet.
        """
        seen = readable_indexes(self._indexes, self._identity, project=project)
        if entered not in seen:
            return False
        if len(seen) == len(self._indexes):
            return project is not None or self._identity.projects is None
        if project not in self._readable:
            places = releases_of_project(self._connection, project or "")
            self._readable[project] = any(index in seen for _, index, _ in places)
        return self._readable[project]


def update_run(
    store: Store,
    identity: Identity,
    run_id: int,
    *,
    state: RunState | None = None,
    commit: str | None = None,
    project: str | None = None,
    version: str | None = None,
    detail: str | None = None,
) -> Run:
    """Write facts that the worker holding a run has found out; ``None`` leaves a fact as it is.

    Raises:
        Unauthorized, Forbidden: the caller is not the worker that holds the run, or the repository is not
            registered for that project.
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound: there is no such run.
        Conflict: the run is not in a state from which it may move to the new one, has ended, or is of
            another project: a run touches one.
    """
    may_work_on(identity, run_id)
    wanted: dict[str, str | None] = {
        "commit_id": commit,
        "project": None if project is None else project_name(project),
        "version": None if version is None else canonical_version(version),
        "detail": detail,
    }
    with record_change(store, actor=identity.name) as change:
        run = _get(change.connection, run_id)
        check_holder(run, identity.worker)
        _may_release(change.connection, identity, run, wanted["project"])
        known = {
            "commit_id": run.commit, "project": run.project, "version": run.version, "detail": run.detail,
        }  # fmt: skip
        changes = {key: value for key, value in wanted.items() if value not in (None, known[key])}
        if state is not None and check_run_move(run.state, state):
            changes["state"] = state
            changes["finished_at"] = change.at
        elif changes and run.has_ended:
            raise Conflict(f"run {run_id} has {run.state} already, nothing more is written to it")
        if changes:
            rows.update_run(change.connection, run_id, changes)
        if changes.get("project"):
            narrow_tokens_of_run(change.connection, run_id, changes["project"])
            # Not an event of the project: what is remembered of tokens is read again after any other.
            change.event("bind-run", detail={"run": run_id, "project": changes["project"]})
        if "state" in changes:
            delete_tokens_of_run(change.connection, run_id)
            change.event("end-run", detail={"run": run_id, "state": changes["state"]})
            _drop_old_runs(store, change)
        return _get(change.connection, run_id)


def report_step(
    store: Store,
    identity: Identity,
    run_id: int,
    name: str,
    *,
    state: StepState,
    detail: Mapping[str, Any] | None = None,
) -> Run:
    """Write the state of one step of a run; ``None`` as ``detail`` leaves the detail as it is.

    A step that begins again, because a killed worker's run was resumed, loses its end and begins now.

    Raises:
        Unauthorized, Forbidden: the caller is not the worker that holds the run.
        NotFound: there is no such run.
        Conflict: the run has ended, or the step may not move to that state.
    """
    may_work_on(identity, run_id)
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        run = _get(connection, run_id)
        check_holder(run, identity.worker)
        before = next((step for step in run.steps if step.name == name), None)
        is_move = check_step_move(before.state if before else None, state)
        is_news = before is not None and detail not in (None, before.detail)
        if not is_move and not is_news:
            return run
        if run.has_ended:
            raise Conflict(f"run {run_id} has {run.state} already, its steps cannot change")
        has_ended = state != "running"
        if before is None:
            step = Step(name, state, change.at, change.at if has_ended else None, detail or {})
            rows.insert_step(connection, run_id, step)
        else:
            begins = is_move and state == "running"
            ended_at = change.at if is_move else before.finished_at
            step = Step(
                name, state,
                started_at=change.at if begins else before.started_at,
                finished_at=ended_at if has_ended else None,
                detail=before.detail if detail is None else detail,
            )  # fmt: skip
            rows.update_step(connection, run_id, step)
        return _get(connection, run_id)


def add_output(store: Store, identity: Identity, run_id: int, report: OutputReport) -> OutputTaken:
    """Keep what the programs of a run have written, up to ``MOST_OUTPUT`` of a run.

    A batch that comes after the one that its worker sent before, which is not the newest, was sent twice: it
    is here already.

    Raises:
        Unauthorized, Forbidden: the caller is not the worker that holds the run.
        NotFound: there is no such run.
        Conflict: the run has ended.
    """
    may_work_on(identity, run_id)
    with record_change(store, actor=identity.name) as change:
        run = _get(change.connection, run_id)
        check_holder(run, identity.worker)
        if run.has_ended:
            raise Conflict(f"run {run_id} has {run.state} already, it writes no more")
        newest, kept = rows.state_of_output(change.connection, run_id)
        is_new = report.after is None or report.after >= newest
        if is_new and report.parts and kept < MOST_OUTPUT:
            newest, kept = newest + 1, kept + report.characters
            batch = OutputBatch(newest, change.at, report.parts)
            rows.insert_output(change.connection, run_id, batch, characters=report.characters)
        return OutputTaken(newest, kept >= MOST_OUTPUT)


def get_output(store: Store, identity: Identity, run_id: int, *, after: int = 0) -> list[OutputBatch]:
    """The next batches of a run's output, at most ``MOST_BATCHES``; raises as ``get_run``."""
    _must_be_known(identity, "see a pipeline run")
    with read(store) as connection:
        if not _Watcher(connection, identity).may_see(_get(connection, run_id)):
            raise _no_run(run_id)
        return rows.output_of_run(connection, run_id, after=after, most=MOST_BATCHES)


def _may_release(connection: Connection, identity: Identity, run: Run, project: str | None) -> None:
    """Refuse a second project, and one that the repository is not registered for.

    A folder that the worker itself named needs no registration, unless it has one for other projects, or the
    project has a repository: then the folder's own files must not be what says which project it is.
    """
    if project is None or project == run.project:
        return
    if run.project is not None:
        raise Conflict(
            f"run {run.id} is of {run.project}, and touches no other project",
            hint=f"start another: conveyor pipeline trigger --store URL --ref {run.ref} --project {project}",
        )
    registered = rows.projects_of(connection, canonical_url(run.repository))
    is_vouched = is_path(run.repository) and find_worker(connection, run.requested_by) is not None
    is_free = is_vouched and not registered and not identity.projects
    if project not in (identity.projects or registered) and not is_free:
        raise Forbidden(
            f"run {run.id} is of a repository that is not registered for {project}",
            hint=f"ask an administrator: {command_to_register(run.repository, project)}",
        )
    if not registered and rows.has_repository(connection, project):
        raise Forbidden(
            f"run {run.id} is of a folder that is not registered for {project}, which has a repository",
            hint=f"start another that names it, with --project {project}; or ask an administrator: "
            f"{command_to_register(run.repository, project)}",
        )


def _get(connection: Connection, run_id: int) -> Run:
    run = rows.find_run(connection, run_id)
    if run is None:
        raise _no_run(run_id)
    return run


def _no_run(run_id: int) -> NotFound:
    return NotFound(f"there is no run {run_id}")
