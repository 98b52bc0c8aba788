"""Deletions: take files of our own out of the store, for ever.

What stays: the claim on the project's name, the evidence on every file, the events, and each filename as one
that is never given again. A release that was promoted stays closed, so that nothing else can appear under a
version that people have installed (decision record 0010). The bytes are left to garbage collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.releases.distributions import (
    delete_distributions,
    delete_placements_of,
    distributions_of,
    retire_filename,
)
from conveyor.catalog.releases.projects import delete_empty_releases, lock_project, take_stored_bytes
from conveyor.domain.indexes.withdrawals import Deletion
from conveyor.domain.people.access import may_administer
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.errors import InvalidInput, NotFound
from conveyor.operations.store.changes import record_change

if TYPE_CHECKING:
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store


def delete_files(
    store: Store,
    identity: Identity,
    project: str,
    version: str | None = None,
    *,
    filename: str | None = None,
) -> Deletion:
    """Delete a file, a release (``filename`` ``None``) or all files of a project (``version`` ``None`` too).

    They leave every index at once.

    Raises:
        Unauthorized, Forbidden: the caller is no administrator.
        InvalidName, InvalidVersion: project or version is none.
        InvalidInput: a file was named without its version.
        NotFound: there is no such file.
    """
    # 1. who asks, for what
    may_administer(identity)
    name = project_name(project)
    number = None if version is None else canonical_version(version)
    if filename is not None and number is None:
        raise InvalidInput("a file is deleted out of a release: name its version too")
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        lock_project(connection, name)
        # 2. what there is
        files = distributions_of(connection, name, number, filename)
        if not files:
            what = " ".join(part for part in (name, number, filename) if part)
            raise NotFound(
                f"there is no {what} in this store", hint="only what was uploaded here is deleted here"
            )
        # 3. rows go, names stay taken
        delete_placements_of(connection, name, number, filename)
        delete_distributions(connection, name, number, filename)
        delete_empty_releases(connection, name)
        for file in files:
            retire_filename(connection, file.filename, sha256=file.sha256, retired_at=change.at)
        deletion = Deletion(name, tuple(files))
        take_stored_bytes(connection, name, deletion.size_bytes)
        # 4. who did it
        change.event(
            "delete",
            project=name,
            version=number,
            detail={
                "files": [{"filename": file.filename, "sha256": file.sha256} for file in files],
                "size_bytes": deletion.size_bytes,
            },
        )
    return deletion
