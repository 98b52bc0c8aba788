"""Signed tags with real git and real ssh-keygen: every trap of signing that is known, each with a test."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.domain.people.access import Identity
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.errors import Conflict, Forbidden, InvalidInput, InvalidVersion, MissingTool, NotFound
from conveyor.operations.people.signers import add_signer, list_signers, revoke_signer
from conveyor.operations.releases.evidence import add_tag
from conveyor.operations.store.signatures import verify_signature
from conveyor.operations.store.store import read
from makers import make_store
from releases_made import (
    ADMIN,
    git,
    head,
    make_repository,
    make_ssh_key,
    public_key,
    run,
    sign_tag,
    tag_object,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.operations.store.store import Store

QA = "qa@team.example"
REGISTER = ", which an administrator registers first: conveyor store signer add {} --key FILE.pub"
"""A key that is here already, revoked or expired, cannot be registered again."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("git"))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ssh_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def tag(repository: Path, key: Path) -> bytes:
    return sign_tag(repository, key, "v1.2.1")


@pytest.fixture
def store(tmp_path: Path, key: Path) -> Store:
    """A store that knows the key as QA's."""
    made = make_store(tmp_path / "store")
    add_signer(made, ADMIN, NewSigner(QA, public_key(key)))
    return made


def test_signature_of_a_registered_signer_is_taken_in(store: Store, tag: bytes, repository: Path) -> None:
    received = add_tag(store, ADMIN, "demo", tag)
    assert (received.version, received.signed_by, received.is_new) == ("1.2.1", QA, True)
    with read(store) as connection:
        (found,) = evidence_of_release(connection, "demo", "1.2.1")
    assert (found.kind, found.commit_id, found.sha256) == ("qa-signature", head(repository), None)
    assert found.predicate["tag"] == "v1.2.1"
    assert found.is_signer_valid


def test_same_tag_again_is_known(store: Store, tag: bytes) -> None:
    first = add_tag(store, ADMIN, "demo", tag)
    again = add_tag(store, ADMIN, "Demo", tag)
    assert (again.id, again.is_new) == (first.id, False)


