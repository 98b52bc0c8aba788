"""How the store deals with its runs: how many are under way at a time, and for how long they are kept.

The settings are facts of the store. Who claims a run asks ``has_room``; whenever a run ends, some of those
that are too old are removed. Evidence that names a removed run stays.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from conveyor.catalog.database.schema import lock_facts, read_fact, write_fact
from conveyor.catalog.runs import queue as rows
from conveyor.domain.people.access import may_administer
from conveyor.domain.runs.states import RunSettings
from conveyor.domain.words.notation import utc_text
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.catalog.database.events import Change
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store

AT_A_TIME, KEPT_DAYS = "runs_at_a_time", "runs_kept_days"
MOST_DROPPED = 100
"""Old runs that the end of one run removes: a shorter time to keep must not make one request long."""


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


def has_room(connection: Connection, *, is_locked: bool = False) -> bool:
    """Whether one more run may begin. ``is_locked``: no other transaction may begin one meanwhile."""
    most = _number(connection, AT_A_TIME)
    if most is None:
        return True
    if is_locked:
        lock_facts(connection)
    return rows.count_running(connection) < most


def drop_old_runs(store: Store, change: Change) -> None:
    """Remove runs that ended longer ago than they are kept, at most ``MOST_DROPPED``."""
    days = _number(change.connection, KEPT_DAYS)
    if days is not None:
        before = utc_text(store.clock() - timedelta(days=days))
        rows.delete_runs_ended_before(change.connection, before, most=MOST_DROPPED)


def _settings(connection: Connection) -> RunSettings:
    return RunSettings(_number(connection, AT_A_TIME), _number(connection, KEPT_DAYS))


def _number(connection: Connection, key: str) -> int | None:
    value = read_fact(connection, key)
    return int(value) if value else None
