"""Uploads: a file comes in, is checked, and is in an index when its uploader is told so.

``operations.uploads.incoming_files`` takes the bytes while they arrive; ``accept_upload`` decides about the
whole file. Its steps:

1. read and check the file, with its form;
2. policy (``operations.uploads.decisions``): rights on the project, the claim on its name, the filename,
   limits; if the name is new and the uploader is not an administrator, upstream must be asked first: the
   answer is then an ``UpstreamQuestion``;
3. the bytes of the file into the blobs, durable;
4. one transaction: step 2 again, now that nobody can interfere; rows, serial, events;
5. the answer.

A form that asks for it (``:action`` is ``file_open``) puts the file into an open release instead of the
index: then step 4 is ``operations.uploads.open_releases.add_open_file``.

A process killed before step 4 commits leaves at most bytes that no row names, which ``gc`` removes. If it is
killed later, the client repeats the upload and is told that the identical file is there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from conveyor.blobs.folders import storage_errors
from conveyor.catalog.database.events import is_touched_since
from conveyor.catalog.indexes.definitions import indexes_now
from conveyor.catalog.releases.distributions import insert_placement, metadata_of
from conveyor.catalog.releases.docs_archives import delete_docs
from conveyor.catalog.releases.judging import put_tested_due
from conveyor.catalog.releases.open_files import leave_open_releases
from conveyor.catalog.releases.projects import insert_project, insert_release, lock_project
from conveyor.domain.distributions.attestations import provenance_object
from conveyor.domain.distributions.forms import FILE_OPEN
from conveyor.domain.distributions.reading import Distribution, LibraryChecks, UploadForm, read_distribution
from conveyor.domain.indexes.policy import UploadLimits, accepting_index, readable_indexes
from conveyor.domain.people.access import may_upload
from conveyor.operations.indexes.claims import claim_for_upload
from conveyor.operations.store.shared_commits import record_together
from conveyor.operations.store.store import Prepared, ask, read
from conveyor.operations.uploads.decisions import Decision, WantedFile, WantedUpload, decide, decide_or_ask
from conveyor.operations.uploads.open_releases import add_open_file, describe_file, told_of_file

if TYPE_CHECKING:
    from conveyor.catalog.database.events import Change
    from conveyor.domain.distributions.attestations import Attestation
    from conveyor.domain.indexes.definitions import IndexesNow
    from conveyor.domain.people.access import Identity
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store
    from conveyor.operations.uploads.incoming_files import IncomingFile


@dataclass(frozen=True)
class ReceivedUpload:
    """An upload that has arrived whole but has not been examined."""

    index: str
    filename: str
    form: UploadForm
    file: IncomingFile
    seen: IndexesNow | None = None
    """The indexes, as they were when the caller was allowed to upload; ``None`` if they must be read."""

    @property
    def is_open(self) -> bool:
        """Whether the file is to wait in an open release until all of it is published."""
        return self.form.value(":action") == FILE_OPEN


@dataclass(frozen=True)
class AcceptedUpload:
    """A file that is in the store, durable and visible; or durable, in an open release."""

    index: str
    """Where it is: the index of the upload, or another of its chain that already held the identical file."""
    filename: str
    sha256: str
    is_new: bool
    notes: tuple[str, ...] = ()
    """Oddities of the file, one sentence each."""
    is_open: bool = False
    """Whether it waits in an open release, and nobody sees it yet."""


@dataclass(frozen=True)
class UpstreamQuestion:
    """An upload that would claim a name; the question is whether upstream has such a project."""

    project: NormalizedName
    distribution: Distribution
    """The result of step 1, so that it is not done again."""


def check_upload_rights(
    store: Store, identity: Identity, index: str, *, known_at: int | None = None
) -> IndexesNow:
    """Allow this caller to upload something into an index, as far as can be decided before the body is read.

    ``known_at`` is the serial at which the identity was found out; ``None`` means just now. Returns the
    indexes, as they were at this decision.

    Raises:
        NotFound, Forbidden, Unauthorized: as ``accept_upload``.
        IdentityOutdated: users or tokens may have changed since ``known_at``.
    """
    with ask(store) as connection:
        now = indexes_now(connection, since=_NEVER if known_at is None else known_at)
    if now.is_house_touched:
        raise IdentityOutdated
    if identity.is_anonymous or index not in readable_indexes(now.indexes, identity):
        may_upload(identity, index)  # first: without the right, nobody learns whether there is such an index
    accepting_index(index, now.indexes, identity)
    may_upload(identity, index)
    return now


class IdentityOutdated(Exception):
    """The caller's identity must be found out again."""


