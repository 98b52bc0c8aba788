"""The newest serial, asked of PostgreSQL over a connection that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from conveyor.operations.store.store import record_change
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import PostgresServer


def test_serial_is_read_again_after_the_database_closed_its_connections(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    store = make_store(tmp_path, database_url=postgres.new_database())
    assert (store.newest.peek(), store.newest.read()) == (None, 1)
    with store.catalog.connect() as connection:
        connection.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        )
    assert store.newest.read() == 1
    with record_change(store, actor="test") as change:
        change.event("upload", index="unstable", project="demo")
    assert store.newest.read() == 2
