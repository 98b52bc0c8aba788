"""Uploads: a file comes in, is checked, and is in an index when its uploader hears so.

``IncomingFile`` takes the bytes while they arrive; ``accept_upload`` decides about the whole. Its steps:

1. read and check the file, with its form;
2. policy: rights on the project, the claim on its name, the filename, limits; of a name that is new and whose
   uploader is no administrator, upstream has to be asked first: the answer is then an ``UpstreamQuestion``;
3. the bytes of the file and of its metadata into the blobs, durable;
4. one transaction: step 2 again, now that nobody can come in between; rows, serial, events;
5. the answer.

A process killed before step 4 commits leaves at most bytes that no row names, which ``gc`` removes. Killed
after it, the client repeats the upload and hears that the identical file is there.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.blobs.errors import storage_errors
from conveyor.catalog.distributions import find_distribution, insert_distribution, is_retired
from conveyor.catalog.indexes import all_indexes
from conveyor.catalog.pages import claims_on, status_of
from conveyor.catalog.placements import insert_placement, placements_of_filename
from conveyor.catalog.projects import add_stored_bytes, insert_project, lock_project, project_size
from conveyor.catalog.releases import find_release, insert_release, versions_among
from conveyor.domain.access import may_claim, may_upload
from conveyor.domain.attestations import provenance_object
from conveyor.domain.distributions import (
    Digests,
    Distribution,
    LibraryChecks,
    UploadForm,
    read_distribution,
)
from conveyor.domain.indexes import resolution_order
from conveyor.domain.policy import (
    FilenameState,
    UploadLimits,
    accepting_index,
    chain_of,
    check_file_size,
    check_project_size,
    decide_filename,
    must_ask_upstream,
    readable_indexes,
)
from conveyor.domain.project_status import must_accept_uploads
from conveyor.domain.versions import equal_spellings, parse_version
from conveyor.operations.changes import read, record_change
from conveyor.operations.claims import check_claim, claim_for_upload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from conveyor.blobs import BlobStore, Temporary
    from conveyor.domain.access import Identity
    from conveyor.domain.attestations import Attestation
    from conveyor.domain.indexes import Index
    from conveyor.domain.names import NormalizedName
    from conveyor.operations.changes import Change
    from conveyor.operations.store import Store

CHUNK_BYTES = 1024 * 1024


class IncomingFile:
    """The bytes of one upload: written to a temporary file and hashed on their way.

    The temporary is made with the first bytes and is gone after ``close`` unless its bytes became a blob. Not
    for two threads at a time.
    """

    def __init__(self, blobs: BlobStore, *, limits: UploadLimits) -> None:
        self._blobs = blobs
        self._limits = limits
        self._ending = ExitStack()
        self._sha256 = hashlib.sha256()
        self._blake2b = hashlib.blake2b(digest_size=32)
        self._temporary: Temporary | None = None
        self.size_bytes = 0

    @property
    def temporary(self) -> Temporary:
        """The file on disk."""
        if self._temporary is None:
            self._temporary = self._ending.enter_context(self._blobs.new_temporary())
        return self._temporary

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append bytes.

        Raises:
            TooLarge: the file is over its limit.
            StorageFailed: the disk is full or broken.
        """
        for chunk in chunks:
            self.size_bytes += len(chunk)
            check_file_size(self.size_bytes, self._limits)
            self.temporary.write(chunk)
            self._sha256.update(chunk)
            self._blake2b.update(chunk)

    def digests(self, *, with_md5: bool) -> Digests:
        """The digests of all that was written; MD5, which few clients send, is read from the file again."""
        md5 = None
        if with_md5:
            with storage_errors("the uploaded file can not be read back"):
                self.temporary.file.seek(0)
                md5_hash = hashlib.md5(usedforsecurity=False)
                while chunk := self.temporary.file.read(CHUNK_BYTES):
                    md5_hash.update(chunk)
                md5 = md5_hash.hexdigest()
        return Digests(sha256=self._sha256.hexdigest(), blake2b_256=self._blake2b.hexdigest(), md5=md5)

    def close(self) -> None:
        """Remove the temporary; doing it again does nothing."""
        self._ending.close()


