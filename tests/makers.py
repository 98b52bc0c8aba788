"""Makers: small functions that build the world a test needs, real in every part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.opening import close_store, open_store
from conveyor.settings import Upstream, store_settings

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from conveyor.settings import StoreSettings

ADMIN_PASSWORD = "correct horse battery staple"
NO_UPSTREAM = Upstream("http://127.0.0.1:9/simple/", timeout_seconds=1.0)
"""Nothing answers there: a test that reaches upstream by accident fails at once."""


def make_settings(
    folder: Path, *, database_url: str | None = None, upstream: Upstream = NO_UPSTREAM
) -> StoreSettings:
    """Settings of a store at ``folder``, independent of the environment that the tests run in."""
    environment = {"CONVEYOR_ADMIN_PASSWORD": ADMIN_PASSWORD}
    if database_url:
        environment["CONVEYOR_DATABASE_URL"] = database_url
    settings = store_settings(folder, environment=environment)
    return replace(settings, upstream=upstream)


_opened: list[Store] = []


def make_store(folder: Path, *, database_url: str | None = None, upstream: Upstream = NO_UPSTREAM) -> Store:
    """A real store, initialised, with the default indexes and the user ``admin``; closed after the test."""
    settings = make_settings(folder, database_url=database_url, upstream=upstream)
    initialise_store(settings)
    store = open_store(settings)
    _opened.append(store)
    return store


def close_stores() -> None:
    """Close every store made since the last call; ``conftest.py`` calls it after each test."""
    while _opened:
        close_store(_opened.pop())
