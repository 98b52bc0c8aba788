"""What the store promotes by itself, on every database: in the transaction of the last fact, and once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.indexes.definitions import IndexSettings
from conveyor.domain.people.access import STORE, Identity
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.releases.decisions import NewOverride
from conveyor.domain.releases.policy import NewPolicy
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Forbidden, InvalidName
from conveyor.operations.indexes.definitions import set_index
from conveyor.operations.indexes.projects import set_project_status
from conveyor.operations.people.signers import add_signer
from conveyor.operations.people.users import add_user
from conveyor.operations.releases.advances import judge_due, judge_now
from conveyor.operations.releases.decisions import override_gate
from conveyor.operations.releases.evidence import add_tag
from conveyor.operations.releases.policies import apply_policy
from conveyor.operations.releases.promotions import judge_release, promote_release
from conveyor.operations.releases.standing import get_release
from conveyor.operations.store.facts import list_events
from distributions_made import make_wheel
from makers import by_processes, make_settings, make_store
from mirrors import Clock
from releases_made import (
    ADMIN,
    hand_in,
    head,
    make_release,
    make_repository,
    make_ssh_key,
    make_worker,
    predicate_of_tests,
    public_key,
    publish,
    sign_tag,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.client.credentials import WorkerCredentials
    from conveyor.domain.words.notation import Event
    from conveyor.operations.store.store import Store
    from distributions_made import Made

MACHINE = Identity("worker-1", frozenset({"read", "upload", "run"}), worker="worker-1")
DEGRADED = {"at": "2020-01-01T00:00:00.000000Z", "isolation": "degraded"}


ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""Rules that no database plays a part in."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, database_url: str, clock: Clock) -> Store:
    return replace(make_store(tmp_path / "store", database_url=database_url), clock=clock)


@pytest.fixture
def worker(store: Store) -> WorkerCredentials:
    return make_worker(store)


def where(store: Store, version: str = "1.0") -> str:
    return get_release(store, ADMIN, "demo", version).index


def promotions(store: Store) -> list[Event]:
    return [one for one in list_events(store, ADMIN) if one.action == "promote"]


def tell_tests(
    store: Store, worker: WorkerCredentials, wheel: Made, index: str, *, version: str = "1.0", **changed: Any
) -> None:
    """Hand in what a testing job for an index says."""
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index=index, version=version, **changed))


def test_last_fact_promotes_in_its_own_transaction_with_its_cause(
    store: Store, worker: WorkerCredentials, tmp_path: Path
) -> None:
    """A final goes to "testing" with its tests, and to "stable" with the signature that was missing."""
    key, repository = make_ssh_key(tmp_path), make_repository(tmp_path)
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    _, wheel = make_release(store, worker, commit=head(repository))
    assert (where(store), promotions(store)) == ("unstable", [])
    tell_tests(store, worker, wheel, "testing")
    assert where(store) == "testing"
    tell_tests(store, worker, wheel, "stable")
    assert where(store) == "testing", "nobody has signed it"
    before = store.newest.read()
    add_tag(store, MACHINE, "demo", sign_tag(repository, key, "v1.0"))
    assert where(store) == "stable"
    assert store.newest.read() == before + 2, "the signature and the promotion follow each other"
    assert [(one.actor, one.detail["from"], one.index, one.detail["cause"]) for one in promotions(store)] == [
        (STORE, "unstable", "testing", "tests of worker-1"),
        (STORE, "testing", "stable", "qa-signature of qa@team.example"),
    ]


@ON_ONE
def test_several_gates_that_one_fact_opens_are_passed_at_once(
    store: Store, worker: WorkerCredentials, tmp_path: Path
) -> None:
    key, repository = make_ssh_key(tmp_path), make_repository(tmp_path)
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    _, wheel = make_release(store, worker, commit=head(repository))
    add_tag(store, MACHINE, "demo", sign_tag(repository, key, "v1.0"))
    tell_tests(store, worker, wheel, "stable")
    assert where(store) == "unstable", "its tests against what comes after testing say nothing about testing"
    tell_tests(store, worker, wheel, "testing")
    assert where(store) == "stable"
    assert [one.index for one in promotions(store)] == ["testing", "stable"]


@ON_ONE
def test_what_was_not_tested_for_the_next_index_stays_and_a_candidate_goes_no_further(
    store: Store, worker: WorkerCredentials
) -> None:
    """A file that a person uploads moves only when somebody has it tested, or promotes it."""
    wheel = make_wheel("demo", "1.0rc1")
    publish(store, wheel)
    assert not judge_now(store, MACHINE, "demo", "1.0rc1", to=None).has_arrived
    tell_tests(store, worker, wheel, "stable", version="1.0rc1")
    tell_tests(store, worker, wheel, "testing", version="1.0rc1", failed=1)
    assert where(store, "1.0rc1") == "unstable"
    tell_tests(store, worker, wheel, "testing", version="1.0rc1")
    assert where(store, "1.0rc1") == "testing"
    judged = judge_now(store, MACHINE, "demo", "1.0rc1", to="stable")
    assert (judged.index, judged.has_arrived) == ("testing", False)
    assert judge_now(store, MACHINE, "demo", "1.0rc1", to="testing").has_arrived


@ON_ONE
def test_every_python_that_the_testing_job_names_is_waited_for(
    store: Store, worker: WorkerCredentials
) -> None:
    _, wheel = make_release(store, worker)
    on_later = {"python": "3.12.1", "platform": "linux-x86_64"}
    tell_tests(store, worker, wheel, "testing", pythons=["3.11", "3.12"])
    (verdict,) = judge_release(store, ADMIN, "demo", "1.0", to=None).verdicts
    assert (where(store), verdict.outcome) == ("unstable", "waiting")
    assert "was not tested on Python 3.12 yet" in verdict.reason
    by_hand = {"python": "3.13.0", "platform": "linux-x86_64"}
    tell_tests(store, worker, wheel, "testing", pythons=["3.11", "3.12"], environment=by_hand, failed=1)
    tell_tests(store, worker, wheel, "testing", pythons=["3.11", "3.12"], environment=on_later)
    assert where(store) == "testing", "nobody asked for Python 3.13"
    (verdict,) = promotions(store)[0].detail["verdicts"]
    assert "1 tests failed and 0 broke (Python 3.13.0" in verdict["reason"]
    assert "which is not asked for" in verdict["reason"]


@ON_ONE
def test_failure_that_an_index_only_shows_holds_no_release_up(
    store: Store, worker: WorkerCredentials
) -> None:
    policy = 'schema = 1\n[index.testing]\ngates = ["tests"]\npythons = ["3.11"]\n'
    apply_policy(store, ADMIN, NewPolicy(policy, "the other one is on its way"))
    _, wheel = make_release(store, worker)
    on_later = {"python": "3.12.1", "platform": "linux-x86_64"}
    both = ["3.11", "3.12"]
    tell_tests(store, worker, wheel, "testing", pythons=both, environment=on_later, failed=1)
    assert where(store) == "unstable"
    tell_tests(store, worker, wheel, "testing", pythons=both)
    assert where(store) == "testing"


@ON_ONE
def test_worker_that_the_policy_does_not_name_neither_moves_a_release_nor_holds_it_up(
    store: Store, worker: WorkerCredentials
) -> None:
    other = make_worker(store, "worker-2")
    policy = 'schema = 1\n[index.testing]\ngates = ["final-version"]\nworkers = ["worker-1"]\n'
    apply_policy(store, ADMIN, NewPolicy(policy, "one of them is trusted"))
    _, wheel = make_release(store, worker)
    tell_tests(store, other, wheel, "testing")
    assert where(store) == "unstable"
    tell_tests(store, other, wheel, "testing", failed=1)
    tell_tests(store, worker, wheel, "testing")
    assert where(store) == "testing"


def test_setting_that_opens_a_gate_has_releases_judged_once_by_however_many_processes(
    store: Store, worker: WorkerCredentials, tmp_path: Path, database_url: str
) -> None:
    set_index(store, ADMIN, IndexSettings("testing", isolation="required"))
    _, wheel = make_release(store, worker)
    make_release(store, worker, version="2.0")
    tell_tests(store, worker, wheel, "testing", made=DEGRADED)
    set_index(store, ADMIN, IndexSettings("testing", isolation="any"))
    assert where(store) == "unstable", "its gate is open, and nobody has looked yet"
    settings = make_settings(tmp_path / "store", database_url=database_url)
    judged = by_processes(3, settings, store, judge_due)
    assert sum(judged) == 1, "of the two only one has tests"
    assert [(one.actor, one.detail["cause"]) for one in promotions(store)] == [
        (STORE, 'settings of "testing"')
    ]


@ON_ONE
def test_project_that_was_quarantined_moves_when_it_is_active_again(
    store: Store, worker: WorkerCredentials
) -> None:
    _, wheel = make_release(store, worker)
    set_project_status(store, ADMIN, "demo", "quarantined", reason="looks odd")
    judge_due(store)
    tell_tests(store, worker, wheel, "testing")
    assert promotions(store) == []
    set_project_status(store, ADMIN, "demo", "active")
    assert judge_due(store) == 1
    assert where(store) == "testing"


def test_gate_that_time_opens_is_judged_then_and_not_before(
    store: Store, worker: WorkerCredentials, clock: Clock
) -> None:
    policy = 'schema = 1\n[index.testing]\ngates = ["tests", "age"]\nminimum_age_hours = 1\n'
    apply_policy(store, ADMIN, NewPolicy(policy, "nothing is too urgent"))
    _, wheel = make_release(store, worker)
    tell_tests(store, worker, wheel, "testing")
    assert [judge_due(store), where(store)] == [0, "unstable"]
    clock.pass_by(timedelta(minutes=59))
    assert [judge_due(store), where(store)] == [0, "unstable"]
    clock.pass_by(timedelta(minutes=2))
    assert [judge_due(store), where(store)] == [1, "testing"]
    assert judge_due(store) == 0
    (event,) = promotions(store)
    assert (event.actor, event.detail["cause"]) == (STORE, "the time that a gate waited for")


@ON_ONE
def test_policy_that_drops_a_gate_of_time_has_its_releases_judged_at_once(
    store: Store, worker: WorkerCredentials
) -> None:
    """Such a release is due already, at the time that the gate named."""
    policy = 'schema = 1\n[index.testing]\ngates = ["tests", "age"]\nminimum_age_hours = 48\n'
    apply_policy(store, ADMIN, NewPolicy(policy, "nothing is too urgent"))
    _, wheel = make_release(store, worker)
    tell_tests(store, worker, wheel, "testing")
    apply_policy(store, ADMIN, NewPolicy('schema = 1\n[index.testing]\ngates = ["tests"]\n', "it was"))
    assert [judge_due(store), where(store)] == [1, "testing"]


def test_end_of_an_override_is_told_once_and_moves_nothing_back(
    store: Store, worker: WorkerCredentials, tmp_path: Path, clock: Clock, database_url: str
) -> None:
    policy = 'schema = 1\n[index.testing]\ngates = ["tests", "docs"]\n'
    apply_policy(store, ADMIN, NewPolicy(policy, "people read"))
    _, wheel = make_release(store, worker)
    until = utc_text(clock() + timedelta(days=1))
    asked = NewOverride("testing", "docs", "they come later", until)
    override_gate(store, ADMIN, "demo", "1.0", asked)
    tell_tests(store, worker, wheel, "testing")
    assert [judge_due(store), where(store)] == [0, "testing"]
    clock.pass_by(timedelta(hours=23))
    assert judge_due(store) == 0
    clock.pass_by(timedelta(hours=1))
    settings = make_settings(tmp_path / "store", database_url=database_url)
    by_processes(3, settings, store, judge_due)
    (event,) = [one for one in list_events(store, ADMIN) if one.action == "end-override"]
    assert (event.actor, event.index, event.version, where(store)) == (STORE, "testing", "1.0", "testing")
    said = "it has no documentation, and takes none since it was promoted"
    said += f"; the override of admin ended at {until}"
    assert event.detail == {
        "index": "testing", "gate": "docs", "until": until, "person": "admin",
        "outcome": "fail", "reason": said,
    }  # fmt: skip
    _, verdict = judge_release(store, ADMIN, "demo", "1.0", to="testing").verdicts
    assert (verdict.outcome, verdict.reason) == ("fail", said)

    # Judged again for another reason, nothing is told twice; a release that never moved is told of as well.
    make_release(store, worker, version="2.0")
    until = utc_text(clock() + timedelta(days=1))
    override_gate(store, ADMIN, "demo", "2.0", replace(asked, until=until))
    apply_policy(store, ADMIN, NewPolicy(policy + "override_days = 40\n", "the same"))
    clock.pass_by(timedelta(days=2))
    while judge_due(store):
        pass
    told = [one.version for one in list_events(store, ADMIN) if one.action == "end-override"]
    assert told == ["1.0", "2.0"]


def test_two_last_facts_that_come_at_once_promote_once(
    store: Store, worker: WorkerCredentials, tmp_path: Path
) -> None:
    """Each of the two transactions began before the other had written."""
    key, repository = make_ssh_key(tmp_path), make_repository(tmp_path)
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    tags = {version: sign_tag(repository, key, f"v{version}") for version in ("1.0", "2.0", "3.0")}
    for version, tag in tags.items():
        _, wheel = make_release(store, worker, version=version, commit=head(repository))
        tell_tests(store, worker, wheel, "testing", version=version)
        begun = threading.Barrier(2)

        def tell(wheel: Made = wheel, version: str = version, begun: threading.Barrier = begun) -> None:
            begun.wait()
            tell_tests(store, worker, wheel, "stable", version=version)

        def sign(tag: bytes = tag, begun: threading.Barrier = begun) -> None:
            begun.wait()
            add_tag(store, MACHINE, "demo", tag)

        threads = [threading.Thread(target=tell), threading.Thread(target=sign)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert where(store, version) == "stable"
    assert [one.index for one in promotions(store)] == ["testing", "stable"] * 3


@ON_ONE
def test_no_worker_promotes_and_no_user_has_the_name_of_the_store(
    store: Store, worker: WorkerCredentials
) -> None:
    make_release(store, worker)
    with pytest.raises(Forbidden, match="lacks the scope promote"):
        promote_release(store, MACHINE, "demo", "1.0", to="testing")
    with pytest.raises(InvalidName, match="what the store calls itself"):
        add_user(store, ADMIN, STORE, password=None, scopes=["read"])