@dataclass(frozen=True)
class ReceivedUpload:
    """An upload that has arrived whole, and has not been looked at."""

    index: str
    filename: str
    form: UploadForm
    file: IncomingFile


@dataclass(frozen=True)
class AcceptedUpload:
    """A file that is in the store, durable and visible."""

    index: str
    """Where it is: the index of the upload, or another of its chain that held the identical file already."""
    filename: str
    sha256: str
    is_new: bool


@dataclass(frozen=True)
class UpstreamQuestion:
    """The upload would claim a name: does upstream have such a project?"""

    project: NormalizedName
    distribution: Distribution
    """What step 1 found, so that it is not done again."""


def check_upload_rights(store: Store, identity: Identity, index: str) -> Index:
    """The index, when this caller may upload something into it: what can be said before the body is read.

    Raises:
        NotFound, Forbidden, Unauthorized: as ``accept_upload``.
    """
    with read(store) as connection:
        found = accepting_index(index, all_indexes(connection), identity)
    may_upload(identity, index)
    return found


def accept_upload(
    store: Store, upload: ReceivedUpload, *, identity: Identity, limits: UploadLimits
) -> AcceptedUpload | UpstreamQuestion:
    """Put an uploaded file into an index, or find the identical file there, or ask back.

    ``limits`` says how large files, archives and projects may be. A question that comes back is answered with
    ``accept_answered``; until then nothing is stored.

    Raises:
        NotFound: there is no such index.
        Unauthorized, Forbidden: the index accepts no upload, the project takes no new files, or the caller
            may not upload this project or not claim its name.
        InvalidDistribution: the file or its form has faults; all are named.
        DistributionExists, Conflict: the filename is taken or retired, or the release is closed.
        TooLarge: the file or the project is over a limit.
        StorageFailed: nothing was stored.
    """
    # 1. the file
    distribution = _read(store, upload, limits)
    # 2. policy, as far as upstream is concerned
    project = distribution.project
    with read(store) as connection:
        accepting_index(upload.index, all_indexes(connection), identity)
        must_ask = must_ask_upstream(identity, project, claims_on(connection, project))
    may_upload(identity, upload.index, project)
    if must_ask:
        may_claim(identity, project)
        return UpstreamQuestion(project, distribution)
    return _store(store, upload, distribution, identity, limits, upstream_has=None)


def accept_answered(
    store: Store,
    upload: ReceivedUpload,
    question: UpstreamQuestion,
    *,
    identity: Identity,
    limits: UploadLimits,
    upstream_has: bool,
) -> AcceptedUpload:
    """Go on with an upload whose question was answered: whether upstream has a project of that name.

    Raises:
        As ``accept_upload``.
    """
    return _store(store, upload, question.distribution, identity, limits, upstream_has=upstream_has)


def _store(
    store: Store,
    upload: ReceivedUpload,
    distribution: Distribution,
    identity: Identity,
    limits: UploadLimits,
    *,
    upstream_has: bool | None,
) -> AcceptedUpload:
    filename, sha256 = distribution.filename, distribution.digests.sha256
    # 2. the rest of policy, before anything is written
    with read(store) as connection:
        holder = _check_policy(connection, upload, distribution, identity, limits, upstream_has)
    if holder is not None:
        _bring_back(store, upload, distribution)
        return AcceptedUpload(holder, filename, sha256, is_new=False)
    # 3. bytes before rows; nobody takes them for garbage until the rows are there
    with store.blobs.adding():
        store.blobs.adopt(upload.file.temporary, sha256)
        metadata_sha256 = store.blobs.put(distribution.metadata)
        provenance_sha256 = _put_provenance(store, distribution, identity)
        # 4. one transaction
        with record_change(store, actor=identity.name) as change:
            insert_project(
                change.connection,
                distribution.project,
                display_name=distribution.display_name,
                created_at=change.at,
            )
            lock_project(change.connection, distribution.project)
            holder = _check_policy(change.connection, upload, distribution, identity, limits, upstream_has)
            if holder is None:
                _write_rows(change, upload.index, distribution, metadata_sha256, provenance_sha256)
    # 5. the answer
    return AcceptedUpload(holder or upload.index, filename, sha256, is_new=holder is None)


