"""Documentation of releases: taken in as one archive per version, replaced until the release is promoted.

It may come as soon as a file of its release has, while that release waits to be published, and is seen only
with it. Its bytes count for the size of the project. When the last file of the release goes, it goes too:
other files that are uploaded under that version later have other documentation. Showing its pages is not done
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import indexes_now
from conveyor.catalog.releases.distributions import distributions_of
from conveyor.catalog.releases.docs_archives import find_docs, put_docs, url_of_docs
from conveyor.catalog.releases.projects import find_release, lock_project, project_size, status_of
from conveyor.domain.distributions.documentation import check_documentation
from conveyor.domain.indexes.policy import accepting_index, check_docs_size
from conveyor.domain.indexes.projects import check_project_size, must_accept_uploads
from conveyor.domain.people.access import STORE, may_upload
from conveyor.domain.releases.publications import DocsArchive
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.errors import Conflict, InvalidInput, NotFound
from conveyor.operations.releases.advances import advance
from conveyor.operations.releases.standing import release_in
from conveyor.operations.store.store import ask, read, record_changes

if TYPE_CHECKING:
    from conveyor.catalog.database.events import Change
    from conveyor.domain.distributions.documentation import ArrivedArchive
    from conveyor.domain.indexes.policy import UploadLimits
    from conveyor.domain.people.access import Identity
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store


def add_docs(
    store: Store,
    identity: Identity,
    project: str,
    version: str,
    archive: ArrivedArchive,
    *,
    index: str,
    limits: UploadLimits,
) -> DocsArchive:
    """Keep an archive as the documentation of a release, in place of an earlier one.

    Raises:
        NotFound: there is no such index, or no file of the release is here.
        Unauthorized, Forbidden: the caller may not upload the project into the index.
        InvalidName, InvalidVersion, InvalidInput: the project's name or the version is missing or not valid.
        TooLarge: the archive is over its limit, or with it the project would be.
        InvalidDistribution: the archive has faults; all are named.
        Conflict: the release was promoted.
    """
    # 1. the caller's right
    name, number = check_docs_upload(store, identity, project, version, index=index)
    # 2. the archive
    check_docs_size(archive.size_bytes, limits)
    archive_format = check_documentation(archive.stream, size_bytes=archive.size_bytes, limits=limits.archive)
    # 3. bytes, then the row
    with store.blobs.adding():
        archive.store()
        with record_changes(store) as begin:
            change = begin(identity.name)
            connection = change.connection
            lock_project(connection, name)
            if not distributions_of(connection, name, number, None):
                raise NotFound(
                    f"no file of {name} {number} is here", hint="upload its release, then the docs"
                )
            must_accept_uploads(name, status_of(connection, name))
            before = find_docs(connection, name, number)
            if before is not None and before.sha256 == archive.sha256:
                return before
            docs = DocsArchive(
                name, number, archive.sha256, archive.size_bytes, archive_format, url_of_docs(name, number),
                uploaded_at=change.at, uploaded_by=change.actor,
            )  # fmt: skip
            _put(change, docs, before, index=index, limits=limits)
            advance(begin(STORE), name, number, cause="documentation")
            return docs


def check_docs_upload(
    store: Store, identity: Identity, project: str, version: str, *, index: str
) -> tuple[NormalizedName, str]:
    """The project and version to document; raises as ``add_docs`` unless the caller may upload them."""
    if not version:
        raise InvalidInput(
            "the form does not say which version is documented", hint="send a field version", rule="form"
        )
    name, number = project_name(project), canonical_version(version)
    may_upload(identity, index, name)
    with ask(store) as connection:
        accepting_index(index, indexes_now(connection, since=0).indexes, identity)
    return name, number


def _put(
    change: Change, docs: DocsArchive, before: DocsArchive | None, *, index: str, limits: UploadLimits
) -> None:
    """Write the row and its event; raises Conflict if the release was promoted, TooLarge."""
    release = find_release(change.connection, docs.project, docs.version)
    if release is not None and release.closed_at is not None:
        raise Conflict(
            f"{docs.project} {docs.version} was promoted at {release.closed_at}, and its documentation stays",
            hint="release a new version with the new documentation",
            rule="release-closed",
        )
    more = docs.size_bytes - (before.size_bytes if before is not None else 0)
    check_project_size(
        more,
        project_size(change.connection, docs.project),
        name=docs.project,
        store_limit_bytes=limits.project_bytes,
    )
    put_docs(change.connection, docs, before=before)
    detail = {"sha256": docs.sha256, "size_bytes": docs.size_bytes, "format": docs.format}
    change.event("upload-docs", index=index, project=docs.project, version=docs.version, detail=detail)


def get_docs(store: Store, identity: Identity, project: str, version: str) -> DocsArchive:
    """The documentation of a release that the caller may see; raises NotFound, Unauthorized."""
    name, number = project_name(project), canonical_version(version)
    with read(store) as connection:
        release_in(connection, identity, name, number)
        found = find_docs(connection, name, number)
    if found is None:
        raise NotFound(f"{name} {number} has no documentation")
    return found
