"""Makers: small functions that build the world a test needs, real in every part."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg.sql import SQL, Identifier

from conveyor.catalog.database.connection import has_catalog
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.opening import close_store, open_store
from conveyor.settings import UpstreamSettings, store_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.operations.store.store import Store
    from conveyor.settings import StoreSettings

R = TypeVar("R")
ADMIN_PASSWORD = "correct horse battery staple"
NO_UPSTREAM = UpstreamSettings("http://127.0.0.1:9/simple/", timeout_seconds=1.0)
"""Nothing answers there: a test that reaches upstream by accident fails at once."""


def make_settings(
    folder: Path, *, database_url: str | None = None, upstream: UpstreamSettings = NO_UPSTREAM
) -> StoreSettings:
    """Settings of a store at ``folder``, independent of the environment that the tests run in."""
    environment = {"CONVEYOR_ADMIN_PASSWORD": ADMIN_PASSWORD}
    if database_url:
        environment["CONVEYOR_DATABASE_URL"] = database_url
    settings = store_settings(folder, environment=environment)
    return replace(settings, upstream=upstream)


def by_processes(count: int, settings: StoreSettings, store: Store, action: Callable[[Store], R]) -> list[R]:
    """What each of several others gives that have the same store open, with its clock, and act at once."""
    others = [replace(open_store(settings), clock=store.clock) for _ in range(count)]
    together = threading.Barrier(count)

    def act(other: Store) -> R:
        together.wait()
        return action(other)

    with ThreadPoolExecutor(count) as threads:
        given = list(threads.map(act, others))
    for other in others:
        close_store(other)
    return given


def copy_prepared_store(folder: Path, *, upstream: UpstreamSettings = NO_UPSTREAM) -> None:
    """Make ``folder`` a store as the first start of a server leaves one, on SQLite."""
    shutil.copytree(_prepared(upstream), folder, dirs_exist_ok=True)
    own_id = str(uuid.uuid4())  # no two stores have one
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("pragma synchronous=off")
        (copied_id,) = catalog.execute("select value from facts where key = 'store-id'").fetchone()
        catalog.execute("update facts set value = ? where key = 'store-id'", (own_id,))
        catalog.execute("update events set detail = replace(detail, ?, ?)", (copied_id, own_id))


@cache
def _prepared(upstream: UpstreamSettings) -> Path:
    """A new store that is only ever copied: hashing the first password takes longer than all the rest."""
    folder = Path(tempfile.mkdtemp(prefix="prepared-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    initialise_store(make_settings(folder / "data", upstream=upstream))
    return folder / "data"


def _copy_prepared_database(folder: Path, database_url: str, *, upstream: UpstreamSettings) -> None:
    """As ``copy_prepared_store``, of a catalogue in the same PostgreSQL; the empty database makes way."""
    server, _, name = database_url.rpartition("/")
    prepared, data = _prepared_database(server, upstream)
    shutil.copytree(data, folder, dirs_exist_ok=True)
    own_id = str(uuid.uuid4())
    with psycopg.connect(_libpq(f"{server}/postgres"), autocommit=True) as connection:
        connection.execute(SQL("drop database {}").format(Identifier(name)))
        copying = SQL("create database {} template {}")
        connection.execute(copying.format(Identifier(name), Identifier(prepared)))
    with psycopg.connect(_libpq(database_url)) as connection:
        found = connection.execute("select value from facts where key = 'store-id'").fetchone()
        assert found is not None
        connection.execute("update facts set value = %s where key = 'store-id'", (own_id,))
        connection.execute("update events set detail = replace(detail, %s, %s)", (found[0], own_id))


@cache
def _prepared_database(server: str, upstream: UpstreamSettings) -> tuple[str, Path]:
    """The name of a database in this PostgreSQL that is only ever copied, and its store's folder."""
    name = f"prepared_{uuid.uuid4().hex}"
    with psycopg.connect(_libpq(f"{server}/postgres"), autocommit=True) as connection:
        connection.execute(SQL("create database {}").format(Identifier(name)))
    folder = Path(tempfile.mkdtemp(prefix="prepared-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    initialise_store(make_settings(folder / "data", database_url=f"{server}/{name}", upstream=upstream))
    return name, folder / "data"


def _libpq(database_url: str) -> str:
    return database_url.replace("postgresql+psycopg", "postgresql", 1)


_opened: list[Store] = []


def make_store(
    folder: Path, *, database_url: str | None = None, upstream: UpstreamSettings = NO_UPSTREAM
) -> Store:
    """A real store with the default indexes and the user ``admin``, new or the one that is there.

    It is closed after the test.
    """
    settings = make_settings(folder, database_url=database_url, upstream=upstream)
    if not (folder.exists() and any(folder.iterdir())):
        if database_url is None:
            copy_prepared_store(folder, upstream=upstream)
        elif database_url.startswith("postgresql") and not has_catalog(database_url):
            _copy_prepared_database(folder, database_url, upstream=upstream)
    initialise_store(settings)
    store = open_store(settings)
    _opened.append(store)
    return store


def close_stores() -> None:
    """Close every store made since the last call; ``conftest.py`` calls it after each test."""
    while _opened:
        close_store(_opened.pop())
