"""Tokens of runs: made for the worker that holds a run, and gone when the run ends.

A worker runs beside programs that nobody trusts. What it can do for ever is little: ask for runs, and get
this token for each. The token reaches the indexes on the way of its run and one project; before that project
is known, those that the repository is registered for, or none at all. It ends with the run: ``update_run``
removes it in the transaction that ends the run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.people import users
from conveyor.catalog.runs import queue as rows
from conveyor.domain.indexes.definitions import is_any_private, resolution_order
from conveyor.domain.people.access import RUN_SCOPES, Identity, NewToken, may_work_on
from conveyor.domain.releases.promotions import way_of_run
from conveyor.domain.runs.repositories import canonical_url, is_path
from conveyor.domain.runs.states import RunToken, check_holder
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, Forbidden, NotFound
from conveyor.operations.people.tokens import digest_of, new_secret
from conveyor.operations.store.store import record_change

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.domain.runs.states import Run
    from conveyor.operations.store.store import Store

LIFETIME = timedelta(days=8)
"""Longer than any run may take; the worker of a run whose end was never reported loses its rights by then."""


def issue_run_token(store: Store, identity: Identity, run_id: int) -> RunToken:
    """Make a token for the worker that holds a run; each process that carries the run asks for its own.

    Raises:
        Unauthorized, Forbidden: the caller is not the worker that holds the run, or its own token is narrowed
            to other projects.
        NotFound: there is no such run.
        Conflict: the run has ended, or is not claimed, or its way does not exist any more.
    """
    may_work_on(identity, None)
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        run = rows.find_run(connection, run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        check_holder(run, identity.worker)
        if run.has_ended:
            raise Conflict(f"run {run_id} has {run.state} already, so there is no token for it")
        registered = rows.projects_of(connection, canonical_url(run.repository))
        projects = {run.project} if run.project is not None else set(registered)
        if identity.projects is not None:  # the worker's own token is narrowed
            projects = projects & identity.projects if projects else set(identity.projects)
            if not projects:
                raise Forbidden(
                    f"run {run_id} is of other projects than the token of {identity.name}",
                    hint="use a worker whose token is not narrowed to other projects",
                )
        secret, until = new_secret(), utc_text(store.clock() + LIFETIME)
        asked = NewToken(
            identity.name,
            scopes=tuple(sorted(RUN_SCOPES)),
            indexes=tuple(sorted(_indexes_of(connection, identity, run))),
            projects=tuple(sorted(projects)),
            expires_at=until,
            description=f"run {run_id}",
        )
        token_id = users.insert_token(
            connection, asked, secret_sha256=digest_of(secret), created_at=change.at, run_id=run_id
        )
        change.event("create-token", detail={"token": token_id, "user": identity.name, "run": run_id})
        known = [one for one in rows.all_repositories(connection) if one.project in projects]
        is_private = is_any_private(run.index, all_indexes(connection))
    folders = is_path(run.repository) and not registered
    public_url = store.public_url.rstrip("/") if store.public_url else None
    return RunToken(
        secret, until, tuple(known), folders=folders, store_url=public_url, index=run.index,
        is_private=is_private, tests_since=run.tests_since,
    )  # fmt: skip


def _indexes_of(connection: Connection, identity: Identity, run: Run) -> set[str]:
    """The indexes on the way of a run, and the private ones that it reads through their bases."""
    indexes = all_indexes(connection)
    seen = resolution_order(run.index, indexes)
    found = {*way_of_run(identity, run.index, indexes), *(one for one in seen if indexes[one].is_private)}
    return found if identity.indexes is None else found & identity.indexes