def _bring_back(store: Store, upload: ReceivedUpload, distribution: Distribution) -> None:
    """Store bytes that a row promises and the disk lost: the identical file has come again."""
    with store.blobs.adding():
        if not store.blobs.has(distribution.digests.sha256):
            store.blobs.adopt(upload.file.temporary, distribution.digests.sha256)
        if not store.blobs.has(hashlib.sha256(distribution.metadata).hexdigest()):
            store.blobs.put(distribution.metadata)


def _read(store: Store, upload: ReceivedUpload, limits: UploadLimits) -> Distribution:
    file = upload.file
    digests = file.digests(with_md5=bool(upload.form.value("md5_digest")))
    with storage_errors("the uploaded file can not be read back"):  # also its last bytes are flushed here
        return read_distribution(
            file.temporary.file,
            filename=upload.filename,
            size_bytes=file.size_bytes,
            digests=digests,
            form=upload.form,
            limits=limits.archive,
            checks=LibraryChecks(store.descriptions.fault, _signature_fault),
        )


def _signature_fault(attestation: Attestation) -> str:
    # cryptography takes 60 ms to import, which an upload without attestations need not pay.
    from conveyor.operations.attestations import signature_fault

    return signature_fault(attestation)


def _check_policy(
    connection: Connection,
    upload: ReceivedUpload,
    distribution: Distribution,
    identity: Identity,
    limits: UploadLimits,
    upstream_has: bool | None,
) -> str | None:
    """Every rule of ``domain.policy``: the index that holds the identical file, ``None`` when it is new."""
    project, version, filename = distribution.project, distribution.version, distribution.filename
    indexes = all_indexes(connection)
    accepting_index(upload.index, indexes, identity)
    may_upload(identity, upload.index, project)
    check_claim(connection, identity, project, upstream_has=upstream_has)
    release = find_release(connection, project, version)
    others = {*equal_spellings(parse_version(version))} - {version}
    state = FilenameState(
        holders=placements_of_filename(
            connection, project, filename, indexes=chain_of(upload.index, indexes)
        ),
        shown=frozenset(resolution_order(upload.index, indexes)),
        readable=readable_indexes(indexes, identity),
        is_retired=is_retired(connection, filename),
        closed_at=release.closed_at if release else None,
        other_spelling=next(iter(versions_among(connection, project, others)), None),
    )
    holder = decide_filename(
        state,
        index=upload.index,
        filename=filename,
        project=project,
        version=version,
        sha256=distribution.digests.sha256,
    )
    if holder is None:
        must_accept_uploads(project, status_of(connection, project))
        check_project_size(distribution.size_bytes, project_size(connection, project), limits)
    return holder


def _put_provenance(store: Store, distribution: Distribution, identity: Identity) -> str | None:
    """Store what attests the file, with its publisher's name; the digest, ``None`` when nothing does."""
    if not distribution.attestations:
        return None
    return store.blobs.put(provenance_object(distribution.attestations, user=identity.name))


def _write_rows(
    change: Change,
    index: str,
    distribution: Distribution,
    metadata_sha256: str,
    provenance_sha256: str | None,
) -> None:
    project, version, filename = distribution.project, distribution.version, distribution.filename
    sha256 = distribution.digests.sha256
    insert_release(change.connection, project, version, created_at=change.at)
    # The same bytes may have been uploaded before, into an index that is not of this chain.
    distribution_id = find_distribution(change.connection, filename, sha256)
    if distribution_id is None:
        distribution_id = insert_distribution(
            change.connection,
            distribution,
            metadata_sha256=metadata_sha256,
            uploaded_at=change.at,
            uploaded_by=change.actor,
            provenance_sha256=provenance_sha256,
        )
        add_stored_bytes(change.connection, project, distribution.size_bytes)
    claim_for_upload(change, project)
    serial = change.event(
        "upload",
        index=index,
        project=project,
        version=version,
        detail={
            "filename": filename,
            "packagetype": distribution.packagetype,
            "sha256": sha256,
            "size_bytes": distribution.size_bytes,
        },
    )
    insert_placement(
        change.connection,
        index=index,
        project=project,
        filename=filename,
        distribution_id=distribution_id,
        added_serial=serial,
    )