_NEVER = 2**63 - 1
"""A serial higher than any other."""


def accept_upload(
    store: Store, upload: ReceivedUpload, *, identity: Identity, limits: UploadLimits
) -> AcceptedUpload | UpstreamQuestion:
    """Put an uploaded file into an index, or find the identical file there, or ask back.

    ``limits`` says how large files, archives and projects may be. If a question is returned, answer it with
    ``accept_answered``; until then nothing is stored.

    Raises:
        NotFound: there is no such index.
        Unauthorized, Forbidden: the index accepts no upload, the project takes no new files, or the caller
            may not upload this project or may not claim its name.
        InvalidDistribution: the file or its form has faults; all are named.
        DistributionExists, Conflict: the filename is taken or retired, or the release is closed.
        TooLarge: the file or the project is over a limit.
        StorageFailed: nothing was stored.
    """
    # 1. the file
    distribution = _read(store, upload, limits)
    # 2. policy, before anything is written
    wanted = _wanted(upload, distribution, identity, limits, upstream_has=None)
    with ask(store) as connection:
        decision = decide_or_ask(connection, wanted)
    if decision is None:
        return UpstreamQuestion(distribution.project, distribution)
    return _store(store, upload, distribution, wanted, decision)


def accept_answered(
    store: Store,
    upload: ReceivedUpload,
    question: UpstreamQuestion,
    *,
    identity: Identity,
    limits: UploadLimits,
    upstream_has: bool,
) -> AcceptedUpload:
    """Continue an upload after upstream was asked whether it has a project of that name.

    Raises:
        As ``accept_upload``.
    """
    wanted = _wanted(upload, question.distribution, identity, limits, upstream_has=upstream_has)
    wanted = replace(wanted, seen=None)
    with read(store) as connection:
        decision = decide(connection, wanted)
    return _store(store, upload, question.distribution, wanted, decision)


def _wanted(
    upload: ReceivedUpload,
    distribution: Distribution,
    identity: Identity,
    limits: UploadLimits,
    *,
    upstream_has: bool | None,
) -> WantedUpload:
    file = WantedFile(
        filename=distribution.filename,
        project=distribution.project,
        version=distribution.version,
        sha256=distribution.digests.sha256,
        size_bytes=distribution.size_bytes,
    )
    return WantedUpload(upload.index, file, identity, limits, upstream_has, seen=upload.seen)


def _store(
    store: Store,
    upload: ReceivedUpload,
    distribution: Distribution,
    wanted: WantedUpload,
    decision: Decision,
) -> AcceptedUpload:
    identity = wanted.identity
    filename, sha256 = distribution.filename, distribution.digests.sha256
    if decision.holder is not None:
        _bring_back(store, upload, distribution)
        store.newest.settle()
        return AcceptedUpload(decision.holder, filename, sha256, is_new=False)
    # 3. bytes before rows; garbage collection spares them until the rows exist
    with store.blobs.adding():
        upload.file.store()
        provenance_sha256 = _put_provenance(store, distribution, identity)
        # 4. one transaction
        if upload.is_open:
            holder = add_open_file(store, wanted, distribution, provenance_sha256=provenance_sha256)
            is_new = holder is None
            return AcceptedUpload(
                holder or upload.index, filename, sha256, is_new, notes=distribution.notes, is_open=is_new
            )
        write = partial(_write, distribution, wanted, decision, provenance_sha256)
        # A claim must see the names that others have just claimed.
        key = distribution.project if decision.is_claimed else None
        decision = record_together(store, actor=identity.name, work=write, key=key)
    # 5. the answer
    return AcceptedUpload(
        decision.holder or upload.index,
        filename,
        sha256,
        is_new=decision.holder is None,
        notes=distribution.notes,
    )


