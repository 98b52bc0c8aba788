"""The chain of forgery: whoever has the key and the token of one run moves nothing of another project.

It is what a test could do that read them, as tests once could. Each attempt is refused, or gains nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.client.credentials import sign_statement
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.releases.evidence import statement
from conveyor.domain.runs.states import NewRun
from conveyor.errors import ConveyorError, Forbidden, InvalidInput
from conveyor.operations.people.signers import add_signer
from conveyor.operations.people.tokens import digest_of, find_token
from conveyor.operations.releases.advances import judge_now
from conveyor.operations.releases.evidence import add_evidence, add_tag
from conveyor.operations.releases.promotions import judge_release, promote_release
from conveyor.operations.releases.standing import get_release
from conveyor.operations.runs.queue import create_run, update_run
from conveyor.operations.runs.tokens import issue_run_token
from distributions_made import make_wheel
from makers import make_store
from releases_made import (
    ADMIN,
    COMMIT,
    head,
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

    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.evidence import EvidenceKind
    from conveyor.operations.store.store import Store
    from distributions_made import Made

OWN, FOREIGN = make_wheel("demo"), make_wheel("other")


def identity_of(store: Store, token: str) -> Identity:
    bearer = find_token(store, digest_of(token))
    assert bearer is not None
    return bearer.identity


def test_key_and_token_of_one_run_gain_nothing_for_another_project_file_or_commit(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    worker = make_worker(store)
    for made in (OWN, FOREIGN):
        publish(store, made)
    known = identity_of(store, worker.token)
    run = create_run(store, known, NewRun("/srv/checkout", "v1.0", claim=True))
    update_run(store, known, run.id, project="demo")
    stolen = identity_of(store, issue_run_token(store, known, run.id).secret)
    in_run = {"at": "2026-01-01T00:00:00.000000Z", "isolation": "jail", "run": run.id}
    key, repository = make_ssh_key(tmp_path), make_repository(tmp_path)
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    signed = sign_tag(repository, key, "v1.0")

    def testify(
        identity: Identity, kind: EvidenceKind, made: Made, facts: dict[str, object], *, called: str = ""
    ) -> None:
        said = statement(kind, filename=called or made.filename, sha256=made.sha256, predicate=facts)
        add_evidence(store, identity, sign_statement(said, worker))

    own_tests = predicate_of_tests(index="testing", made=in_run)
    foreign_tests = predicate_of_tests(name="other", index="testing", made=in_run)
    attempts: list[tuple[type[ConveyorError], str]] = []
    for refusal, attempt in (
        # of another project: its evidence, with either token, and whatever it calls itself
        (Forbidden, lambda: testify(stolen, "tests", FOREIGN, foreign_tests)),
        (InvalidInput, lambda: testify(known, "tests", FOREIGN, foreign_tests)),
        (InvalidInput, lambda: testify(stolen, "tests", FOREIGN, own_tests)),
        (InvalidInput, lambda: testify(stolen, "tests", FOREIGN, own_tests, called=OWN.filename)),
        # a signature for it, a judgement, a promotion
        (Forbidden, lambda: add_tag(store, stolen, "other", signed)),
        (Forbidden, lambda: judge_now(store, stolen, "other", "1.0", to=None)),
        (Forbidden, lambda: promote_release(store, stolen, "other", "1.0", to="testing")),
        (Forbidden, lambda: promote_release(store, stolen, "demo", "1.0", to="testing")),
        # of another file, which nobody published
        (InvalidInput, lambda: testify(stolen, "tests", make_wheel("demo", "1.1"), own_tests)),
    ):
        with pytest.raises(refusal) as caught:
            attempt()
        attempts.append((refusal, caught.value.message))
    assert len(attempts) == 9
    release = get_release(store, ADMIN, "other", "1.0")
    assert (release.index, release.evidence) == ("unstable", ())
    # of another commit than the one that it was built from: QA signed that one for somebody else
    for commit in (COMMIT, head(repository)):
        testify(stolen, "build", OWN, predicate_of_build(OWN, commit=commit) | {"made": in_run})
    add_tag(store, stolen, "demo", signed)
    for index in ("testing", "stable"):
        testify(stolen, "tests", OWN, predicate_of_tests(index=index, made=in_run))
    assert get_release(store, ADMIN, "demo", "1.0").index == "unstable"
    for verdict in judge_release(store, ADMIN, "demo", "1.0", to="stable").verdicts[:2]:
        assert verdict.outcome == "fail"
        assert COMMIT in verdict.reason
        assert head(repository) in verdict.reason