@pytest.mark.parametrize(("kind", "options"), [("ecdsa", ("-b", "384")), ("rsa", ("-b", "3072"))])
def test_keys_of_other_types_sign_too(
    store: Store, repository: Path, tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    other = make_ssh_key(tmp_path, kind, kind, *options)
    add_signer(store, ADMIN, NewSigner("second@team.example", public_key(other)))
    signed = sign_tag(repository, other, f"v2.0.{'1' if kind == 'rsa' else '2'}")
    assert add_tag(store, ADMIN, "demo", signed).signed_by == "second@team.example"


def test_renamed_tag_gives_the_version_that_was_signed(store: Store, repository: Path, tag: bytes) -> None:
    """The signed 1.2.1 stored under the name 9.9.9 verifies for git; here the name never counts."""
    signed = git(repository, "rev-parse", "v1.2.1").decode().strip()
    git(repository, "update-ref", "refs/tags/v9.9.9", signed)
    assert add_tag(store, ADMIN, "demo", tag_object(repository, "v9.9.9")).version == "1.2.1"


def test_tag_whose_header_was_changed_after_signing_is_refused(store: Store, tag: bytes) -> None:
    for changed in (
        tag.replace(b"tag v1.2.1\n", b"tag v9.9.9\n"),
        tag.replace(tag[7:47], b"f" * 40),
        tag.replace(b"release v1.2.1", b"release v1.2.2"),
    ):
        assert changed != tag
        with pytest.raises(InvalidInput, match="ssh-keygen does not verify"):
            add_tag(store, ADMIN, "demo", changed)


def test_nested_tag_is_refused(store: Store, repository: Path, key: Path, tag: bytes) -> None:
    nested = sign_tag(repository, key, "v1.2.3", target="v1.2.1")
    with pytest.raises(InvalidInput, match="not a commit"):
        add_tag(store, ADMIN, "demo", nested)


def test_unknown_key_is_refused_though_ssh_keygen_calls_it_good(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    """For a key that nobody registered it prints ``Good "git" signature``; its text is never believed."""
    stranger = make_ssh_key(tmp_path, "stranger")
    forged = sign_tag(repository, stranger, "v3.0")
    with pytest.raises(InvalidInput, match="is not registered"):
        add_tag(store, ADMIN, "demo", forged)


def test_exit_code_decides_when_the_key_in_the_signature_is_another_ones(
    store: Store, repository: Path, tmp_path: Path, key: Path
) -> None:
    """A signature that names QA's key, made with another: only the mathematics can tell."""
    stranger = make_ssh_key(tmp_path, "stranger")
    forged = parse_signed_tag(sign_tag(repository, stranger, "v3.1"))
    claimed = replace(forged, public_key=" ".join(public_key(key).split()[:2]))
    with pytest.raises(InvalidInput, match="ssh-keygen does not verify"):
        verify_signature(claimed, principal=QA)


def test_signature_for_another_purpose_is_refused(store: Store, key: Path, tag: bytes) -> None:
    payload = parse_signed_tag(tag).payload
    other = run("ssh-keygen", "-Y", "sign", "-q", "-n", "promotion", "-f", str(key), stdin=payload)
    with pytest.raises(InvalidInput, match='made for "promotion"'):
        add_tag(store, ADMIN, "demo", payload + other)


def test_revoked_key_is_refused_and_what_it_signed_counts_no_more(store: Store, tag: bytes) -> None:
    add_tag(store, ADMIN, "demo", tag)
    assert revoke_signer(store, ADMIN, QA) == 1
    with read(store) as connection:
        (found,) = evidence_of_release(connection, "demo", "1.2.1")
    assert not found.is_signer_valid
    with pytest.raises(InvalidInput, match="was revoked at") as caught:
        add_tag(store, ADMIN, "demo", tag)
    assert (caught.value.hint or "").endswith(f"with a new key{REGISTER.format(QA)}")
    with pytest.raises(NotFound):
        revoke_signer(store, ADMIN, QA)


def test_revoked_key_is_never_registered_again(store: Store, key: Path) -> None:
    revoke_signer(store, ADMIN, QA, public_key(key))
    with pytest.raises(Conflict, match="was revoked"):
        add_signer(store, ADMIN, NewSigner("other@team.example", public_key(key)))


def test_one_key_stands_for_one_person(store: Store, key: Path) -> None:
    with pytest.raises(Conflict, match="is already registered"):
        add_signer(store, ADMIN, NewSigner("other@team.example", public_key(key)))


def test_expired_key_is_refused_whatever_date_the_tag_bears(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    """The date in a tag is the signer's claim; what counts is when the store received it."""
    short = make_ssh_key(tmp_path, "short")
    soon = datetime.now(UTC) + timedelta(hours=1)
    add_signer(store, ADMIN, NewSigner("short@team.example", public_key(short), valid_until=soon.isoformat()))
    in_time = sign_tag(repository, short, "v4.0")
    assert add_tag(store, ADMIN, "demo", in_time).is_new
    back_dated = sign_tag(repository, short, "v4.1", date="2019-01-01T00:00:00Z")
    later = replace(store, clock=lambda: soon + timedelta(seconds=1))
    with pytest.raises(InvalidInput, match="expired at") as caught:
        add_tag(later, ADMIN, "demo", back_dated)
    assert (caught.value.hint or "").endswith(f"with a new key{REGISTER.format('short@team.example')}")


def test_signature_that_was_received_in_time_outlives_its_key(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    short = make_ssh_key(tmp_path, "short")
    soon = datetime.now(UTC) + timedelta(hours=1)
    add_signer(store, ADMIN, NewSigner("short@team.example", public_key(short), valid_until=soon.isoformat()))
    add_tag(store, ADMIN, "demo", sign_tag(repository, short, "v4.2"))
    later = replace(store, clock=lambda: soon + timedelta(days=1))
    with read(later) as connection:
        (found,) = evidence_of_release(connection, "demo", "4.2")
    assert found.is_signer_valid


def test_tag_that_names_no_version_is_refused(store: Store, repository: Path, key: Path) -> None:
    for name in ("nightly", "v1.2.1-final", "v1", "model-churn-7"):
        with pytest.raises(InvalidVersion):
            add_tag(store, ADMIN, "demo", sign_tag(repository, key, name))


def test_tag_that_is_not_signed_is_refused(store: Store, repository: Path) -> None:
    git(repository, "tag", "-a", "-m", "none", "v5.0")
    with pytest.raises(InvalidInput, match="not signed") as caught:
        add_tag(store, ADMIN, "demo", tag_object(repository, "v5.0"))
    assert "git -c gpg.format=ssh -c user.signingkey=KEY tag -f -s -m MESSAGE TAG COMMIT" in (
        caught.value.hint or ""
    )


def test_users_own_allowed_signers_and_git_settings_play_no_part(
    store: Store, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = make_ssh_key(tmp_path, "stranger")
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "allowed_signers").write_text(f"* {public_key(stranger)}")
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(InvalidInput, match="is not registered"):
        add_tag(store, ADMIN, "demo", sign_tag(repository, stranger, "v6.0"))


# --- the attacks that git's own check lets pass, or calls good ----------------------------------------------


@dataclass(frozen=True)
class Attack:
    """What an attacker made, and the lines of the file by which git knows its signers."""

    tag: str
    """The name under which it is stored."""
    allowed: str
    clock: datetime | None = None


def _renamed(repository: Path, key: Path, store: Store) -> Attack:
    signed = git(repository, "rev-parse", "v1.2.1").decode().strip()
    git(repository, "update-ref", "refs/tags/v9.9.9", signed)
    return Attack("v9.9.9", f"{QA} {public_key(key)}")


def _moved(repository: Path, key: Path, store: Store) -> Attack:
    sign_tag(repository, key, "v7.0")
    git(repository, "commit", "-q", "--allow-empty", "-m", "what the files are built from")
    return Attack("v7.0", f"{QA} {public_key(key)}")


def _nested(repository: Path, key: Path, store: Store) -> Attack:
    sign_tag(repository, key, "v7.1", target="v1.2.1")
    return Attack("v7.1", f"{QA} {public_key(key)}")


def _unknown(repository: Path, key: Path, store: Store) -> Attack:
    stranger = make_ssh_key(repository.parent, "unknown")
    sign_tag(repository, stranger, "v7.2")
    return Attack("v7.2", f"{QA} {public_key(key)}")


def _expired(repository: Path, key: Path, store: Store) -> Attack:
    old = make_ssh_key(repository.parent, "expired")
    soon = datetime.now(UTC) + timedelta(hours=1)
    add_signer(store, ADMIN, NewSigner("old@team.example", public_key(old), valid_until=soon.isoformat()))
    sign_tag(repository, old, "v7.3", date="2019-01-01T00:00:00Z")
    line = f'old@team.example valid-before="20200101000000Z" {public_key(old)}'
    return Attack("v7.3", line, clock=soon + timedelta(seconds=1))


def _revoked(repository: Path, key: Path, store: Store) -> Attack:
    sign_tag(repository, key, "v7.4")
    revoke_signer(store, ADMIN, QA)
    return Attack("v7.4", f"{QA} {public_key(key)}")


def _for_promotion(repository: Path, key: Path, store: Store) -> Attack:
    payload = parse_signed_tag(tag_object(repository, "v1.2.1")).payload.replace(b"v1.2.1", b"v7.5")
    other = run("ssh-keygen", "-Y", "sign", "-q", "-n", "promotion", "-f", str(key), stdin=payload)
    made = run(
        "git", "-C", str(repository), "hash-object", "-t", "tag", "-w", "--stdin", stdin=payload + other
    )
    git(repository, "update-ref", "refs/tags/v7.5", made.decode().strip())
    return Attack("v7.5", f"{QA} {public_key(key)}")


def _signers_of_the_commit(repository: Path, key: Path, store: Store) -> Attack:
    stranger = make_ssh_key(repository.parent, "named-by-the-commit")
    line = f"{QA} {public_key(stranger)}"
    (repository / "allowed_signers").write_text(line)
    (repository / "pyproject.toml").write_text('[tool.conveyor]\ngates = []\nsigners = "allowed_signers"\n')
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Name our own signers")
    sign_tag(repository, stranger, "v7.6")
    return Attack("v7.6", line)


ATTACKS: dict[str, tuple[Callable[[Path, Path, Store], Attack], int, str | None]] = {
    # row: (attack, exit code of git verify-tag, why we refuse it; None: it counts for what was signed alone)
    "1 the signed 1.2.1 stored under the name 9.9.9": (_renamed, 0, None),
    "2 a tag on another commit than the files": (_moved, 0, None),
    "2 a tag of a tag": (_nested, 0, "not a commit"),
    "3 an unknown key, which git calls Good": (_unknown, 1, "is not registered"),
    "4 an expired key and a tag dated before that": (_expired, 0, "expired at"),
    "5 a revoked key": (_revoked, 0, "was revoked at"),
    "6 a signature for another purpose": (_for_promotion, 1, 'made for "promotion"'),
    "7 signers and gates that the tagged commit names": (_signers_of_the_commit, 0, "is not registered"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_gains_no_signature_whatever_git_says(
    store: Store, tmp_path: Path, key: Path, name: str
) -> None:
    """Each row prints what ``git verify-tag`` says beside what the store does."""
    repository = make_repository(tmp_path)
    sign_tag(repository, key, "v1.2.1")
    before = head(repository)
    make, exit_code, reason = ATTACKS[name]
    attack = make(repository, key, store)
    (tmp_path / "allowed").write_text(attack.allowed)
    peer = subprocess.run(
        ["git", "-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={tmp_path / 'allowed'}",
         "verify-tag", attack.tag],
        cwd=repository, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "TZ": "UTC"},
    )  # fmt: skip
    then = store if attack.clock is None else replace(store, clock=lambda: attack.clock or datetime.now(UTC))
    try:
        received = add_tag(then, ADMIN, "demo", tag_object(repository, attack.tag))
        ours = f"counts for {received.version} at {before[:12]}"
    except InvalidInput as error:
        ours = error.message
    print(f"{name}\n  we: {ours}\n  git verify-tag: exit {peer.returncode}, {peer.stderr.splitlines()[0]}")  # noqa: T201
    assert peer.returncode == exit_code, peer.stderr
    with read(store) as connection:
        found = {
            version: evidence_of_release(connection, "demo", version)
            for version in ("1.2.1", attack.tag.removeprefix("v"))
        }
    if reason is not None:
        assert reason in ours
        assert not any(found.values())
        return
    (evidence,) = (one for several in found.values() for one in several)
    assert evidence.commit_id == before  # the commit that was signed, and the version that was signed
    assert evidence.predicate["tag"] == ("v1.2.1" if attack.tag == "v9.9.9" else attack.tag)
    assert found.get("9.9.9", ()) == ()


def test_missing_ssh_keygen_is_told_and_nothing_is_taken_in(
    store: Store, tag: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(MissingTool, match="ssh-keygen"):
        add_tag(store, ADMIN, "demo", tag)
    with read(store) as connection:
        assert evidence_of_release(connection, "demo", "1.2.1") == ()


def test_who_may_not_upload_hands_in_no_tag(store: Store, tag: bytes) -> None:
    for identity in (
        Identity("rea", frozenset({"read", "promote"})),
        Identity("ada", frozenset({"upload"}), projects=frozenset({"other"})),
    ):
        with pytest.raises(Forbidden):
            add_tag(store, identity, "demo", tag)


def test_only_administrators_decide_who_signs(store: Store, key: Path) -> None:
    worker = Identity("worker-1", frozenset({"read", "upload", "promote"}), worker="worker-1")
    with pytest.raises(Forbidden):
        add_signer(store, worker, NewSigner("eve@team.example", public_key(key)))
    with pytest.raises(Forbidden):
        revoke_signer(store, worker, QA)
    with pytest.raises(Forbidden):
        list_signers(store, worker)
    with pytest.raises(InvalidInput):
        add_signer(store, ADMIN, NewSigner("*", public_key(key)))
    with pytest.raises(InvalidInput):
        add_signer(
            store, ADMIN, NewSigner("x@team.example", public_key(key), valid_until="2001-01-01T00:00:00Z")
        )