def _write(
    distribution: Distribution,
    wanted: WantedUpload,
    before: Decision,
    provenance_sha256: str | None,
    change: Change,
) -> Prepared[Decision]:
    """Decide again, now that nobody can interfere, and write the rows of a new file."""
    connection, project = change.connection, distribution.project
    if not before.facts.has_project:
        name = distribution.display_name
        insert_project(connection, project, display_name=name, created_at=change.at)
    lock_project(connection, project)
    is_touched = is_touched_since(connection, project, before.serial)
    holds = before.is_claimed and not is_touched
    decision = before if holds else decide(connection, replace(wanted, seen=None))
    if decision.holder is not None:
        return Prepared(decision)
    if not decision.is_claimed:
        claim_for_upload(change, project)
    _write_rows(change, distribution, decision, provenance_sha256)
    return Prepared(decision, partial(_show, change, wanted, distribution))


def _bring_back(store: Store, upload: ReceivedUpload, distribution: Distribution) -> None:
    """Store bytes that a row promises but the disk has lost: the identical file has come again."""
    with store.blobs.adding():
        sha256 = distribution.digests.sha256
        if not store.blobs.has(sha256):
            upload.file.store()
        with read(store) as connection:
            is_blob = metadata_of(connection, distribution.filename, sha256) is None
        if is_blob and not store.blobs.has(hashlib.sha256(distribution.metadata).hexdigest()):
            store.blobs.put(distribution.metadata)


def _read(store: Store, upload: ReceivedUpload, limits: UploadLimits) -> Distribution:
    file = upload.file
    digests = file.digests(with_md5=bool(upload.form.value("md5_digest")))
    with storage_errors("the uploaded file cannot be read back"):  # also its last bytes are flushed here
        return read_distribution(
            file.stream,
            filename=upload.filename,
            size_bytes=file.size_bytes,
            digests=digests,
            form=upload.form,
            limits=limits.archive,
            checks=LibraryChecks(store.descriptions.fault, _signature_fault),
        )


def _signature_fault(attestation: Attestation) -> str:
    # cryptography takes 60 ms to import, which an upload without attestations need not pay.
    from conveyor.operations.store.signatures import signature_fault

    return signature_fault(attestation)


def _put_provenance(store: Store, distribution: Distribution, identity: Identity) -> str | None:
    """Store the file's attestations with their publisher's name; the digest, or ``None`` without any."""
    if not distribution.attestations:
        return None
    return store.blobs.put(provenance_object(distribution.attestations, user=identity.name))


def _write_rows(
    change: Change, distribution: Distribution, decision: Decision, provenance_sha256: str | None
) -> None:
    connection = change.connection
    project, version = distribution.project, distribution.version
    if not decision.has_release:
        insert_release(connection, project, version, created_at=change.at)
        if not decision.facts.is_stored:  # documentation came with an open release, of other files
            delete_docs(connection, project, version)
    # The same bytes may have been uploaded before, into an index outside this chain.
    if not decision.facts.is_stored:
        describe_file(change, distribution, provenance_sha256=provenance_sha256)
    else:
        leave_open_releases(
            connection, distribution.filename, distribution.digests.sha256, at=change.at, by=change.actor
        )
        # Only of bytes that were here before can there be evidence already.
        put_tested_due(connection, due_at=change.at, cause="an upload", project=project, version=version)


def _show(change: Change, wanted: WantedUpload, distribution: Distribution) -> None:
    """Place the file into its index, by an event."""
    project, version, filename = distribution.project, distribution.version, distribution.filename
    sha256 = distribution.digests.sha256
    detail = told_of_file(distribution, sha256)
    if distribution.notes:  # the uploader may not have seen them: twine shows them with --verbose only
        detail["notes"] = list(distribution.notes)
    serial = change.event("upload", index=wanted.index, project=project, version=version, detail=detail)
    insert_placement(
        change.connection,
        index=wanted.index,
        project=project,
        filename=filename,
        sha256=sha256,
        added_serial=serial,
    )
