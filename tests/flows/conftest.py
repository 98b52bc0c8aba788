"""What several flows share: one stocked store per test process, each client tool installed once per run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from flows.clients import shared_client
from flows.stocked_stores import stocked_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flows.clients import Client
    from flows.stocked_stores import StockedStore


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockedStore]:
    """A serving store with everything in it that installers have to cope with; tests only read it."""
    with stocked_store(tmp_path_factory.mktemp("stocked")) as store:
        yield store


@pytest.fixture(scope="session")
def _clients_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all test processes of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "clients"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def client(tmp_path: Path, _clients_folder: Path) -> Callable[[str], Client]:
    """Gives a client by the name of its file in ``requirements/clients``; its home is the test's folder."""
    return lambda name: shared_client(name, shared=_clients_folder, home=tmp_path)
