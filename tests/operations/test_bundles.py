"""Bundles of real stores: exported, verified without the store, and damaged in every way that is known."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.cli import run
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.releases.bundles import Bundle, read_trust, trust_lines
from conveyor.errors import ChainBroken, InvalidInput, NotFound
from conveyor.operations.people.signers import add_signer, revoke_signer, revoke_worker
from conveyor.operations.releases.evidence import add_tag, export_bundle
from conveyor.operations.releases.verification import read_bundle, verify_file, verify_release, write_bundle
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
    sign_tag,
)

if TYPE_CHECKING:
    from distributions_made import Made

QA = "qa@team.example"


class World:
    """A store with a signed release of an sdist and a tested wheel, and its bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = make_store(folder / "store")
        self.worker = make_worker(self.store)
        self.repository = make_repository(folder / "git")
        self.key = make_ssh_key(folder)
        add_signer(self.store, ADMIN, NewSigner(QA, public_key(self.key)))
        self.files = make_release(self.store, self.worker, version="1.2.1", commit=head(self.repository))
        self.tested(self.files[1])
        add_tag(self.store, ADMIN, "demo", sign_tag(self.repository, self.key, "v1.2.1"))
        self.bundle = self.export()

    def tested(self, made: Made, **changed: Any) -> None:
        hand_in(self.store, self.worker, "tests", made, predicate_of_tests(version="1.2.1", **changed))

    def export(self) -> Bundle:
        return read_bundle(write_bundle(export_bundle(self.store, ADMIN, "demo", "1.2.1")))

    @property
    def wheel(self) -> Path:
        return self.files[1].write(self.folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    (folder / "git").mkdir()
    return World(folder)


def states(bundle: Bundle, *, pins: frozenset[tuple[str, str, str]] | None = None) -> dict[str, str]:
    """Link → state, of the wheel."""
    chain = next(one for one in verify_release(bundle, pins=pins) if one.filename.endswith(".whl"))
    return {link.name: link.state for link in chain.links}


def said(bundle: Bundle, link: str, *, pins: frozenset[tuple[str, str, str]] | None = None) -> str:
    chain = next(one for one in verify_release(bundle, pins=pins) if one.filename.endswith(".whl"))
    return next(one.detail for one in chain.links if one.name == link)


WHOLE = {"file": "verified", "tested": "verified", "built": "verified", "signed": "verified"}


def test_every_link_of_a_whole_release_is_verified_and_told_with_its_evidence(world: World) -> None:
    assert states(world.bundle) == WHOLE
    assert all(not chain.broken for chain in verify_release(world.bundle))
    assert "3 passed on Python 3.11.7, linux-x86_64, against unstable; said by worker-1" in said(
        world.bundle, "tested"
    )
    assert f"from commit {head(world.repository)}" in said(world.bundle, "built")
    assert f"{QA} (SHA256:" in said(world.bundle, "signed")
    assert not verify_file(world.bundle, world.wheel).broken


def test_file_with_other_bytes_and_file_of_another_release_are_told_apart(
    world: World, tmp_path: Path
) -> None:
    changed = tmp_path / world.wheel.name
    changed.write_bytes(world.wheel.read_bytes() + b"x")
    with pytest.raises(ChainBroken, match="the link file is wrong"):
        verify_file(world.bundle, changed)
    other = tmp_path / "demo-9.9.9-py3-none-any.whl"
    other.write_bytes(b"")
    with pytest.raises(NotFound, match="has no file demo-9"):
        verify_file(world.bundle, other)


def without(bundle: Bundle, kind: str) -> Bundle:
    return replace(bundle, evidence=tuple(one for one in bundle.evidence if one.kind != kind))


@pytest.mark.parametrize(
    ("kind", "link"), [("tests", "tested"), ("build", "built"), ("qa-signature", "signed")]
)
def test_link_without_evidence_is_missing(world: World, kind: str, link: str) -> None:
    assert states(without(world.bundle, kind))[link] == "missing"


def altered(bundle: Bundle, kind: str, old: bytes, new: bytes) -> Bundle:
    """The bundle with some bytes inside what was signed replaced."""
    changed = []
    for one in bundle.evidence:
        content = one.signed
        if one.kind == kind and kind != "qa-signature":
            body = json.loads(content)
            payload = base64.b64decode(body["payload"])
            assert old in payload
            body["payload"] = base64.b64encode(payload.replace(old, new)).decode()
            content = json.dumps(body).encode()
        elif one.kind == kind:
            assert old in content
            content = content.replace(old, new)
        changed.append(replace(one, content=base64.b64encode(content).decode()))
    return replace(bundle, evidence=tuple(changed))


def test_statement_that_was_altered_is_wrong(world: World) -> None:
    forged = altered(world.bundle, "tests", b'"passed":3', b'"passed":9')
    assert states(forged) == WHOLE | {"tested": "wrong"}
    assert "the signature is not that of worker worker-1" in said(forged, "tested")
    commit = head(world.repository).encode()
    forged = altered(world.bundle, "build", commit, commit[::-1])
    assert (states(forged)["built"], states(forged)["tested"]) == ("wrong", "verified")
    forged = altered(world.bundle, "qa-signature", b"release v1.2.1", b"release v1.2.2")
    assert states(forged) == WHOLE | {"signed": "wrong"}
    assert "ssh-keygen does not verify" in said(forged, "signed")


def test_keys_that_are_not_pinned_do_not_count(world: World) -> None:
    every = read_trust("\n".join([*trust_lines(world.bundle), "# a remark", ""]))
    assert states(world.bundle, pins=every) == WHOLE
    workers = frozenset(one for one in every if one[0] == "worker")
    assert states(world.bundle, pins=workers) == WHOLE | {"signed": "wrong"}
    assert f"of {QA} is not trusted" in said(world.bundle, "signed", pins=workers)
    only_signers = {"file": "verified", "tested": "wrong", "built": "wrong", "signed": "missing"}
    assert states(world.bundle, pins=every - workers) == only_signers
    with pytest.raises(InvalidInput, match="line 1 is not a role, a name and a key"):
        read_trust("anybody may sign this\n")


def test_key_that_is_not_the_one_its_name_says_is_refused(world: World) -> None:
    (worker,), (signer,) = world.bundle.workers, world.bundle.signers
    for forged in (
        replace(world.bundle, workers=(replace(worker, key_id="0" * 64),)),
        replace(world.bundle, signers=(replace(signer, public_key="openpgp ABC", certificate="!"),)),
        replace(world.bundle, signers=(replace(signer, principal="*"),)),
    ):
        with pytest.raises(InvalidInput, match="the bundle cannot be used"):
            read_bundle(write_bundle(forged))


def test_evidence_of_another_release_does_not_count(world: World) -> None:
    files = tuple(replace(one, filename=one.filename.replace("1.2.1", "1.2.2")) for one in world.bundle.files)
    assert "is about another release" in said(replace(world.bundle, version="1.2.2", files=files), "tested")


def test_later_failure_and_revocations_count(tmp_path: Path) -> None:
    (tmp_path / "git").mkdir()
    world = World(tmp_path)
    world.tested(world.files[1], failed=1)
    assert states(world.export())["tested"] == "wrong"
    revoke_signer(world.store, ADMIN, QA)
    assert "was revoked at" in said(world.export(), "signed")
    revoke_worker(world.store, ADMIN, "worker-1")
    assert states(world.export())["built"] == "wrong"


def test_openpgp_signature_is_verified_from_the_bundle_after_its_key_has_expired(world: World) -> None:
    with gpg_home() as home:
        key = home.make_key("short", expires="20260201T000000")
        tag = home.sign_tag(world.repository, key, "v1.2.1", at="20260110T000000")
        certificate = base64.b64encode(home.run("--export", key)).decode()
    received = "2026-01-11T00:00:00.000000Z"
    (signer,) = world.bundle.signers
    signed = replace(signer, kind="openpgp", public_key=f"openpgp {key}", certificate=certificate)
    evidence = tuple(
        replace(one, content=base64.b64encode(tag).decode(), received_at=received)
        if one.kind == "qa-signature"
        else one
        for one in world.bundle.evidence
    )
    until = replace(signed, valid_until="2026-02-01T00:00:00.000000Z")
    bundle = replace(world.bundle, signers=(until,), evidence=evidence)
    assert states(bundle) == WHOLE
    late = tuple(replace(one, received_at="2026-03-01T00:00:00.000000Z") for one in evidence)
    assert "expired at" in said(replace(bundle, evidence=late), "signed")


def test_command_exports_and_verifies_offline(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, trust = str(tmp_path / "demo.bundle"), tmp_path / "trust"
    data = str(world.folder / "store")
    assert run(["verify", "demo==1.2.1", "--data", data, "--export", bundle]) == 0
    capsys.readouterr()
    assert run(["verify", "demo==1.2.1", "--bundle", bundle, "--keys"]) == 0
    trust.write_text(capsys.readouterr().out)
    assert run(["verify", str(world.wheel), "--bundle", bundle, "--trust", str(trust)]) == 0
    shown = capsys.readouterr()
    assert "verified  signed" in shown.out
    assert "--trust" not in shown.err
    assert run(["verify", "demo==1.2.1", "--bundle", bundle, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys_are_pinned"] is False
    trust.write_text("signer somebody@else SHA256:x\n")
    assert run(["verify", "demo==1.2.1", "--bundle", bundle, "--trust", str(trust)]) == 4
    assert "tested is wrong for demo-1.2.1-py3-none-any.whl" in capsys.readouterr().err
    Path(bundle).write_bytes(write_bundle(without(world.bundle, "qa-signature")))
    assert run(["verify", "demo==1.2.1", "--bundle", bundle]) == 4
    assert "signed is missing" in capsys.readouterr().err
    assert run(["verify", "demo==1.2.1", "--bundle", bundle, "--unsigned"]) == 0
    assert run(["verify", "demo==1.2.2", "--bundle", bundle]) == 2
    assert run(["verify", "demo==1.2.1"]) == 2
