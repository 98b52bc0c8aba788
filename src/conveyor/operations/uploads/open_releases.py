"""Open releases: files come in one by one, and are published together, in one transaction, or not at all.

Each file is checked and decided about like any upload, and is then stored, described, and in no index: no
page, list, search or installer sees it. Evidence about it is accepted. ``publish_release`` names every file
by its digest, decides again and places all of them under one serial. Whoever was interrupted begins again:
the same file is recognised, and another one under its name takes its place.

A file that has waited for a day is dropped, by the next change of its project's open releases, by a server
within ten minutes, or by garbage collection, whichever comes first; it cannot be published from then on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes, claims_on
from conveyor.catalog.releases.distributions import (
    insert_distribution,
    insert_placement,
    placements_of_release,
)
from conveyor.catalog.releases.docs_archives import delete_stray_docs
from conveyor.catalog.releases.judging import put_tested_due
from conveyor.catalog.releases.open_files import (
    drop_open_file,
    is_any_filename_retired,
    leave_open_releases,
    open_files_of,
    projects_with_open_files,
    put_open_file,
    remove_open_file,
)
from conveyor.catalog.releases.projects import count_file, insert_project, insert_release, lock_project
from conveyor.domain.indexes.policy import UploadLimits, chain_of, must_ask_upstream, readable_indexes
from conveyor.domain.people.access import may_claim, may_upload
from conveyor.domain.releases.publications import FileToPublish, Publication, PublishingCheck
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, InvalidVersion
from conveyor.operations.indexes.claims import claim_for_upload
from conveyor.operations.store.store import read, record_change
from conveyor.operations.uploads.decisions import WantedFile, WantedUpload, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from conveyor.catalog.database.events import Change
    from conveyor.catalog.releases.open_files import OpenFile
    from conveyor.domain.distributions.reading import Distribution
    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.publications import NewPublication
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store

    AskUpstream = Callable[[NormalizedName], bool]
    """Whether upstream has a project of that name; raises UpstreamFailed."""

OPEN_FOR = timedelta(days=1)
"""How long a file waits for its release to be published."""
LONGEST_VERSION = 100
"""Characters, as the API describes versions; a run asks before it builds one that is longer."""


def add_open_file(
    store: Store, wanted: WantedUpload, distribution: Distribution, *, provenance_sha256: str | None
) -> str | None:
    """Put a file whose bytes are stored into an open release; returns the index that shows it already.

    Raises:
        As ``accept_upload``.
    """
    file = wanted.file
    with record_change(store, actor=wanted.identity.name) as change:
        connection = change.connection
        insert_project(connection, file.project, display_name=distribution.display_name, created_at=change.at)
        lock_project(connection, file.project)
        _drop(change, _outdated(store, open_files_of(connection, file.project)))
        same_name = [
            one
            for one in open_files_of(connection, file.project, index=wanted.index)
            if one.filename == file.filename and one.sha256 != file.sha256
        ]
        for other in same_name:
            drop_open_file(connection, other)
        decision = decide(connection, replace(wanted, seen=None))
        if decision.holder is not None:
            return decision.holder
        if not decision.facts.is_stored:
            describe_file(change, distribution, provenance_sha256=provenance_sha256)
        put_open_file(
            connection,
            index=wanted.index,
            project=file.project,
            filename=file.filename,
            sha256=file.sha256,
            uploaded_at=change.at,
            uploaded_by=change.actor,
        )
        change.event(
            "upload-open",
            index=wanted.index,
            project=file.project,
            version=file.version,
            detail=told_of_file(distribution, file.sha256),
        )
    return None


def told_of_file(file: Distribution | OpenFile, sha256: str) -> dict[str, object]:
    """What the audit log says of a file that comes in."""
    return {
        "filename": file.filename,
        "packagetype": file.packagetype,
        "sha256": sha256,
        "size_bytes": file.size_bytes,
    }


def describe_file(change: Change, distribution: Distribution, *, provenance_sha256: str | None) -> None:
    """Write the row of a file that is new to the store, and count its bytes."""
    insert_distribution(
        change.connection,
        distribution,
        uploaded_at=change.at,
        uploaded_by=change.actor,
        provenance_sha256=provenance_sha256,
    )
    project, size_bytes = distribution.project, distribution.size_bytes
    count_file(change.connection, project, size_bytes, display_name=distribution.display_name)


def publish_release(
    store: Store,
    identity: Identity,
    project: str,
    version: str,
    asked: NewPublication,
    *,
    upstream_has: AskUpstream,
) -> Publication:
    """Make the files of an open release visible, all of them under one serial.

    The files must be named by the digests under which they were uploaded; files that are in the index
    already are a success. Other files of the same open release are dropped.

    Raises:
        NotFound: there is no such index.
        Unauthorized, Forbidden: the caller may not upload the project there, or may not claim its name.
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        Conflict, DistributionExists: a file did not come, was replaced or has waited too long (all are
            named); or its name was given to another meanwhile, or the release was closed.
    """
    # 1. the caller's right, and the name
    name, number = project_name(project), canonical_version(version)
    may_upload(identity, asked.index, name)
    answer = _ask_if_new(store, identity, name, upstream_has)
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        insert_project(connection, name, display_name=project, created_at=change.at)
        lock_project(connection, name)
        # 2. policy once more, for each file that no index shows yet
        decisions = {
            file: decide(connection, WantedUpload(asked.index, wanted, identity, UploadLimits(), answer))
            for file in asked.files
            for wanted in [WantedFile(file.filename, name, number, file.sha256, 0)]
        }
        unseen = [file for file, decision in decisions.items() if decision.holder is None]
        # 3. all of them have come, and still wait
        waiting = [one for one in open_files_of(connection, name) if one.version == number]
        outdated = _outdated(store, waiting)
        waiting = [one for one in waiting if one.index == asked.index and one not in outdated]
        shown = [one for one in waiting if FileToPublish(one.filename, one.sha256) in unseen]
        missing = {file.filename for file in unseen} - {one.filename for one in shown}
        if missing:
            raise _not_whole(name, number, missing)
        if shown:
            # 4. rows, event
            decision = decisions[unseen[0]]
            if not decision.is_claimed:
                claim_for_upload(change, name)
            if not decision.has_release:
                insert_release(connection, name, number, created_at=change.at)
            _show(change, asked.index, name, number, shown)
            put_tested_due(connection, due_at=change.at, cause="a publication", project=name, version=number)
        _drop(change, [one for one in waiting if one not in shown])
    return Publication(
        name, number, asked.index, tuple(sorted(one.filename for one in asked.files)), is_new=bool(shown)
    )


def _not_whole(name: str, number: str, missing: Collection[str]) -> Conflict:
    return Conflict(
        f"{name} {number} cannot be published: {', '.join(sorted(missing))} did not come, was "
        f"replaced, or has waited for more than {OPEN_FOR.days} day",
        hint="upload all its files again, then publish",
    )


def check_publishing(
    store: Store, identity: Identity, project: str, version: str, *, index: str, upstream_has: AskUpstream
) -> PublishingCheck:
    """Decide whether this caller may publish a version that nobody has published; changes nothing.

    Raises:
        As an upload would, and Conflict if a file of this version is here already or was deleted.
    """
    if len(version) > LONGEST_VERSION:
        raise InvalidVersion(f"a version of {len(version)} characters is over the limit of {LONGEST_VERSION}")
    name, number = project_name(project), canonical_version(version)
    may_upload(identity, index, name)
    answer = _ask_if_new(store, identity, name, upstream_has)
    file = WantedFile.not_made_yet(name, number)
    wanted = WantedUpload(index, file, identity, UploadLimits(), answer)
    with read(store) as connection:
        decision = decide(connection, wanted)
        indexes = all_indexes(connection)
        chain = chain_of(index, indexes)
        there = [file for file in placements_of_release(connection, name, number) if file.index in chain]
        if there:
            seen = readable_indexes(indexes, identity, project=name)
            places = sorted({f'"{file.index}"' for file in there if file.index in seen})
            raise Conflict(
                f"{name} {number} is in {' and '.join(places) or 'this store'} already",
                hint="published files never change; release a new version",
                rule="filename-taken",
            )
        if is_any_filename_retired(connection, name, number):
            raise Conflict(
                f"a file of {name} {number} was deleted from this store, and its name is never used again",
                hint="release a new version",
                rule="filename-deleted",
            )
    return PublishingCheck(name, number, index, is_claimed=decision.is_claimed)


def drop_outdated_files(store: Store, *, actor: str) -> int:
    """Drop every file that has waited too long, one change per project; returns their number."""
    with read(store) as connection:
        projects = projects_with_open_files(connection, before=_oldest(store))
    dropped = 0
    for project in projects:
        with record_change(store, actor=actor) as change:
            lock_project(change.connection, project)
            outdated = _outdated(store, open_files_of(change.connection, project))
            _drop(change, outdated)
            dropped += len(outdated)
    return dropped


def _ask_if_new(
    store: Store, identity: Identity, project: NormalizedName, upstream_has: AskUpstream
) -> bool | None:
    with read(store) as connection:
        claims = claims_on(connection, project)
    if not must_ask_upstream(identity, project, claims):
        return None
    may_claim(identity, project)
    return upstream_has(project)


def _show(change: Change, index: str, project: str, version: str, files: list[OpenFile]) -> None:
    connection = change.connection
    detail = {"files": [told_of_file(file, file.sha256) for file in files]}
    for file in files:
        leave_open_releases(connection, file.filename, file.sha256, at=change.at, by=change.actor)
        remove_open_file(connection, file)
    serial = change.event("publish", index=index, project=project, version=version, detail=detail)
    for file in files:
        insert_placement(
            connection,
            index=index,
            project=project,
            filename=file.filename,
            sha256=file.sha256,
            added_serial=serial,
        )


def _drop(change: Change, files: list[OpenFile]) -> None:
    """Drop files that wait, and the documentation of a release of which nothing is left."""
    for file in files:
        drop_open_file(change.connection, file)
    for project in {file.project for file in files}:
        delete_stray_docs(change.connection, project)
    for index, project, version in sorted({(file.index, file.project, file.version) for file in files}):
        names = [file.filename for file in files if (file.index, file.version) == (index, version)]
        change.event("drop-open", index=index, project=project, version=version, detail={"files": names})


def _outdated(store: Store, files: list[OpenFile]) -> list[OpenFile]:
    oldest = _oldest(store)
    return [file for file in files if file.uploaded_at <= oldest]


def _oldest(store: Store) -> str:
    return utc_text(store.clock() - OPEN_FOR)
