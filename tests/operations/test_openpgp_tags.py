"""Tags signed with OpenPGP by real gpg and git, verified by real gpgv."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.people.openpgp import Certificate, read_certificate
from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.errors import Conflict, InvalidInput, MissingTool
from conveyor.operations.people.signers import add_signer, list_signers, revoke_signer
from conveyor.operations.releases.evidence import add_tag
from conveyor.operations.store.signatures import verify_signature
from conveyor.operations.store.store import read
from gpg_keys import GpgHome, gpg_home
from makers import make_store
from releases_made import ADMIN, make_repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.operations.store.store import Store

QA = "qa@team.example"


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with gpg_home() as made:
        yield made


@pytest.fixture(scope="module")
def key(home: GpgHome) -> str:
    return home.make_key("qa")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("git"))


@pytest.fixture(scope="module")
def tag(home: GpgHome, key: str, repository: Path) -> bytes:
    return home.sign_tag(repository, key, "v1.2.1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store")


def test_tag_of_a_registered_key_counts_until_the_key_is_revoked(
    store: Store, home: GpgHome, key: str, tag: bytes
) -> None:
    added = add_signer(store, ADMIN, NewSigner(QA, home.export(key)))
    assert (added.kind, added.public_key, added.valid_until) == ("openpgp", f"openpgp {key}", None)
    received = add_tag(store, ADMIN, "demo", tag)
    assert (received.version, received.signed_by, received.is_new) == ("1.2.1", QA, True)
    for is_valid in (True, False):
        with read(store) as connection:
            (found,) = evidence_of_release(connection, "demo", "1.2.1")
        assert (found.predicate["key"], found.is_signer_valid) == (key, is_valid)
        if is_valid:
            assert revoke_signer(store, ADMIN, QA) == 1
    with pytest.raises(InvalidInput, match=f"the key {key} of {QA} was revoked"):
        add_tag(store, ADMIN, "demo", tag)
    with pytest.raises(Conflict, match="was revoked"):
        add_signer(store, ADMIN, NewSigner(QA, home.export(key)))


def test_key_that_is_not_registered_does_not_count(store: Store, key: str, tag: bytes) -> None:
    with pytest.raises(InvalidInput, match=f"the key {key} that signed v1.2.1 is not registered"):
        add_tag(store, ADMIN, "demo", tag)


def test_subkey_counts_for_its_key_which_is_renewed_when_it_gets_another(
    store: Store, home: GpgHome, repository: Path
) -> None:
    primary = home.make_key("subkeys", usage="cert")
    first = home.add_subkey(primary)
    add_signer(store, ADMIN, NewSigner(QA, home.export(primary)))
    with pytest.raises(Conflict, match="is already registered"):
        add_signer(store, ADMIN, NewSigner(QA, home.export(primary)))
    assert add_tag(store, ADMIN, "demo", home.sign_tag(repository, f"{first}!", "v2.0.0")).signed_by == QA
    second = home.add_subkey(primary)
    tag = home.sign_tag(repository, f"{second}!", "v2.0.1")
    with pytest.raises(InvalidInput, match=f"the key {second} that signed v2.0.1 is not registered"):
        add_tag(store, ADMIN, "demo", tag)
    with pytest.raises(Conflict, match="is already registered"):
        add_signer(store, ADMIN, NewSigner("other@team.example", home.export(primary)))
    add_signer(store, ADMIN, NewSigner(QA, home.export(primary)))
    assert add_tag(store, ADMIN, "demo", tag).signed_by == QA
    assert len(list_signers(store, ADMIN)) == 1


def test_key_counts_until_it_expires_by_the_time_of_receipt(
    tmp_path: Path, home: GpgHome, repository: Path
) -> None:
    key = home.make_key("short", expires="20400101T000000")
    now = datetime(2039, 1, 1, tzinfo=UTC)
    store = replace(make_store(tmp_path / "store"), clock=lambda: now)
    assert (
        add_signer(store, ADMIN, NewSigner(QA, home.export(key))).valid_until == "2040-01-01T00:00:00.000000Z"
    )
    tag = home.sign_tag(repository, key, "v3.0.0")
    add_tag(store, ADMIN, "demo", tag)
    now = datetime(2041, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidInput, match=f"the key {key} of {QA} expired at 2040-01-01"):
        add_tag(store, ADMIN, "demo", tag)
    late = replace(make_store(tmp_path / "late"), clock=lambda: now)
    with pytest.raises(InvalidInput, match=r"expired at 2040-01-01") as caught:
        add_signer(late, ADMIN, NewSigner(QA, home.export(key)))
    assert "--quick-set-expire" in str(caught.value.hint)


def test_expired_subkey_does_not_count(store: Store, home: GpgHome, repository: Path) -> None:
    primary = home.make_key("oldsub", usage="cert")
    subkey = home.add_subkey(primary, expires="20260201T000000")
    add_signer(store, ADMIN, NewSigner(QA, home.export(primary)))
    tag = home.sign_tag(repository, f"{subkey}!", "v4.0.0", at="20260110T000000")
    with pytest.raises(InvalidInput, match=r"gpgv does not verify .* its key has expired"):
        add_tag(store, ADMIN, "demo", tag)


def test_signature_by_sha1_does_not_count(store: Store, home: GpgHome, key: str, repository: Path) -> None:
    add_signer(store, ADMIN, NewSigner(QA, home.export(key)))
    weak = home.sign_tag(repository, key, "v5.0.0", "--digest-algo", "SHA1")
    with pytest.raises(InvalidInput, match="made with a weak hash; SHA-256, SHA-384, SHA-512 count"):
        add_tag(store, ADMIN, "demo", weak)


def test_changed_tag_and_borrowed_signature_are_refused(
    store: Store, home: GpgHome, key: str, tag: bytes, repository: Path
) -> None:
    add_signer(store, ADMIN, NewSigner(QA, home.export(key)))
    other = parse_signed_tag(home.sign_tag(repository, key, "v1.2.2"))
    signed = parse_signed_tag(tag)
    for forged in (tag.replace(b"release v1.2.1", b"release v9.9.9"), signed.payload + other.signature):
        with pytest.raises(InvalidInput, match=r"gpgv does not verify the signature on v1.2.1"):
            add_tag(store, ADMIN, "demo", forged)


def test_subkey_that_was_glued_to_another_key_is_refused(home: GpgHome, key: str, repository: Path) -> None:
    primary = home.make_key("stranger", usage="cert")
    subkey = home.add_subkey(primary)
    tag = parse_signed_tag(home.sign_tag(repository, f"{subkey}!", "v6.0.0"))
    foreign = read_certificate(home.export(primary)).content
    start = foreign.index(b"\xb8\x33\x04")  # the subkey's packet: old form, 51 bytes, version 4
    glued = read_certificate(home.export(key)).content + foreign[start:]
    with pytest.raises(InvalidInput, match=r"gpgv does not verify"):
        verify_signature(
            tag, principal=QA, certificate=Certificate(key, frozenset({key, subkey}), None, glued)
        )
    verify_signature(tag, principal=QA, certificate=read_certificate(home.export(primary)))


def test_keys_that_are_private_revoked_two_or_binary_are_refused(home: GpgHome, key: str) -> None:
    private = home.run("--armor", "--export-secret-keys", key).decode()
    with pytest.raises(InvalidInput, match="private key"):
        read_certificate(private)
    disguised = private.replace("PRIVATE KEY BLOCK", "PUBLIC KEY BLOCK")
    with pytest.raises(InvalidInput, match="private key"):
        read_certificate(disguised)
    other = home.make_key("withdrawn")
    with pytest.raises(InvalidInput, match="holds 2 OpenPGP keys"):
        read_certificate(home.export(key, other))
    revocation = (home.folder / "openpgp-revocs.d" / f"{other}.rev").read_text().replace(":---", "---")
    home.run("--import", stdin=revocation.encode())
    with pytest.raises(InvalidInput, match=f"the key {other} is revoked"):
        read_certificate(home.export(other))
    for text in (home.export(key)[:-60], "openpgp " + key, base64.b64encode(bytes(99)).decode()):
        with pytest.raises(InvalidInput, match="cannot be read"):
            read_certificate(text)


def test_store_without_gpgv_names_it(
    home: GpgHome, key: str, tag: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match=r"gpgv is not installed on the store") as caught:
        verify_signature(
            parse_signed_tag(tag), principal=QA, certificate=Certificate(key, frozenset(), None, b"")
        )
    assert caught.value.hint == "install gpgv there"
