"""Nodes of a catalogue on PostgreSQL: who knows of what, and who is waited for.

What befalls their processes is in ``tests/server/test_visibility.py``.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select, text

from conveyor.catalog.database.nodes import _RENEW, NodeMemory
from conveyor.catalog.database.tables import nodes
from conveyor.operations.care.backups import back_up
from conveyor.operations.care.opening import close_store, open_store
from conveyor.operations.care.restores import restore_store
from conveyor.operations.store.store import record_change
from distributions_made import make_wheel
from makers import make_settings, make_store
from readers import upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from postgres_server import PostgresServer

WAIT_SECONDS = 30


@pytest.fixture
def writer(tmp_path: Path, postgres: PostgresServer) -> Store:
    """A store that belongs to no server, such as that of a command."""
    return make_store(tmp_path / "store", database_url=postgres.new_database())


@contextmanager
def serving(writer: Store) -> Iterator[Store]:
    """The same store as a server's process opens it; it answers from memory."""
    url = writer.catalog.url.render_as_string(hide_password=False)
    store = open_store(make_settings(writer.data, database_url=url), NodeMemory())
    try:
        wait_for_lease(store)
        yield store
    finally:
        close_store(store)


def wait_for_lease(store: Store) -> int:
    deadline = time.monotonic() + WAIT_SECONDS
    while (known := store.newest.peek()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return known


def change(store: Store) -> int:
    with record_change(store, actor="test") as changing:
        return changing.event("upload", index="unstable", project="demo")


def rows_of(store: Store) -> dict[str, int]:
    """Id → renewal."""
    with store.catalog.connect() as connection:
        return {row.id: row.renewal for row in connection.execute(select(nodes))}


def add_row(store: Store, node: str) -> None:
    """What a node leaves behind that was killed before it heard of anything."""
    with store.catalog.begin() as connection:
        connection.execute(insert(nodes).values(id=node, renewal=7, acknowledged=0))


def end_connections(store: Store, name: str) -> None:
    """End every other connection to the database whose application's name begins like this."""
    with store.catalog.connect() as connection:
        connection.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
                " and datname = current_database() and starts_with(application_name, :name)"
            ),
            {"name": name},
        )


def test_store_without_a_server_asks_the_database(writer: Store) -> None:
    assert (writer.newest.peek(), writer.newest.read()) == (None, 1)


def test_serial_is_read_again_after_the_database_closed_its_connections(writer: Store) -> None:
    assert writer.newest.read() == 1
    end_connections(writer, "conveyor")
    assert writer.newest.read() == 1
    assert change(writer) == writer.newest.read() == 2


def test_node_knows_of_every_change_when_its_writer_goes_on(writer: Store) -> None:
    with serving(writer) as one, serving(writer) as other:
        for number in range(60):
            serial = change((writer, one, other)[number % 3])
            for store in (one, other):
                assert store.newest.peek() in (serial, None)  # none: this machine was too busy to renew
                assert store.newest.read() == serial


def test_node_that_is_gone_is_waited_for_once(writer: Store) -> None:
    add_row(writer, "gone")
    with serving(writer) as store:
        assert change(store) == store.newest.read()
        assert "gone" not in rows_of(writer)
        assert len(rows_of(writer)) == 1


def test_repeated_upload_waits_as_the_first_one_did(writer: Store) -> None:
    """The server may have died between commit and answer; another one says "already here" to the client."""
    made = make_wheel()
    upload(writer, made)
    add_row(writer, "late")
    upload(writer, made)
    assert rows_of(writer) == {}


def test_node_without_a_row_begins_anew(writer: Store) -> None:
    """Somebody took it for dead: it was stopped for longer than its lease."""
    with serving(writer) as store:
        with writer.catalog.begin() as connection:
            connection.execute(nodes.delete())
        deadline = time.monotonic() + WAIT_SECONDS
        while not rows_of(writer):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        wait_for_lease(store)
        assert change(writer) == store.newest.read()


def test_lost_connections_cost_a_node_nothing_that_it_must_know(writer: Store) -> None:
    with serving(writer) as store:
        for name in ("conveyor-node", "conveyor"):
            end_connections(writer, name)
            assert change(writer) == store.newest.read()
            wait_for_lease(store)
            assert change(store) == store.newest.read()


def test_node_that_ends_leaves_nobody_to_wait_for(writer: Store) -> None:
    with serving(writer):
        assert len(rows_of(writer)) == 1
    assert rows_of(writer) == {}


def test_restored_store_has_no_nodes(tmp_path: Path, postgres: PostgresServer, writer: Store) -> None:
    with serving(writer):
        back_up(writer, tmp_path / "backup", threads=1)
    settings = make_settings(tmp_path / "again", database_url=postgres.new_database())
    restore_store(tmp_path / "backup", settings, threads=1)
    again = make_store(tmp_path / "again", database_url=settings.database_url)
    assert rows_of(again) == {}
    assert change(again) == again.newest.read()


def test_renewal_that_comes_in_late_does_not_look_like_the_newest(writer: Store) -> None:
    add_row(writer, "node")
    with writer.catalog.begin() as connection:
        _RENEW.run(connection, {"node": "node", "number": 9, "known": 1})
        _RENEW.run(connection, {"node": "node", "number": 8, "known": 1})
    assert rows_of(writer) == {"node": 9}


def test_memory_of_a_node_never_goes_back() -> None:
    memory = NodeMemory()
    assert memory.peek() is None
    for serial in (5, 3, 9, 9, 1):
        memory.raise_to(serial)
    memory.lease(float("inf"))
    assert memory.peek() == 9
