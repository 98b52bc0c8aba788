"""Verifies a bundle without its store: which of its evidence is genuine, and the chain of each file.

Steps: 1. the keys are what their names say, and pinned if keys are pinned; 2. each statement is signed by the
key of a worker that was not revoked; 3. each tag is signed by the key of a signer that counted when the store
received it; 4. what is genuine is judged as gates judge it (``domain.releases.bundles``).

No database, no network: this module runs on the machine of whoever received the files.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from conveyor.domain.distributions.filenames import distribution_filename
from conveyor.domain.people.access import check_user_name
from conveyor.domain.people.keys import (
    check_principal,
    fingerprint,
    key_id,
    parse_public_key,
    read_public_key,
    signer_fault,
)
from conveyor.domain.people.openpgp import stored_certificate
from conveyor.domain.releases.approvals import APPROVAL_TYPE, SignedApproval, is_approval, parse_approval
from conveyor.domain.releases.bundles import MAX_BUNDLE_BYTES, Bundle, Rejected, chain_of
from conveyor.domain.releases.evidence import Evidence, made_at, read_envelope, read_statement
from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.domain.words.notation import read_json, sha256_of
from conveyor.domain.words.records import as_json, read_record
from conveyor.errors import ChainBroken, InvalidInput, NotFound
from conveyor.operations.store.signatures import verified_worker, verify_signature

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.people.keys import Signer
    from conveyor.domain.releases.bundles import BundledEvidence, Chain
    from conveyor.domain.releases.tags import SignedTag

Pins = frozenset[tuple[str, str, str]]
"""(``worker`` or ``signer``, name, key) of each key that is trusted."""


def read_bundle(content: bytes) -> Bundle:
    """The bundle in a file.

    Raises:
        InvalidInput: it is none; names every fault.
    """
    if len(content) > MAX_BUNDLE_BYTES:
        raise InvalidInput(f"a bundle of {len(content)} bytes is over the limit of {MAX_BUNDLE_BYTES}")
    bundle = read_record(Bundle, read_json(content, what="the bundle"), what="the bundle", is_told=True)
    check_keys(bundle)
    return bundle


def write_bundle(bundle: Bundle) -> bytes:
    """The file of a bundle: JSON, indented, for people to look at."""
    return (json.dumps(as_json(bundle), indent=1, sort_keys=True) + "\n").encode()


def verify_release(bundle: Bundle, *, pins: Pins | None = None) -> tuple[Chain, ...]:
    """The chain of every file that the bundle names; ``pins``: the keys that count, ``None`` for all."""
    evidence, rejected = genuine_evidence(bundle, pins=pins)
    return tuple(
        chain_of(bundle, file, evidence=evidence, rejected=rejected, has_bytes=False) for file in bundle.files
    )


def verify_file(bundle: Bundle, path: Path, *, pins: Pins | None = None) -> Chain:
    """The chain of a file on this machine.

    Raises:
        NotFound: the bundle's release has no file of that name.
        ChainBroken: the file has other bytes than the release names.
        InvalidDistribution: its name is not that of a distribution.
    """
    with path.open("rb") as stream:
        digest = sha256_of(stream)
    named = next((one for one in bundle.files if one.filename == path.name), None)
    if named is None:
        about = distribution_filename(path.name)
        raise NotFound(
            f"{bundle.project} {bundle.version} has no file {path.name}",
            hint=f"take the bundle of {about.project}=={about.version}; here are "
            + ", ".join(one.filename for one in bundle.files),
        )
    if digest != named.sha256:
        raise ChainBroken(
            f"the link file is wrong: {path} has the SHA-256 {digest}, the release's has {named.sha256}",
            hint="it is not the file that was tested: fetch it again, and find out who changed it",
        )
    evidence, rejected = genuine_evidence(bundle, pins=pins)
    return chain_of(bundle, named, evidence=evidence, rejected=rejected, has_bytes=True)


def genuine_evidence(bundle: Bundle, *, pins: Pins | None) -> tuple[tuple[Evidence, ...], list[Rejected]]:
    """(what is genuine, the earliest made first; what is not, and why)."""
    # 1. the keys
    check_keys(bundle)
    genuine: list[Evidence] = []
    rejected: list[Rejected] = []
    for one in bundle.evidence:
        try:
            # 2. statements of workers, 3. tags and approvals of signers
            if one.kind == "qa-signature":
                found = _of_signer(bundle, one, pins)
            else:
                found = _of_worker(bundle, one, pins)
        except InvalidInput as error:
            found = Rejected(one.kind, None, error.message)
        if isinstance(found, Evidence):
            genuine.append(found)
        else:
            rejected.append(found)
    # The sort is stable: of equal times, the order of receipt stays.
    return tuple(sorted(genuine, key=lambda one: one.made_at or one.received_at)), rejected


def check_keys(bundle: Bundle) -> None:
    """Accept the keys of a bundle: each is the one that its name says, and belongs to a possible name.

    Raises:
        InvalidInput: some are not; all are named.
    """
    faults = []
    for worker in bundle.workers:
        try:
            check_user_name(worker.name)
            if key_id(read_public_key(worker.public_key)) != worker.key_id:
                faults.append(f"the key of worker {worker.name} is not {worker.key_id}")
        except InvalidInput as error:
            faults.append(error.message)
    for signer in bundle.signers:
        try:
            check_principal(signer.principal)
            if _name_of_key(signer) != signer.public_key:
                faults.append(f"the key of {signer.principal} is not {signer.public_key[:80]}")
        except InvalidInput as error:
            faults.append(error.message)
    if faults:
        raise InvalidInput(f"the bundle cannot be used: {faults[0]}", faults=faults)


def _name_of_key(signer: Signer) -> str:
    if signer.certificate is None:
        return parse_public_key(signer.public_key)
    try:
        return stored_certificate(signer.certificate).name
    except ValueError as error:
        raise InvalidInput(f"the OpenPGP key of {signer.principal} cannot be read") from error


def _of_worker(bundle: Bundle, given: BundledEvidence, pins: Pins | None) -> Evidence | Rejected:
    envelope = read_envelope(given.signed)
    said = read_statement(envelope.payload)
    if said.kind != given.kind:
        return Rejected(given.kind, said.sha256, f"a statement is one of {said.kind}, not of {given.kind}")
    named = [one for one in bundle.workers if one.key_id in dict(envelope.signatures)]
    worker, problems = verified_worker(envelope, named)
    if worker is None:
        return Rejected(said.kind, said.sha256, "; ".join(problems))
    if pins is not None and ("worker", worker.name, worker.key_id) not in pins:
        return Rejected(
            said.kind, said.sha256, f"the key {worker.key_id} of worker {worker.name} is not trusted"
        )
    about = next((one for one in bundle.files if one.sha256 == said.sha256), None)
    of_release = (said.predicate["project"], said.predicate["version"]) == (bundle.project, bundle.version)
    if about is None or about.filename != said.filename or not of_release:
        return Rejected(said.kind, said.sha256, f"a statement of {worker.name} is about another release")
    commit = said.predicate["commit"] if said.kind == "build" else None
    return Evidence(
        kind=said.kind, sha256=said.sha256, commit_id=commit, signed_by=worker.name,
        received_at=given.received_at, is_signer_valid=True, predicate=said.predicate,
        made_at=made_at(said.predicate, received_at=given.received_at),
    )  # fmt: skip


def _of_signer(bundle: Bundle, given: BundledEvidence, pins: Pins | None) -> Evidence | Rejected:
    signed = parse_approval(given.signed) if is_approval(given.signed) else parse_signed_tag(given.signed)
    signer = next((one for one in bundle.signers if _has_key(one, signed)), None)
    if signer is None:
        problem = (
            f"the key {fingerprint(signed.public_key)} that signed {signed.subject} is not in the bundle"
        )
        return Rejected(given.kind, None, problem)
    key = fingerprint(signer.public_key)
    fault = signer_fault(signer, key, at=given.received_at)
    if pins is not None and ("signer", signer.principal, key) not in pins:
        fault = f"the key {key} of {signer.principal} is not trusted"
    if signer.projects is not None and bundle.project not in signer.projects:
        fault = f"{signer.principal} may not sign for {bundle.project}"
    if fault is not None:
        return Rejected(given.kind, None, fault)
    certificate = None if signer.certificate is None else stored_certificate(signer.certificate)
    # It counted when the store received it; that it has expired since takes nothing back.
    verify_signature(signed, principal=signer.principal, certificate=certificate, accepts_expired=True)
    if isinstance(signed, SignedApproval):
        if (signed.facts.project, signed.facts.version) != (bundle.project, bundle.version):
            problem = f"{signed.subject} is about another release"
            return Rejected(given.kind, None, problem)
        commit, predicate = None, {"approval": APPROVAL_TYPE, "files": dict(signed.files), "key": key}
    else:
        commit = signed.commit
        predicate = {
            "tag": signed.tag, "tag_object": signed.object_id, "commit": commit, "message": signed.message,
            "key": key,
        }  # fmt: skip
    return Evidence(
        kind="qa-signature", sha256=None, commit_id=commit, signed_by=f"{signer.principal} ({key})",
        received_at=given.received_at, is_signer_valid=True, predicate=predicate,
        signer_indexes=signer.indexes,
    )  # fmt: skip


def _has_key(signer: Signer, signed: SignedTag | SignedApproval) -> bool:
    if signer.certificate is None:
        return signer.public_key == signed.public_key
    return fingerprint(signed.public_key) in stored_certificate(signer.certificate).keys
