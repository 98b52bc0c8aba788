"""Runs that the store requests by itself, on every database: at their time, after releases, and once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.indexes.mirror import UpstreamFile, UpstreamPage
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.words.names import project_name
from conveyor.errors import InvalidInput
from conveyor.operations.indexes.mirror import store_page
from conveyor.operations.runs.queue import cancel_run, list_runs
from conveyor.operations.runs.repositories import (
    add_repository,
    list_repositories,
    request_due_runs,
    watched_projects,
)
from conveyor.operations.store.facts import list_events
from distributions_made import make_wheel
from makers import by_processes, make_settings, make_store
from mirrors import Clock
from releases_made import ADMIN, REPOSITORY, hand_in, make_release, make_worker, predicate_of_tests, publish

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.runs.repositories import Repository
    from conveyor.operations.store.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, database_url: str, clock: Clock) -> Store:
    return replace(make_store(tmp_path / "store", database_url=database_url), clock=clock)


def register(store: Store, **more: Any) -> Repository:
    asked = NewRepository(project_name("lung"), REPOSITORY, is_local=True, branch="main", **more)
    return add_repository(store, ADMIN, asked)


def pages(*versions: str) -> UpstreamPage:
    return UpstreamPage(tuple(upstream_file(f"numpy-{one}.tar.gz") for one in versions), " ".join(versions))


def upstream_file(name: str) -> UpstreamFile:
    return UpstreamFile(
        filename=name, url=f"https://files.example/{name}", sha256=(name.encode().hex() * 9)[:64]
    )


def test_run_is_requested_at_its_time_and_again_at_the_next(store: Store, clock: Clock) -> None:
    registered = register(store, schedule="daily 03:00")
    assert request_due_runs(store) == 0
    clock.pass_by(timedelta(days=1))
    assert (request_due_runs(store), request_due_runs(store)) == (1, 0)
    (run,) = list_runs(store, ADMIN)
    assert (run.repository, run.ref, run.project, run.state) == (REPOSITORY, "main", "lung", "requested")
    assert run.reason == "its schedule: daily 03:00"
    assert run.tests_since == run.requested_at, "nightly tests are tests, whatever was tested before"
    (moved,) = list_repositories(store, ADMIN)
    assert str(moved.next_run_at) > str(registered.next_run_at)
    clock.pass_by(timedelta(days=1))
    assert request_due_runs(store) == 1
    assert len(list_runs(store, ADMIN)) == 1, "the first one still waits, and one is enough"
    cancel_run(store, ADMIN, run.id)
    clock.pass_by(timedelta(days=5))
    assert (request_due_runs(store), request_due_runs(store)) == (1, 0)
    assert len(list_runs(store, ADMIN)) == 2, "what was missed while nobody looked counts once"


def test_run_is_requested_once_by_however_many_processes(
    store: Store, clock: Clock, tmp_path: Path, database_url: str
) -> None:
    register(store, schedule="every 6h", on_release=("demo",))
    clock.pass_by(timedelta(hours=6))
    settings = make_settings(tmp_path / "store", database_url=database_url)
    requested = by_processes(4, settings, store, request_due_runs)
    assert sum(requested) == 1
    assert len(list_runs(store, ADMIN)) == 1


def test_release_that_can_be_installed_anew_requests_a_run_with_its_cause(store: Store) -> None:
    worker = make_worker(store)
    make_release(store, worker, version="0.9")
    register(store, on_release=("Demo",))
    _, candidate = make_release(store, worker, version="1.0rc1")
    _, wheel = make_release(store, worker)
    assert request_due_runs(store) == 0, "tests install what testing shows, and nothing of unstable"
    hand_in(store, worker, "tests", candidate, predicate_of_tests(version="1.0rc1", index="testing"))
    assert request_due_runs(store) == 0, "nobody installs a candidate by itself"
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="testing"))
    assert (request_due_runs(store), request_due_runs(store)) == (1, 0)
    (run,) = list_runs(store, ADMIN)
    assert run.reason == "a new release: demo 1.0 in testing"


def test_release_of_upstream_requests_a_run_when_its_page_brings_it(store: Store) -> None:
    name = project_name("numpy")
    register(store, on_release=("numpy",))
    assert watched_projects(store) == [("testing", "numpy")]
    store_page(store, "pypi", name, pages("1.0"))
    assert request_due_runs(store) == 0, "what was there at the first look is not new"
    store_page(store, "pypi", name, pages("1.0", "2.0rc1"))
    assert request_due_runs(store) == 0
    store_page(store, "pypi", name, pages("1.0", "2.0rc1", "2.0", "2.1"))
    assert (request_due_runs(store), request_due_runs(store)) == (1, 0)
    (run,) = list_runs(store, ADMIN)
    assert run.reason == "a new release: numpy 2.1 in pypi, numpy 2.0 in pypi"


def test_run_that_cannot_be_requested_is_noted_and_the_schedule_goes_on(store: Store, clock: Clock) -> None:
    register(store, schedule="hourly", index="stable")
    clock.pass_by(timedelta(hours=1))
    assert (request_due_runs(store), request_due_runs(store)) == (0, 0)
    (skipped,) = [one for one in list_events(store, ADMIN) if one.action == "skip-run"]
    assert "promotion-only" in skipped.detail["because"]
    clock.pass_by(timedelta(hours=1))
    request_due_runs(store)
    assert len([one for one in list_events(store, ADMIN) if one.action == "skip-run"]) == 2


def test_registration_names_every_fault_of_what_is_to_request_runs(store: Store) -> None:
    name = project_name("lung")
    for asked, count in (
        (NewRepository(name, REPOSITORY, is_local=True, schedule="at tea", on_release=(name,)), 3),
        (NewRepository(name, REPOSITORY, is_local=True, branch="main"), 1),
        (NewRepository(name, REPOSITORY, is_local=True, branch="-x", schedule="daily"), 1),
    ):
        with pytest.raises(InvalidInput) as refused:
            add_repository(store, ADMIN, asked)
        assert len(refused.value.faults) == count
    register(store, schedule="daily")
    register(store, on_release=("numpy",))
    (only,) = list_repositories(store, ADMIN)
    assert (only.schedule, only.next_run_at, only.on_release) == (None, None, ("numpy",))


def test_uploads_of_others_request_nothing(store: Store) -> None:
    register(store, on_release=("demo",))
    publish(store, make_wheel("other", "1.0"))
    assert request_due_runs(store) == 0
