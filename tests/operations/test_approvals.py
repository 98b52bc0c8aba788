"""Approvals and the reach of signers, with real ssh-keygen and gpg, and the command that makes them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conveyor.cli import run as call
from conveyor.client.approvals import sign_with_openpgp, sign_with_ssh
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.releases.approvals import FactsOfApproval, approval_statement
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, InvalidInput, NotFound, Unauthorized
from conveyor.operations.people.signers import add_signer, list_signers, revoke_signer
from conveyor.operations.releases.evidence import add_approval, add_tag, export_bundle
from conveyor.operations.releases.promotions import judge_release
from conveyor.operations.releases.standing import get_release
from conveyor.operations.releases.verification import verify_release
from conveyor.operations.store.facts import store_id
from gpg_keys import gpg_home
from makers import make_store
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
    run,
    sign_tag,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store

QA = "qa@team.example"
READER = Identity("rea", frozenset({"read"}))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ssh_key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def store(tmp_path: Path, key: Path) -> Store:
    """A store that knows the key as QA's, with a release in "testing" that was tested for "stable"."""
    made = make_store(tmp_path / "store")
    add_signer(made, ADMIN, NewSigner(QA, public_key(key)))
    worker = make_worker(made)
    _, wheel = make_release(made, worker)
    for index in ("testing", "stable"):
        hand_in(made, worker, "tests", wheel, predicate_of_tests(index=index))
    return made


def statement_of(store: Store, *, meant_for: str | None = None, at: str | None = None) -> bytes:
    """What its signer signs, or would sign for another store, at another time."""
    release = get_release(store, ADMIN, "demo", "1.0")
    files = {file.filename: file.sha256 for file in release.files}
    facts = FactsOfApproval("demo", "1.0", meant_for or store_id(store), at or utc_text(store.clock()))
    return approval_statement(files, facts=facts)


def test_approval_is_the_last_fact_and_its_bundle_proves_it(store: Store, key: Path) -> None:
    assert get_release(store, ADMIN, "demo", "1.0").index == "testing"
    content = sign_with_ssh(statement_of(store), key)
    received = add_approval(store, READER, content)
    assert (received.signed_by, received.is_new) == (QA, True)
    assert get_release(store, ADMIN, "demo", "1.0").index == "stable"
    assert not add_approval(store, READER, content).is_new
    bundle = export_bundle(store, ADMIN, "demo", "1.0")
    for chain in verify_release(bundle):
        assert chain.broken == ()
    forged = content.replace(b'"1.0"', b'"1.1"')
    told = base64.b64encode(forged).decode()
    changed = tuple(
        replace(one, content=told) if one.kind == "qa-signature" else one for one in bundle.evidence
    )
    for chain in verify_release(replace(bundle, evidence=changed)):
        assert [link.name for link in chain.broken] == ["signed"]


def test_approval_for_another_store_time_or_file_is_refused_with_every_fault(store: Store, key: Path) -> None:
    elsewhere = sign_with_ssh(statement_of(store, meant_for="another", at="2999-01-01T00:00:00.000000Z"), key)
    with pytest.raises(InvalidInput) as caught:
        add_approval(store, ADMIN, elsewhere)
    assert len(caught.value.faults) == 2
    facts = FactsOfApproval("demo", "1.0", store_id(store), utc_text(store.clock()))
    wrong = approval_statement({"demo-1.0.tar.gz": "0" * 64, "more.whl": "1" * 64}, facts=facts)
    with pytest.raises(InvalidInput) as caught:
        add_approval(store, ADMIN, sign_with_ssh(wrong, key))
    told = " ".join(caught.value.faults)
    for part in (
        "demo-1.0.tar.gz has the SHA-256",
        "has no file more.whl",
        "does not name the file demo-1.0-py3",
    ):
        assert part in told
    missing = approval_statement({"other-1.0.tar.gz": "0" * 64}, facts=replace(facts, project="other"))
    with pytest.raises(NotFound):
        add_approval(store, READER, sign_with_ssh(missing, key))
    with pytest.raises(Unauthorized):
        add_approval(store, ANONYMOUS, sign_with_ssh(statement_of(store), key))


