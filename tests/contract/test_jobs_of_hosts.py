"""What jobs of CI hosts tell, on every database: kept with their name, and good for no gate by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.people.access import ANONYMOUS
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.people.publishers import user_of
from conveyor.domain.releases.evidence import statement
from conveyor.domain.releases.facts import told_by_jobs
from conveyor.domain.releases.policy import NewPolicy
from conveyor.errors import Conflict, Forbidden, InvalidInput, PromotionRefused, Unauthorized
from conveyor.operations.people.publishers import remove_publisher
from conveyor.operations.people.signers import add_signer
from conveyor.operations.releases import evidence
from conveyor.operations.releases.advances import judge_due, judge_now
from conveyor.operations.releases.evidence import add_evidence, add_statement, add_tag, export_bundle
from conveyor.operations.releases.policies import apply_policy
from conveyor.operations.releases.promotions import promote_release
from conveyor.operations.releases.standing import get_release, releases_of_commit
from distributions_made import make_sdist, make_wheel
from makers import make_store
from releases_made import (
    ADMIN,
    COMMIT,
    MADE,
    hand_in,
    head,
    make_job,
    make_release,
    make_repository,
    make_ssh_key,
    make_worker,
    predicate_of_build,
    predicate_of_tests,
    public_key,
    publish,
    sign_tag,
    tell,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store
    from distributions_made import Made

COUNTS = 'schema = 1\n[index.testing]\nci_evidence = "counts"\n'
"""A policy that takes what jobs tell for the index "testing"."""


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Store:
    return make_store(tmp_path / "store", database_url=database_url)


def where(store: Store, project: str = "demo") -> str:
    return get_release(store, ADMIN, project, "1.0").index


def published(store: Store) -> tuple[Made, Made]:
    """A release without any evidence."""
    sdist, wheel = make_sdist("demo", "1.0"), make_wheel("demo", "1.0")
    for made in (sdist, wheel):
        publish(store, made)
    return sdist, wheel


def tell_all(store: Store, job: Identity, sdist: Made, wheel: Made, commit: str = COMMIT) -> None:
    """All that gates could ask of the release, as good as it gets."""
    tell(store, job, "build", sdist, predicate_of_build(sdist, commit=commit))
    tell(store, job, "build", wheel, predicate_of_build(wheel, commit=commit, built_from=sdist.sha256))
    for index in ("testing", "stable"):
        tell(store, job, "tests", wheel, predicate_of_tests(index=index))


def test_forged_evidence_of_a_job_opens_neither_testing_nor_stable(store: Store, tmp_path: Path) -> None:
    repository, key = make_repository(tmp_path), make_ssh_key(tmp_path)
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    sdist, wheel = published(store)
    job = make_job(store, "demo")
    tell_all(store, job, sdist, wheel, head(repository))
    add_tag(store, job, "demo", sign_tag(repository, key, "v1.0"))
    told = judge_now(store, job, "demo", "1.0", to="testing")
    assert [(one.gate, one.outcome) for one in told.verdicts] == [("tests", "waiting")]
    assert f"that counts (only by {job.name})" in told.verdicts[0].reason
    for target in ("testing", "stable"):
        with pytest.raises(PromotionRefused):
            promote_release(store, ADMIN, "demo", "1.0", to=target)
    assert where(store) == "unstable"
    release = get_release(store, ADMIN, "demo", "1.0")
    jobs = [one for one in release.evidence if one.job is not None]
    assert [one.kind for one in jobs] == ["build", "build", "tests", "tests"]
    assert not any(one.is_signer_valid for one in jobs)
    *_, said = told_by_jobs(release.evidence, {wheel.sha256: wheel.filename})
    assert said == (
        f"{job.name} (team/demo, ref v1.0, job_id 42) told tests of {wheel.filename}: 3 passed, 0 failed, "
        "0 broke on Python 3.11.7, isolation as it says: jail; unsigned"
    )
    # Nor does it tie the commit to another project, or prove anything offline.
    assert releases_of_commit(store, ADMIN, "demo", head(repository)) == []
    assert [one.kind for one in export_bundle(store, ADMIN, "demo", "1.0").evidence] == ["qa-signature"]


def test_policy_may_count_it_for_testing_and_never_for_stable(store: Store) -> None:
    sdist, wheel = published(store)
    job = make_job(store, "demo")
    tell_all(store, job, sdist, wheel)
    for index in ("stable", "unstable", "pypi"):
        with pytest.raises(InvalidInput, match=r"is not between|nothing is promoted into"):
            apply_policy(store, ADMIN, NewPolicy(COUNTS.replace("testing", index), "try"))
    apply_policy(store, ADMIN, NewPolicy(COUNTS, "our CI host is in the house"))
    judge_due(store)
    assert where(store) == "testing"
    told = judge_now(store, ADMIN, "demo", "1.0", to="stable")
    assert {one.gate: one.outcome for one in told.verdicts} == {
        "tests": "waiting", "qa-signature": "waiting", "final-version": "pass",
    }  # fmt: skip


def test_what_counts_is_never_isolated_and_ends_with_its_publisher(store: Store) -> None:
    job = make_job(store, "demo")
    content = COUNTS + 'isolation = "required"\n'
    apply_policy(store, ADMIN, NewPolicy(content, "only in jails"))
    sdist, wheel = published(store)
    tell_all(store, job, sdist, wheel)
    (verdict,) = judge_now(store, job, "demo", "1.0", to="testing").verdicts
    assert "was tested without isolation" in verdict.reason
    remove_publisher(store, ADMIN, next(iter(job.job.publishers.values())))  # type: ignore[union-attr] # made so
    apply_policy(store, ADMIN, NewPolicy(COUNTS, "without jails"))
    judge_due(store)
    assert where(store) == "unstable"


def test_failure_that_a_job_tells_shuts_no_gate(store: Store) -> None:
    worker, job = make_worker(store), make_job(store, "demo")
    _, wheel = make_release(store, worker)
    tell(store, job, "tests", wheel, predicate_of_tests(index="testing", failed=2, passed=0))
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="testing"))
    assert where(store) == "testing"


def test_job_tells_nothing_of_other_projects_and_learns_nothing_of_them(store: Store) -> None:
    own, foreign = make_wheel("demo", "1.0"), make_wheel("other", "1.0")
    for made in (own, foreign):
        publish(store, made)
    job = make_job(store, "demo")
    refusals = []
    for sha256 in (foreign.sha256, "0" * 64):
        said = statement(
            "tests", filename=foreign.filename, sha256=sha256, predicate=predicate_of_tests(name="other")
        )
        with pytest.raises(InvalidInput) as refused:
            add_statement(store, job, said)
        refusals.append(refused.value.message.replace(sha256, ""))
    assert refusals[0] == refusals[1]
    # Its own file under the name of the other project, a run, the future, a worker's key.
    for changed in (
        {"name": "other"},
        {"made": {**MADE, "run": 1}},
        {"made": {**MADE, "at": "2999-01-01T00:00:00.000000Z"}},
    ):
        with pytest.raises(InvalidInput):
            tell(store, job, "tests", own, predicate_of_tests(**changed))
    said = statement("tests", filename=own.filename, sha256=own.sha256, predicate=predicate_of_tests())
    with pytest.raises(InvalidInput):  # as a worker does
        add_evidence(store, job, said)
    uploader = replace(job, job=None)
    for stranger, error in ((ADMIN, Forbidden), (uploader, Forbidden), (ANONYMOUS, Unauthorized)):
        with pytest.raises(error):
            add_statement(store, stranger, said)
    assert get_release(store, ADMIN, "demo", "1.0").evidence == ()


def test_same_statement_is_kept_once_and_a_flood_has_an_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MOST_OF_JOBS", 2)
    job = make_job(store, "demo")
    _, wheel = published(store)
    first = tell(store, job, "tests", wheel, predicate_of_tests())
    again = tell(store, job, "tests", wheel, predicate_of_tests())
    assert (again.id, first.is_new, again.is_new) == (first.id, True, False)
    tell(store, job, "tests", wheel, predicate_of_tests(passed=4))
    with pytest.raises(Conflict, match=r"jobs told 2 facts about demo 1\.0"):
        tell(store, job, "tests", wheel, predicate_of_tests(passed=5))
    assert len(get_release(store, ADMIN, "demo", "1.0").evidence) == 2


def test_word_of_a_job_of_several_projects_is_that_of_the_projects_own_publisher(store: Store) -> None:
    job = make_job(store, "demo", "other")
    made = make_wheel("other", "1.0")
    publish(store, made)
    tell(store, job, "tests", made, predicate_of_tests(name="other"))
    (told,) = get_release(store, ADMIN, "other", "1.0").evidence
    assert told.job is not None
    assert told.job.publisher == user_of(2) != job.name
