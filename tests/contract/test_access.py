"""Users, tokens, evidence, promotions and runs behave the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from conveyor.domain.people.access import WORKER_SCOPES, Identity, NewToken
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.runs.states import NewRun
from conveyor.errors import Conflict, ConveyorError, PromotionRefused
from conveyor.operations.people.signers import (
    add_signer,
    list_signers,
    list_workers,
    revoke_signer,
    revoke_worker,
)
from conveyor.operations.people.tokens import (
    create_token,
    digest_of,
    find_token,
    list_tokens,
    note_last_uses,
    revoke_token,
)
from conveyor.operations.people.users import add_user, disable_user, find_account
from conveyor.operations.releases.evidence import Received, add_evidence, add_tag
from conveyor.operations.releases.promotions import promote_release
from conveyor.operations.releases.standing import get_project, get_release, releases_of_commit
from conveyor.operations.runs.queue import claim_run, create_run, list_runs, report_step, update_run
from makers import make_store
from releases_made import (
    ADMIN,
    REPOSITORY,
    TEAM_CHAIN,
    envelope_of,
    hand_in,
    head,
    make_release,
    make_repository,
    make_ssh_key,
    make_team_chain,
    make_worker,
    predicate_of_tests,
    public_key,
    request_run,
    sign_tag,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from conveyor.operations.store.store import Store


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Store:
    return make_store(tmp_path / "store", database_url=database_url)


def at_once(count: int, work: Callable[[], object]) -> list[object]:
    """What ``work`` gives in so many threads that begin together; errors of ours are given back."""
    barrier = threading.Barrier(count)
    results: list[object] = []

    def run() -> None:
        barrier.wait()
        try:
            results.append(work())
        except ConveyorError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results


def test_users_and_tokens(store: Store) -> None:
    add_user(store, ADMIN, "ada", password="a long enough password", scopes=["read"])
    token = create_token(store, ADMIN, NewToken("ada", indexes=("stable",), projects=("demo",))).secret
    found = find_token(store, digest_of(token))
    assert found is not None
    assert found.identity == Identity("ada", frozenset({"read"}), frozenset({"stable"}), frozenset({"demo"}))
    used_at = "2026-11-21T08:00:00.000000Z"
    note_last_uses(store, {found.id: used_at})
    assert list_tokens(store, ADMIN, "ada")[0].last_used_at == used_at
    revoke_token(store, ADMIN, found.id)
    assert find_token(store, digest_of(token)) is None
    disable_user(store, ADMIN, "ada")
    assert find_account(store, "ada") is None


def test_one_of_two_users_with_a_name_is_made(store: Store) -> None:
    answers = at_once(4, lambda: add_user(store, ADMIN, "ada", password=None, scopes=["read"]))
    assert sum(isinstance(answer, Conflict) for answer in answers) == 3


def test_way_to_stable(store: Store, tmp_path: Path) -> None:
    repository, key, worker = make_repository(tmp_path), make_ssh_key(tmp_path), make_worker(store)
    commit = head(repository)
    _, wheel = make_release(store, worker, commit=commit)
    with pytest.raises(PromotionRefused):
        promote_release(store, ADMIN, "demo", "1.0", to="testing")
    hand_in(store, worker, "tests", wheel, predicate_of_tests())
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    add_tag(store, ADMIN, "demo", sign_tag(repository, key, "v1.0"))
    assert promote_release(store, ADMIN, "demo", "1.0", to="testing").source == "unstable"
    assert promote_release(store, ADMIN, "demo", "1.0", to="stable").source == "testing"
    assert promote_release(store, ADMIN, "demo", "1.0", to="stable").source is None
    assert get_release(store, ADMIN, "demo", "1.0").indexes == ("stable",)
    assert get_project(store, ADMIN, "demo").claimed_by == "admin"
    assert len(releases_of_commit(store, ADMIN, "demo", commit)) == 1
    revoke_signer(store, ADMIN, "qa@team.example")
    revoke_worker(store, ADMIN, "worker-1")
    assert [bool(one.revoked_at) for one in list_signers(store, ADMIN)] == [True]
    assert [bool(one.revoked_at) for one in list_workers(store, ADMIN)] == [True]
    assert not any(one.is_signer_valid for one in get_release(store, ADMIN, "demo", "1.0").evidence)


def test_same_evidence_at_once_is_kept_once(store: Store) -> None:
    worker = make_worker(store)
    _, wheel = make_release(store, worker)
    envelope = envelope_of(worker, "tests", wheel, predicate_of_tests())
    answers = at_once(6, lambda: add_evidence(store, ADMIN, envelope))
    assert all(isinstance(answer, Received) for answer in answers), answers
    assert sum(isinstance(answer, Received) and answer.is_new for answer in answers) == 1
    kinds = [one.kind for one in get_release(store, ADMIN, "demo", "1.0").evidence]
    assert kinds == ["build", "build", "tests"]


def test_promotions_at_once_move_it_once(store: Store) -> None:
    worker = make_worker(store)
    _, wheel = make_release(store, worker)
    hand_in(store, worker, "tests", wheel, predicate_of_tests())
    answers = at_once(6, lambda: promote_release(store, ADMIN, "demo", "1.0", to="testing").source)
    assert sorted(answers, key=str) == [None] * 5 + ["unstable"]


def test_every_run_is_claimed_by_one_worker(store: Store) -> None:
    make_worker(store)
    identity = Identity("worker-1", WORKER_SCOPES, worker="worker-1")
    made = {request_run(store, ref=f"r{n}").id for n in range(8)}

    def claim_all() -> list[int]:
        claimed = []
        while (run := claim_run(store, identity, "worker-1")) is not None:
            claimed.append(run.id)
        return claimed

    answers = at_once(4, claim_all)
    claimed = [run_id for answer in answers if isinstance(answer, list) for run_id in answer]
    assert sorted(claimed) == sorted(made)


def test_run_is_claimed_by_a_worker_that_reaches_the_index_it_enters(store: Store) -> None:
    make_worker(store)
    make_team_chain(store)
    of_team = frozenset(TEAM_CHAIN)
    narrowed = Identity("worker-1", WORKER_SCOPES, indexes=of_team, worker="worker-1")
    house = request_run(store, ref="house", index="unstable")
    assert (house.index, claim_run(store, narrowed, "worker-1")) == ("unstable", None)
    team = request_run(store, ref="team", index="risk/unstable")
    assert claim_run(store, narrowed, "worker-1", run_id=house.id) is None
    claimed = claim_run(store, narrowed, "worker-1")
    assert claimed is not None
    assert (claimed.id, claimed.index) == (team.id, "risk/unstable")
    claimed = claim_run(store, replace(narrowed, indexes=None), "worker-1")
    assert claimed is not None
    assert (claimed.id, claimed.index) == (house.id, "unstable")


def test_worker_that_finds_no_run_of_its_own_begins_no_write_transaction(store: Store) -> None:
    one, other = (Identity(name, WORKER_SCOPES, worker=name) for name in ("worker-1", "worker-2"))
    for identity in (one, other):
        make_worker(store, identity.name)
    run = create_run(store, other, NewRun(REPOSITORY, "main"))
    writers = store.catalog.get_execution_options()["writers"]
    begun: list[Engine] = []
    event.listen(writers, "begin", lambda connection: begun.append(connection.engine))
    assert claim_run(store, one, "worker-1") is None
    assert claim_run(store, other, "worker-2", run_id=run.id + 1) is None
    assert writers not in begun
    assert claim_run(store, other, "worker-2") is not None
    assert writers in begun


def test_run_with_its_steps(store: Store) -> None:
    make_worker(store)
    identity = Identity("worker-1", WORKER_SCOPES, worker="worker-1")
    run_id = request_run(store, ref="main").id
    assert claim_run(store, identity, "worker-1") is not None
    for name in ("clone", "build"):
        report_step(store, identity, run_id, name, state="running")
        report_step(store, identity, run_id, name, state="succeeded", detail={"summary": name})
    update_run(store, identity, run_id, state="succeeded", detail="done")
    (run,) = list_runs(store, ADMIN)
    assert (run.state, run.detail) == ("succeeded", "done")
    assert [(step.name, step.state, step.summary) for step in run.steps] == [
        ("clone", "succeeded", "clone"),
        ("build", "succeeded", "build"),
    ]