def test_signature_for_another_purpose_or_of_another_statement_is_no_approval(
    store: Store, key: Path, tmp_path: Path
) -> None:
    statement = statement_of(store)
    (tmp_path / "statement").write_bytes(statement)
    run("ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key), str(tmp_path / "statement"))
    for_git = statement + (tmp_path / "statement.sig").read_bytes()
    with pytest.raises(InvalidInput, match='was made for "git", not for "conveyor-approval"'):
        add_approval(store, ADMIN, for_git)
    good = sign_with_ssh(statement, key)
    changed = good.replace(b"demo-1.0.tar.gz", b"demo-1.0.tar.xz")
    with pytest.raises(InvalidInput):
        add_approval(store, ADMIN, changed)
    signature = good[len(statement) :]
    other = statement_of(store, at="2020-01-01T00:00:00.000000Z")
    with pytest.raises(InvalidInput, match="ssh-keygen does not verify the signature on the app"):
        add_approval(store, ADMIN, other + signature)
    for broken in (statement, signature, b"{}", good + b"more\n", good + good):
        with pytest.raises(InvalidInput):
            add_approval(store, ADMIN, broken)
    with pytest.raises(InvalidInput, match="the tag object is refused"):
        add_tag(store, ADMIN, "demo", good)


def test_openpgp_key_approves_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with gpg_home() as home:
        name = home.make_key("second")
        add_signer(store, ADMIN, NewSigner("second@team.example", home.export(name)))
        monkeypatch.setenv("GNUPGHOME", str(home.folder))
        content = sign_with_openpgp(statement_of(store), name)
    assert add_approval(store, ADMIN, content).signed_by == "second@team.example"
    revoke_signer(store, ADMIN, "second@team.example")
    with pytest.raises(InvalidInput, match="was revoked at"):
        add_approval(store, ADMIN, content)


def test_signers_sign_for_their_projects_and_indexes_only(store: Store, key: Path, tmp_path: Path) -> None:
    """Registering the key again changes its reach, for signatures of before too."""
    repository = make_repository(tmp_path)
    add_signer(store, ADMIN, NewSigner(QA, public_key(key), projects=("Other",)))
    assert list_signers(store, ADMIN)[0].projects == ("other",)
    with pytest.raises(InvalidInput, match=r"qa@team\.example may not sign for demo"):
        add_approval(store, ADMIN, sign_with_ssh(statement_of(store), key))
    with pytest.raises(InvalidInput, match=r"qa@team\.example may not sign for demo"):
        add_tag(store, ADMIN, "demo", sign_tag(repository, key, "v1.0"))
    add_signer(store, ADMIN, NewSigner(QA, public_key(key), projects=("demo",), indexes=("testing",)))
    add_approval(store, ADMIN, sign_with_ssh(statement_of(store), key))
    verdicts = {one.gate: one for one in judge_release(store, ADMIN, "demo", "1.0", to="stable").verdicts}
    assert 'may not sign for "stable"' in verdicts["qa-signature"].reason
    with pytest.raises(InvalidInput, match='there is no index "nowhere"'):
        add_signer(store, ADMIN, NewSigner(QA, public_key(key), indexes=("nowhere",)))
    add_signer(store, ADMIN, NewSigner(QA, public_key(key)))
    with pytest.raises(Conflict, match="already registered"):
        add_signer(store, ADMIN, NewSigner(QA, public_key(key)))
    verdicts = {one.gate: one for one in judge_release(store, ADMIN, "demo", "1.0", to="stable").verdicts}
    assert verdicts["qa-signature"].outcome == "pass"


def test_command_shows_what_it_signs_and_where_the_release_is_then(
    store: Store, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--data", str(store.data)]
    assert call(["approve", "demo", "1.0", *place]) == 2
    assert "needs one of --key and --openpgp" in capsys.readouterr().err
    assert call(["approve", "demo", "1.0", "--key", str(key), *place]) == 0
    shown = capsys.readouterr()
    assert shown.out == f'{QA} approved demo 1.0, which is in "stable"\n'
    assert shown.err.count("demo-1.0") == 2
    assert call(["why", "demo", "1.0", "--json", *place]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["gate"]: one["reason"] for one in told["verdicts"]}[
        "qa-signature"
    ] == f"{QA} signed its files"


def test_signed_tag_of_another_project_at_the_same_commit_opens_nothing(
    store: Store, key: Path, tmp_path: Path
) -> None:
    """The worker says of demo 2.0 that it comes from a commit that QA signed for another project."""
    repository = make_repository(tmp_path)
    worker = make_worker(store, "worker-2")
    _, wheel = make_release(store, worker, version="2.0", commit=head(repository))
    for index in ("testing", "stable"):
        hand_in(store, worker, "tests", wheel, predicate_of_tests(version="2.0", index=index))
    foreign = sign_tag(repository, key, "other/v2.0")
    add_tag(store, ADMIN, "demo", foreign)
    assert get_release(store, ADMIN, "demo", "2.0").index == "testing"
    add_tag(store, ADMIN, "demo", sign_tag(repository, key, "demo/v2.0"))
    assert get_release(store, ADMIN, "demo", "2.0").index == "stable"
