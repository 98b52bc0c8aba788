"""Evidence: take in what workers, signers and jobs of CI hosts state, and keep it as they signed or said it.

All of it goes through the same steps: 1. may the caller hand something in; 2. is it well-formed; 3. whose
word it is: of a signer who is valid now and whose signature is genuine, or of a job by its token; 4. is it
about something here; 5. write it, once. Handing in the same signed statement again, however its envelope is
spelled, returns the same answer and changes nothing.

Evidence is not judged here beyond that: failing tests are evidence too. Gates judge (``judging``).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from conveyor.catalog.indexes.definitions import all_indexes, claims_on
from conveyor.catalog.people.signers import find_signer, list_signers, workers_of_keys
from conveyor.catalog.releases import evidence as rows
from conveyor.catalog.releases.evidence import EvidenceSubject
from conveyor.catalog.releases.projects import lock_project
from conveyor.catalog.runs.queue import find_run
from conveyor.domain.distributions.filenames import distribution_filename
from conveyor.domain.indexes.definitions import is_claimed
from conveyor.domain.indexes.policy import readable_indexes
from conveyor.domain.people.access import STORE, Identity, job_of, may_testify, may_upload, must_be_known
from conveyor.domain.people.keys import fingerprint, signer_fault
from conveyor.domain.people.openpgp import is_openpgp, stored_certificate
from conveyor.domain.people.publishers import user_of
from conveyor.domain.releases.approvals import (
    APPROVAL_TYPE,
    HINT_OF_APPROVALS,
    faults_of_approval,
    parse_approval,
)
from conveyor.domain.releases.bundles import Bundle, BundledEvidence, BundledFile
from conveyor.domain.releases.evidence import (
    MAX_ENVELOPE_BYTES,
    MAX_OF_JOB_BYTES,
    MOST_OF_JOBS,
    canonical_envelope,
    fault_of_time,
    made_at,
    read_envelope,
    read_statement,
    statement,
)
from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.domain.words.names import project_name
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, InvalidInput, NotFound, TooLarge
from conveyor.operations.indexes.files import find_file
from conveyor.operations.releases.advances import advance
from conveyor.operations.releases.standing import release_in
from conveyor.operations.store.facts import store_id
from conveyor.operations.store.signatures import verified_worker, verify_signature
from conveyor.operations.store.store import read, record_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from conveyor.domain.people.keys import Signer, Worker
    from conveyor.domain.releases.approvals import SignedApproval
    from conveyor.domain.releases.evidence import Evidence, EvidenceKind, WorkerStatement
    from conveyor.domain.releases.tags import SignedTag
    from conveyor.operations.store.store import Store


@dataclass(frozen=True)
class Received:
    """Evidence that the store holds now."""

    id: int
    project: str
    version: str
    signed_by: str
    is_new: bool
    """``False`` if the same signed statement came before."""


@dataclass(frozen=True)
class _EvidenceRow:
    """One row to write."""

    kind: EvidenceKind
    project: str
    version: str
    sha256: str | None
    commit_id: str | None
    predicate: dict[str, Any]
    envelope: str
    envelope_sha256: str
    signed_by: str
    key_id: str
    publisher_id: int | None = None
    job: Mapping[str, str] | None = None


def add_evidence(store: Store, identity: Identity, envelope: bytes, *, mirror: str | None = None) -> Received:
    """Take in a DSSE envelope with a statement about one distribution of this store.

    ``mirror``: about one of another store, which that mirror shows or will show; it opens no gate, as
    nothing of it is promoted here.

    Raises:
        Unauthorized, Forbidden: the caller may not testify about that project (``may_testify``).
        TooLarge: the envelope is over its limit.
        InvalidInput: it is not well-formed, no valid worker signed it, it does not agree with a
            distribution here, or it was made in the future or in a run that is not of this worker and
            project; names every fault, but faults of the subject to workers only.
    """
    # 1. may the caller hand something in
    may_testify(identity)
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise TooLarge(f"an envelope of {len(envelope)} bytes is over the limit of {MAX_ENVELOPE_BYTES}")
    # 2. is it well-formed
    parsed = read_envelope(envelope)
    said = read_statement(parsed.payload)
    with read(store) as connection:
        # 3. who signed it
        workers = workers_of_keys(connection, [key_id for key_id, _ in parsed.signatures])
        # 4. is it about something here
        subjects = (
            rows.subjects_of_digest(connection, said.sha256)
            if mirror is None
            else _mirrored_subject(connection, identity, said, mirror)
        )
    worker, problems = verified_worker(parsed, workers)
    # Only a worker is told the name of the file, which may be a secret of a private index.
    subject, faults = _subject(said, subjects) if worker is not None else (None, problems)
    if worker is None or subject is None:
        raise InvalidInput(f"the evidence is refused: {faults[0]}", faults=faults, hint=_HINT)
    may_testify(identity, project=subject.project)
    _check_making(store, said, subject, worker)
    # 5. write it
    kept = canonical_envelope(parsed, worker.key_id)
    row = _EvidenceRow(
        kind=said.kind,
        project=subject.project,
        version=subject.version,
        sha256=said.sha256,
        commit_id=said.predicate["commit"] if said.kind == "build" else None,
        predicate=said.predicate,
        envelope=kept.decode(),
        envelope_sha256=hashlib.sha256(kept).hexdigest(),
        signed_by=worker.name,
        key_id=worker.key_id,
    )
    return _write(store, identity, row)


def add_statement(store: Store, identity: Identity, content: bytes) -> Received:
    """Take in a statement of the job of a CI host about one distribution of its own project.

    It is kept with the publisher and the claims of its ID token, and proves nothing: whoever holds the host
    can tell what they like.

    Raises:
        Unauthorized, Forbidden: the caller is not the job of a trusted publisher.
        TooLarge: it is over its limit.
        InvalidInput: it is not well-formed, does not agree with a distribution of the job's project here,
            was made in the future or names a run; names every fault.
        Conflict: jobs have told too much about the release.
    """
    # 1. may the caller hand something in
    may_upload(identity)
    if len(content) > MAX_OF_JOB_BYTES:
        raise TooLarge(f"a statement of {len(content)} bytes is over the limit of {MAX_OF_JOB_BYTES}")
    # 2. is it well-formed
    said = read_statement(content)
    # 3. whose word it is
    job = job_of(identity)
    # 4. is it about something here: of other projects the job learns nothing, not even that they are
    with read(store) as connection:
        found = rows.subjects_of_digest(connection, said.sha256)
    subject, faults = _subject(said, [one for one in found if one.project in job.publishers])
    if subject is None:
        raise InvalidInput(f"the statement is refused: {faults[0]}", faults=faults, hint=_HINT_OF_JOBS)
    may_upload(identity, project=subject.project)
    _check_making(store, said, subject, worker=None)
    # 5. write it
    kept = statement(said.kind, filename=said.filename, sha256=said.sha256, predicate=said.predicate)
    publisher = job.publishers[subject.project]
    row = _EvidenceRow(
        kind=said.kind,
        project=subject.project,
        version=subject.version,
        sha256=said.sha256,
        commit_id=None,  # whose commit it is, only a signature can say
        predicate=said.predicate,
        envelope=kept.decode(),
        envelope_sha256=hashlib.sha256(kept).hexdigest(),
        signed_by=user_of(publisher),
        key_id="",
        publisher_id=publisher,
        job=job.claims,
    )
    return _write(store, identity, row)


def add_tag(store: Store, identity: Identity, project: str, tag_object: bytes) -> Received:
    """Take in a signed tag: a signer's word that the tagged commit may become that version of the project.

    Raises:
        Unauthorized, Forbidden: the caller may not upload for that project.
        InvalidInput: the project's name is not allowed, the tag is not well-formed or names no version, its
            key is unknown, revoked or expired, or its signature is not genuine.
        MissingTool, StorageFailed: the signature could not be checked.
    """
    # 1. may the caller hand something in
    name = project_name(project)
    may_upload(identity, project=name)
    # 2. is it well-formed
    tag = parse_signed_tag(tag_object)
    # 3. is the signer known and valid now, and the signature genuine
    signer = _verified_signer(store, tag, name)
    # 4. it is about a commit, which the store does not know: the gate compares it with the build evidence
    predicate = {
        "tag": tag.tag,
        "tag_object": tag.object_id,
        "commit": tag.commit,
        "tagger": tag.tagger,
        "message": tag.message,
        "role": signer.role,
        "key": fingerprint(signer.public_key),
    }
    # 5. write it
    row = _EvidenceRow(
        kind="qa-signature",
        project=name,
        version=tag.version,
        sha256=None,
        commit_id=tag.commit,
        predicate=predicate,
        envelope=tag_object.decode(),
        envelope_sha256=hashlib.sha256(tag_object).hexdigest(),
        signed_by=signer.principal,
        key_id=signer.public_key,
    )
    return _write(store, identity, row)


def add_approval(store: Store, identity: Identity, content: bytes) -> Received:
    """Take in an approval: a signer's word that these very files may become that release.

    Raises:
        Unauthorized, Forbidden: the caller is anonymous, or may not read.
        NotFound: there is no such release that the caller may see.
        InvalidInput: it is not well-formed, is meant for another store or made in the future, names other
            files than the release has, its key is unknown, revoked or expired, its signer may not sign for
            the project, or its signature is not genuine.
        MissingTool, StorageFailed: the signature could not be checked.
    """
    # 1. may the caller hand something in: the signature says whose word it is
    must_be_known(identity, "approve a release")
    # 2. is it well-formed
    approval = parse_approval(content)
    facts = approval.facts
    # 3. is it about something here, whole
    with read(store) as connection:
        release = release_in(connection, identity, facts.project, facts.version)
    faults = faults_of_approval(
        approval,
        {file.filename: file.sha256 for file in release.files},
        store=store_id(store),
        now=store.clock(),
    )
    if faults:
        raise InvalidInput(f"the approval is refused: {faults[0]}", faults=faults, hint=HINT_OF_APPROVALS)
    # 4. is the signer known and valid now, and the signature genuine
    signer = _verified_signer(store, approval, release.project)
    # 5. write it
    row = _EvidenceRow(
        kind="qa-signature",
        project=release.project,
        version=release.version,
        sha256=None,
        commit_id=None,
        predicate={
            "approval": APPROVAL_TYPE,
            "files": dict(approval.files),
            "at": facts.at,
            "role": signer.role,
            "key": fingerprint(signer.public_key),
        },
        envelope=content.decode(),
        envelope_sha256=hashlib.sha256(content).hexdigest(),
        signed_by=signer.principal,
        key_id=signer.public_key,
    )
    return _write(store, identity, row)


def export_bundle(store: Store, identity: Identity, project: str, version: str) -> Bundle:
    """A release with everything that proves it, as far as the caller may see it.

    Raises:
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound: there is no such release that the caller may see.
        Unauthorized: in the same cases, for anonymous callers of a store that has a private index.
    """
    with read(store) as connection:
        release = release_in(connection, identity, project, version)
        shown = {None, *(file.sha256 for file in release.files)}
        signed = [
            one
            for one in rows.signed_evidence_of_release(connection, release.project, release.version)
            if one.sha256 in shown
        ]
        keys = {one.key_id for one in signed}
        workers = workers_of_keys(connection, keys) if keys else []
        signers = [one for one in list_signers(connection) if one.public_key in keys]
    return Bundle(
        form="urn:conveyor:bundle:1",
        project=release.project,
        version=release.version,
        exported_at=utc_text(store.clock()),
        files=tuple(BundledFile(one.filename, one.sha256, one.size_bytes) for one in release.files),
        evidence=tuple(
            BundledEvidence(one.kind, base64.b64encode(one.envelope.encode()).decode(), one.received_at)
            for one in signed
        ),
        workers=tuple(workers),
        signers=tuple(signers),
    )


def _mirrored_subject(
    connection: Connection, identity: Identity, said: WorkerStatement, mirror: str
) -> list[EvidenceSubject]:
    """The distribution of another store that a statement is about, by its filename.

    It may not be here yet: a mirror learns of a file when somebody asks for its project.

    Raises:
        NotFound: the caller may not read such a mirror.
        Conflict: the project belongs to this store, so no mirror shows it.
        InvalidDistribution: the filename is not that of a distribution.
    """
    indexes = all_indexes(connection)
    if mirror not in readable_indexes(indexes, identity) or indexes[mirror].kind != "mirror":
        raise NotFound(f'there is no mirror "{mirror}"', hint="see conveyor store index list")
    about = distribution_filename(said.filename)
    if is_claimed(about.project, claims_on(connection, about.project)):
        raise Conflict(
            f"{about.project} belongs to this store, so no mirror shows it",
            hint="publish it here, or remove the claim",
        )
    return [EvidenceSubject(said.filename, about.project, str(about.version))]


def evidence_on_file(store: Store, identity: Identity, sha256: str, filename: str) -> tuple[Evidence, ...]:
    """What is known of a distribution, one of our own or a mirror's, oldest first.

    Raises:
        NotFound, Gone, Unauthorized, Forbidden: as for its bytes.
    """
    found = find_file(store, sha256, filename, reader=identity)
    about = distribution_filename(filename)
    with read(store) as connection:
        known = rows.evidence_of_release(connection, canonicalize_name(found.project), str(about.version))
    return tuple(one for one in known if one.sha256 == sha256)


def _subject(
    said: WorkerStatement, subjects: list[EvidenceSubject]
) -> tuple[EvidenceSubject | None, list[str]]:
    """The distribution that a statement is about, if both agree, or ``None`` and the differences."""
    if not subjects:
        return None, [f"no distribution here has the digest {said.sha256}"]
    subject = next((one for one in subjects if one.filename == said.filename), None)
    if subject is None:
        return None, [f'the file with that digest is {subjects[0].filename}, not "{said.filename[:100]}"']
    actual = {"project": subject.project, "version": subject.version}
    if said.kind == "build":
        actual["filename"] = subject.filename
    faults = [
        f'predicate.{key} is "{said.predicate[key]:.100}", but the file\'s is "{value}"'
        for key, value in actual.items()
        if said.predicate[key] != value
    ]
    return (None if faults else subject), faults


def _check_making(
    store: Store, said: WorkerStatement, subject: EvidenceSubject, worker: Worker | None
) -> None:
    """Raise InvalidInput when it was made in the future, or in a run of another worker or project.

    ``None``: the job of a CI host, which carries no run.
    """
    fault = fault_of_time(said.predicate, store.clock())
    if fault is not None:
        raise InvalidInput(f"the evidence is refused: {fault}", faults=[fault], hint=_HINT_OF_TIME)
    number = (said.predicate.get("made") or {}).get("run")
    if number is None:
        return
    with read(store) as connection:
        run = find_run(connection, number)
    if worker is None:
        fault = f"run {number} is not carried by the job of a CI host"
    elif run is None or run.worker != worker.name:
        fault = f"run {number} is not carried by {worker.name}"
    elif run.project not in (None, subject.project):
        fault = f"run {number} is of {run.project}, not of {subject.project}"
    if fault is not None:
        hint = "let the worker testify that carries the run, about the project that the run is of"
        raise InvalidInput(f"the evidence is refused: {fault}", faults=[fault], hint=hint)


def _verified_signer(store: Store, signed: SignedTag | SignedApproval, project: str) -> Signer:
    """The registered signer whose signature it genuinely is, and who may sign for the project."""
    with read(store) as connection:
        signer = _valid_signer(connection, signed, utc_text(store.clock()))
    held = None if signer.certificate is None else stored_certificate(signer.certificate)
    verify_signature(signed, principal=signer.principal, certificate=held)
    if signer.projects is not None and project not in signer.projects:
        problem = f"{signer.principal} may not sign for {project}"
        hint = f"let somebody sign who may, or register a key for it: {_REGISTER} --project {project}"
        raise InvalidInput(problem, faults=[problem], hint=hint)
    return signer


_REGISTER = "conveyor store signer add PRINCIPAL --key FILE.pub"


def _valid_signer(connection: Connection, signed: SignedTag | SignedApproval, now: str) -> Signer:
    """The registered signer of the key, valid now; a date that the signer wrote plays no part."""
    signer = find_signer(connection, signed.public_key) or _owner_of_subkey(connection, signed.public_key)
    key = fingerprint(signed.public_key)
    if signer is None:
        problem = f"the key {key} that signed {signed.subject} is not registered"
        hint = f"an administrator registers it: {_REGISTER}"
    else:
        fault = signer_fault(signer, key, at=now)
        if fault is None:
            return signer
        problem = fault
        hint = (  # no key is registered twice
            "sign it again with a new key, which an administrator registers first: "
            f"conveyor store signer add {signer.principal} --key FILE.pub"
        )
    raise InvalidInput(problem, faults=[problem], hint=hint)


def _owner_of_subkey(connection: Connection, public_key: str) -> Signer | None:
    """The signer whose OpenPGP key has this subkey, one that is not revoked first."""
    if not is_openpgp(public_key):
        return None
    owners = [
        one
        for one in list_signers(connection)
        if one.certificate and fingerprint(public_key) in stored_certificate(one.certificate).keys
    ]
    return min(owners, key=lambda one: one.revoked_at is not None, default=None)


def _write(store: Store, identity: Identity, row: _EvidenceRow) -> Received:
    """Write the row unless the same envelope is there, and let the release advance.

    Who is valid now is checked again in the transaction.
    """
    with record_changes(store) as begin:
        change = begin(identity.name)
        connection = change.connection
        lock_project(connection, row.project)
        if row.publisher_id is None:
            _still_valid(connection, row)
        elif rows.count_of_jobs(connection, row.project, row.version) >= MOST_OF_JOBS:
            raise Conflict(
                f"jobs told {MOST_OF_JOBS} facts about {row.project} {row.version}, and no more are kept",
                hint="release it under a new version",
            )
        written = rows.insert_evidence(
            connection, **vars(row), received_at=change.at, received_from=identity.name,
            made_at=made_at(row.predicate, received_at=change.at),
        )  # fmt: skip
        if written is None:
            known = rows.find_evidence(
                connection, project=row.project, version=row.version, envelope_sha256=row.envelope_sha256
            )
            assert known is not None  # noqa: S101 - the row exists, or it would have been written; none is ever deleted
            return Received(known, row.project, row.version, row.signed_by, is_new=False)
        change.event(
            "add-evidence",
            project=row.project,
            version=row.version,
            detail={
                "kind": row.kind, "sha256": row.sha256, "commit": row.commit_id, "signed_by": row.signed_by,
                "envelope_sha256": row.envelope_sha256,
            },
        )  # fmt: skip
        advance(begin(STORE), row.project, row.version, cause=f"{row.kind} of {row.signed_by}")
    return Received(written, row.project, row.version, row.signed_by, is_new=True)


def _still_valid(connection: Connection, row: _EvidenceRow) -> None:
    """Raise Conflict when the signer has been revoked since the signature was checked."""
    if row.kind == "qa-signature":
        signer = find_signer(connection, row.key_id)
        valid = signer is not None and signer.revoked_at is None
    else:
        valid = any(worker.revoked_at is None for worker in workers_of_keys(connection, [row.key_id]))
    if not valid:
        raise Conflict(f"{row.signed_by} was revoked just now")


_HINT = "evidence counts from registered workers, about files the store holds: publish first, then sign"
_HINT_OF_JOBS = "a job tells of files of its own project that the store holds: publish first"
_HINT_OF_TIME = "set the clock of the worker's machine by the network (NTP), then do the job again"
