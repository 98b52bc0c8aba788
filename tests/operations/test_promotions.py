from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.database.events import events_since
from conveyor.catalog.releases.projects import find_release
from conveyor.domain.indexes.definitions import IndexSettings, NewIndex
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.releases.gates import GATES
from conveyor.errors import (
    Conflict,
    ConveyorError,
    DistributionExists,
    Forbidden,
    NotFound,
    PromotionRefused,
    Unauthorized,
)
from conveyor.operations.indexes.definitions import create_index, set_index
from conveyor.operations.people.signers import add_signer, revoke_signer, revoke_worker
from conveyor.operations.releases.evidence import add_tag
from conveyor.operations.releases.promotions import judge_release, promote_release
from conveyor.operations.releases.standing import get_project, get_release, releases_of_commit
from conveyor.operations.store.store import read
from distributions_made import make_sdist, make_wheel
from makers import make_store
from releases_made import (
    ADMIN,
    COMMIT,
    hand_in,
    head,
    make_release,
    make_repository,
    make_ssh_key,
    make_worker,
    predicate_of_build,
    predicate_of_tests,
    public_key,
    publish,
    sign_tag,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.releases.gates import JudgedRelease
    from conveyor.domain.releases.gates.judged import Verdict
    from conveyor.operations.store.store import Store

READER = Identity("rea", frozenset({"read"}))


def make_tested_release(store: Store, *, version: str = "1.0", commit: str = COMMIT) -> None:
    """A release in "unstable" that may enter "testing"."""
    worker = make_worker(store)
    _, wheel = make_release(store, worker, version=version, commit=commit)
    hand_in(store, worker, "tests", wheel, predicate_of_tests(version=version))


def make_signed_release(store: Store, folder: Path, *, version: str = "1.0") -> None:
    """A release in "unstable" that may enter "stable"."""
    key, repository = make_ssh_key(folder), make_repository(folder)
    make_tested_release(store, version=version, commit=head(repository))
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    add_tag(store, ADMIN, "demo", sign_tag(repository, key, f"v{version}"))


def where(store: Store, version: str = "1.0") -> str:
    return get_release(store, ADMIN, "demo", version).index


def outcomes(refusal: PromotionRefused) -> dict[str, str]:
    return {verdict.gate: verdict.outcome for verdict in refusal.verdicts}


def test_release_without_evidence_is_refused_with_one_verdict_per_gate(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, make_wheel())
    before = store.newest.read()
    with pytest.raises(PromotionRefused) as caught:
        promote_release(store, ADMIN, "demo", "1.0", to="stable", source="unstable")
    assert outcomes(caught.value) == {
        "tests": "waiting",
        "qa-signature": "waiting",
        "final-version": "pass",
    }
    assert where(store) == "unstable"
    assert store.newest.read() == before


def test_administrators_pass_no_gate_either(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, make_wheel())
    for target in ("testing", "stable"):
        with pytest.raises(PromotionRefused):
            promote_release(store, ADMIN, "demo", "1.0", to=target)


def test_tested_release_moves_whole_and_is_closed(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    promotion = promote_release(store, ADMIN, "Demo", "1.0", to="testing")
    assert (promotion.source, promotion.target) == ("unstable", "testing")
    assert promotion.files == ("demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz")
    release = get_release(store, ADMIN, "demo", "1.0")
    assert release.indexes == ("testing",)
    assert release.is_closed
    with read(store) as connection:
        row = find_release(connection, "demo", "1.0")
    assert row is not None
    assert row.closed_at is not None


def test_promotion_again_is_a_success_without_a_change(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    promote_release(store, ADMIN, "demo", "1.0", to="testing")
    serial = store.newest.read()
    again = promote_release(store, ADMIN, "demo", "1.0", to="testing")
    assert again.source is None
    assert again.files == ("demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz")
    assert [verdict.gate for verdict in again.verdicts] == ["tests"]
    assert store.newest.read() == serial


def test_one_untested_file_holds_the_whole_release_back(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    publish(store, make_wheel(tag="py3-none-linux_x86_64"))
    with pytest.raises(PromotionRefused) as caught:
        promote_release(store, ADMIN, "demo", "1.0", to="testing")
    assert "linux_x86_64" in caught.value.verdicts[0].reason
    assert len(get_release(store, ADMIN, "demo", "1.0").files) == 3
    assert where(store) == "unstable"


def test_signed_final_goes_to_stable(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    make_signed_release(store, tmp_path)
    promote_release(store, ADMIN, "demo", "1.0", to="testing")
    promotion = promote_release(store, ADMIN, "demo", "1.0", to="stable")
    assert promotion.source == "testing"
    assert all(verdict.lets_pass for verdict in promotion.verdicts)
    assert where(store) == "stable"


def test_stable_takes_no_tests_without_isolation_until_an_administrator_accepts_them(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    key, repository = make_ssh_key(tmp_path), make_repository(tmp_path)
    worker = make_worker(store)
    _, wheel = make_release(store, worker, commit=head(repository))
    degraded = {"at": "2020-01-01T00:00:00.000000Z", "isolation": "degraded"}
    hand_in(store, worker, "tests", wheel, predicate_of_tests(made=degraded))
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    add_tag(store, ADMIN, "demo", sign_tag(repository, key, "v1.0"))
    promote_release(store, ADMIN, "demo", "1.0", to="testing")
    with pytest.raises(PromotionRefused) as caught:
        promote_release(store, ADMIN, "demo", "1.0", to="stable")
    assert outcomes(caught.value) == {"tests": "waiting", "qa-signature": "pass", "final-version": "pass"}
    assert (caught.value.verdicts[0].next_step or "").endswith("store index set stable --isolation any")
    set_index(store, ADMIN, IndexSettings("stable", isolation="any"))
    promote_release(store, ADMIN, "demo", "1.0", to="stable")
    set_index(store, ADMIN, IndexSettings("stable", isolation="required"))
    assert where(store) == "stable"


def test_signed_pre_release_does_not_go_to_stable(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    make_signed_release(store, tmp_path, version="1.0rc1")
    promote_release(store, ADMIN, "demo", "1.0rc1", to="testing")
    with pytest.raises(PromotionRefused) as caught:
        promote_release(store, ADMIN, "demo", "1.0rc1", to="stable")
    assert outcomes(caught.value) == {"tests": "pass", "qa-signature": "pass", "final-version": "fail"}


def test_way_past_testing_is_judged_by_its_gates_and_logged(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    make_signed_release(store, tmp_path)
    before = store.newest.read()
    assert promote_release(store, ADMIN, "demo", "1.0", to="stable").source == "unstable"
    with read(store) as connection:
        (event,) = events_since(connection, before)
    assert (event.action, event.index, event.project, event.version) == (
        "promote",
        "stable",
        "demo",
        "1.0",
    )
    assert event.detail["from"] == "unstable"
    assert event.detail["through"] == ["testing"]
    assert set(event.detail["files"]) == {"demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"}
    assert {verdict["gate"] for verdict in event.detail["verdicts"]} == {
        "tests",
        "qa-signature",
        "final-version",
    }


def test_revoked_signer_or_worker_shuts_the_gate_again(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    make_signed_release(store, tmp_path)
    revoke_signer(store, ADMIN, "qa@team.example")
    with pytest.raises(PromotionRefused) as caught:
        promote_release(store, ADMIN, "demo", "1.0", to="stable")
    assert outcomes(caught.value)["qa-signature"] == "fail"
    revoke_worker(store, ADMIN, "worker-1")
    with pytest.raises(PromotionRefused) as caught:
        promote_release(store, ADMIN, "demo", "1.0", to="testing")
    assert outcomes(caught.value) == {"tests": "waiting"}


def test_worker_that_is_revoked_while_its_release_is_judged_promotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gates are asked again inside the transaction: here the worker is revoked after the first asking."""
    store = make_store(tmp_path)
    make_tested_release(store)
    gate = GATES["tests"]
    said: list[str] = []

    def judge_then_revoke(release: JudgedRelease) -> Verdict:
        verdict = gate.judge(release)
        if not said:
            revoke_worker(store, ADMIN, "worker-1")
        said.append(verdict.outcome)
        return verdict

    monkeypatch.setitem(GATES, "tests", replace(gate, judge=judge_then_revoke))
    with pytest.raises(PromotionRefused):
        promote_release(store, ADMIN, "demo", "1.0", to="testing")
    assert said == ["pass", "waiting"]
    assert where(store) == "unstable"


def test_closed_release_takes_no_more_files(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    promote_release(store, ADMIN, "demo", "1.0", to="testing")
    with pytest.raises(Conflict):
        publish(store, make_wheel(tag="py3-none-linux_x86_64"))


def test_release_does_not_go_back(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    make_signed_release(store, tmp_path)
    promote_release(store, ADMIN, "demo", "1.0", to="stable")
    for target in ("testing", "unstable"):
        with pytest.raises(Conflict):
            promote_release(store, ADMIN, "demo", "1.0", to=target)
    assert where(store) == "stable"


def test_mirror_is_no_target(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    with pytest.raises(Conflict, match="mirror"):
        promote_release(store, ADMIN, "demo", "1.0", to="pypi", source="unstable")


def test_unknown_releases_and_indexes_are_not_found(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    for version, target, source in (
        ("9.9", "testing", None),
        ("1.0", "nowhere", None),
        ("1.0", "testing", "nowhere"),
    ):
        with pytest.raises(NotFound):
            promote_release(store, ADMIN, "demo", version, to=target, source=source)


def test_promotion_of_an_unknown_release_names_the_known_ones(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    for project, hint in (
        ("demo", "its releases here are 1.0"),
        ("nowhere", "check the spelling of its name, or upload it first"),
    ):
        with pytest.raises(NotFound) as caught:
            promote_release(store, ADMIN, project, "9.9", to="testing")
        assert caught.value.hint == hint


def test_index_without_gates_is_entered_freely(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("shared", mode="promotion-only"))
    create_index(store, ADMIN, NewIndex("dev", mode="uploads", bases=("shared",)))
    publish(store, make_wheel(), index="dev")
    promotion = promote_release(store, ADMIN, "demo", "1.0", to="shared")
    assert promotion.verdicts == ()
    assert where(store) == "shared"


def test_target_with_other_bytes_under_the_name_is_left_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("shared", mode="promotion-only"))
    for team, content in (("left", b"1"), ("right", b"2")):
        create_index(store, ADMIN, NewIndex(team, mode="uploads", bases=("shared",)))
        publish(store, make_wheel(extra={"demo/data": content}), index=team)
    promote_release(store, ADMIN, "demo", "1.0", to="shared", source="left")
    with pytest.raises(DistributionExists):
        promote_release(store, ADMIN, "demo", "1.0", to="shared", source="right")


def test_same_bytes_in_two_indexes_become_one_row(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("shared", mode="promotion-only"))
    for team in ("left", "right"):
        create_index(store, ADMIN, NewIndex(team, mode="uploads", bases=("shared",)))
        publish(store, make_wheel(), index=team)
    with pytest.raises(Conflict, match="several indexes"):
        promote_release(store, ADMIN, "demo", "1.0", to="shared")
    promote_release(store, ADMIN, "demo", "1.0", to="shared", source="left")
    assert promote_release(store, ADMIN, "demo", "1.0", to="shared").source == "right"
    release = get_release(store, ADMIN, "demo", "1.0")
    assert (release.indexes, len(release.files)) == (("shared",), 1)


def test_right_to_promote_is_asked_first(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    elsewhere = Identity("ada", frozenset({"promote"}), indexes=frozenset({"unstable"}))
    other = Identity("ada", frozenset({"promote"}), projects=frozenset({"other"}))
    with pytest.raises(Unauthorized):
        promote_release(store, ANONYMOUS, "demo", "1.0", to="testing")
    for identity in (READER, elsewhere, other, Identity("up", frozenset({"upload"}))):
        with pytest.raises(Forbidden):
            promote_release(store, identity, "demo", "1.0", to="testing")
    promoter = Identity("ada", frozenset({"promote"}), frozenset({"testing"}), frozenset({"demo"}))
    assert promote_release(store, promoter, "demo", "1.0", to="testing").source == "unstable"


def test_concurrent_promotions_move_it_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    before = store.newest.read()
    sources: list[str | None] = []
    failures: list[ConveyorError] = []
    barrier = threading.Barrier(6)

    def promote() -> None:
        barrier.wait()
        try:
            sources.append(promote_release(store, ADMIN, "demo", "1.0", to="testing").source)
        except ConveyorError as error:
            failures.append(error)

    threads = [threading.Thread(target=promote) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(sources, key=str) == [None] * 5 + ["unstable"]
    with read(store) as connection:
        assert len(events_since(connection, before)) == 1


def test_verdicts_may_be_asked_by_whoever_sees_the_release(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    judged = judge_release(store, ANONYMOUS, "demo", "1.0", to="stable")
    assert [(verdict.gate, verdict.outcome) for verdict in judged.verdicts] == [
        ("tests", "pass"),
        ("qa-signature", "waiting"),
        ("final-version", "pass"),
    ]
    promote_release(store, ADMIN, "demo", "1.0", to="testing")
    judged = judge_release(store, ANONYMOUS, "demo", "1.0", to="testing")
    assert [verdict.outcome for verdict in judged.verdicts] == ["pass"]


# --- looking at releases -----------------------------------------------------------------------------------


def test_release_shows_files_and_evidence(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_tested_release(store)
    release = get_release(store, ANONYMOUS, "demo", "1.0")
    assert [file.filename for file in release.files] == ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"]
    assert [one.kind for one in release.evidence] == ["build", "build", "tests"]
    assert not release.is_closed


def test_evidence_on_a_file_that_the_caller_may_not_see_is_not_shown(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("secret", mode="uploads", bases=("unstable",), is_private=True))
    worker, sdist, wheel = make_worker(store), make_sdist(), make_wheel()
    publish(store, sdist)
    publish(store, wheel, index="secret")
    hand_in(store, worker, "build", sdist, predicate_of_build(sdist))
    hand_in(store, worker, "build", wheel, predicate_of_build(wheel))
    assert len(get_release(store, ADMIN, "demo", "1.0").evidence) == 2
    (seen,) = get_release(store, ANONYMOUS, "demo", "1.0").evidence
    assert seen.sha256 == sdist.sha256


def test_releases_are_found_by_their_commit(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = make_worker(store)
    other = "f" * 40
    for version, commit in (("1.0rc1", COMMIT), ("1.0", COMMIT), ("1.1", other)):
        make_release(store, worker, version=version, commit=commit)
    found = releases_of_commit(store, ANONYMOUS, "demo", COMMIT)
    assert [release.version for release in found] == ["1.0rc1", "1.0"]
    assert releases_of_commit(store, ANONYMOUS, "demo", "e" * 40) == []
    assert releases_of_commit(store, ANONYMOUS, "other", COMMIT) == []


def test_project_lists_its_releases_newest_version_first(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for version in ("1.9", "1.10", "1.10rc1"):
        publish(store, make_wheel("My-Demo", version))
    publish(store, make_sdist("My-Demo", "1.9"))
    project = get_project(store, ANONYMOUS, "my-demo")
    assert project.display_name == "My-Demo"
    assert project.claimed_by == "admin"
    assert [(one.version, one.indexes, one.file_count) for one in project.releases] == [
        ("1.10", ("unstable",), 1),
        ("1.10rc1", ("unstable",), 1),
        ("1.9", ("unstable",), 2),
    ]


def test_what_lies_in_a_private_index_is_not_here_for_others(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("secret", mode="promotion-only", is_private=True))
    create_index(store, ADMIN, NewIndex("secret-dev", mode="uploads", bases=("secret",), is_private=True))
    worker = make_worker(store)
    publish(store, make_wheel(), index="secret-dev")
    hand_in(store, worker, "build", make_wheel(), predicate_of_build(make_wheel()))
    insider = Identity("ida", frozenset({"read"}), indexes=frozenset({"secret-dev", "secret"}))
    outsider = Identity("otto", frozenset({"read", "promote"}), indexes=frozenset({"unstable"}))
    assert get_release(store, insider, "demo", "1.0").index == "secret-dev"
    assert len(releases_of_commit(store, insider, "demo", COMMIT)) == 1
    for identity, refusal in ((ANONYMOUS, Unauthorized), (outsider, NotFound)):
        with pytest.raises(refusal):
            get_release(store, identity, "demo", "1.0")
        with pytest.raises(refusal):
            get_project(store, identity, "demo")
        with pytest.raises(refusal):
            judge_release(store, identity, "demo", "1.0", to="secret")
        assert releases_of_commit(store, identity, "demo", COMMIT) == []
