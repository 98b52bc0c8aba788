"""What a worker makes of the way that the store gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.client.store import StoreClient
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.people.access import RUN_SCOPES, Identity
from conveyor.errors import Conflict, NotFound
from conveyor.operations.indexes.definitions import create_index
from conveyor.pipeline.carrying.runs import find_way, next_index
from conveyor.pipeline.engine.worker import Keeper
from conveyor.pipeline.jobs.packaging import look_up
from conveyor.pipeline.jobs.sources import Source
from conveyor.server.api.direct import DirectConnection
from makers import make_store
from releases_made import (
    ADMIN,
    COMMIT,
    TEAM_CHAIN,
    hand_in,
    make_release,
    make_team_chain,
    make_worker,
    predicate_of_tests,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.client.credentials import WorkerCredentials
    from conveyor.operations.store.store import Store

WHOLE = ("unstable", "testing", "stable")


def worker_of(store: Store) -> Keeper:
    """A worker that asks the store without a network, with the rights that it has in a run."""
    identity = Identity("worker-1", RUN_SCOPES, worker="worker-1")
    client = StoreClient(DirectConnection(store, identity, name="here"))
    return Keeper(client, make_worker(store), "http://here")


def signing(worker: Keeper) -> WorkerCredentials:
    assert worker.credentials is not None
    return worker.credentials


def test_way_is_the_one_that_the_store_gives(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = worker_of(store)
    assert find_way(worker, None).value == WHOLE
    make_team_chain(store)
    assert find_way(worker, "risk/unstable").value == TEAM_CHAIN
    with pytest.raises(Conflict, match="releases enter at several indexes"):
        find_way(worker, None)
    with pytest.raises(NotFound):
        find_way(worker, "nowhere")


def test_release_that_is_known_on_another_way_is_not_built_again(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_team_chain(store)
    worker = worker_of(store)
    make_release(store, signing(worker), version="1.0.0rc1")
    source = Source("file:///demo.git", COMMIT, "v1.0.0rc1", planned="1.0.0rc1")
    assert look_up(worker, "demo", source, WHOLE).value == "1.0.0rc1"
    with pytest.raises(Conflict, match='is in "unstable" already, which is not on the way risk/unstable'):
        look_up(worker, "demo", source, TEAM_CHAIN)


def test_next_index_is_the_one_that_follows(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = worker_of(store)
    _, wheel = make_release(store, signing(worker))
    assert next_index(worker, "demo", "1.0") == "testing"
    hand_in(store, signing(worker), "tests", wheel, predicate_of_tests(index="testing"))
    assert next_index(worker, "demo", "1.0") == "stable"


def test_end_of_the_way_has_no_next_index(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("alone", mode="uploads"))
    worker = worker_of(store)
    make_release(store, signing(worker), index="alone")
    with pytest.raises(Conflict, match='no index follows "alone"'):
        next_index(worker, "demo", "1.0")
