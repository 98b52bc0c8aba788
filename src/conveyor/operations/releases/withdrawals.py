"""Withdrawals: have installers ignore files of a release (yanks), or delete files permanently.

A deletion keeps the claim on the project's name, the evidence, the events, and the filename, which can never
be used again. A release that was promoted stays closed, so that nothing else can appear under a version that
people have installed (decision record 0010). The bytes are left to garbage collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.releases.distributions import (
    delete_distributions,
    delete_placements_of,
    distributions_of,
    placements_of_release,
    retire_filename,
    set_yanked,
)
from conveyor.catalog.releases.docs_archives import delete_stray_docs
from conveyor.catalog.releases.open_files import drop_open_file, open_files_of
from conveyor.catalog.releases.projects import delete_empty_releases, lock_project, take_stored_bytes
from conveyor.domain.indexes.policy import not_here, readable_indexes
from conveyor.domain.indexes.withdrawals import Deletion, Yank, YankedFile, may_yank
from conveyor.domain.people.access import may_administer
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.domain.words.notation import checked_reason
from conveyor.errors import InvalidInput, NotFound
from conveyor.operations.releases.standing import MOST_NAMED, no_release
from conveyor.operations.store.store import record_change

if TYPE_CHECKING:
    from collections.abc import Collection

    from conveyor.catalog.database.events import Change
    from conveyor.catalog.releases.distributions import PlacedFile
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store


def yank_release(
    store: Store,
    identity: Identity,
    project: str,
    version: str,
    *,
    index: str | None = None,
    filename: str | None = None,
    reason: str | None = None,
) -> Yank:
    """Yank a release, or one file of it; yanking again with another reason changes the reason.

    If ``index`` is ``None``, it is yanked in every index in which the caller sees it. It is all or nothing:
    if the caller may not yank in one of them, nothing changes.

    Raises:
        InvalidName, InvalidVersion, InvalidInput: the project's name, the version or the reason is not valid.
        NotFound: the caller sees no such file.
        Unauthorized, Forbidden: the caller may not yank it in each of these indexes.
    """
    said = Yank(project, version, is_yanked=True, reason=checked_reason(reason), files=())
    return _say(store, identity, said, index=index, filename=filename)


def unyank_release(
    store: Store,
    identity: Identity,
    project: str,
    version: str,
    *,
    index: str | None = None,
    filename: str | None = None,
) -> Yank:
    """Take a yank back; arguments and errors as for ``yank_release``."""
    said = Yank(project, version, is_yanked=False, reason=None, files=())
    return _say(store, identity, said, index=index, filename=filename)


def _say(store: Store, identity: Identity, said: Yank, *, index: str | None, filename: str | None) -> Yank:
    project, version = project_name(said.project), canonical_version(said.version)
    with record_change(store, actor=identity.name) as change:
        lock_project(change.connection, project)
        # 1. the files that the caller sees
        indexes = all_indexes(change.connection)
        seen = readable_indexes(indexes, identity, project=project)
        there = [
            file for file in placements_of_release(change.connection, project, version) if file.index in seen
        ]
        if not there:
            raise no_release(change.connection, identity, project, version)
        chosen = [file for file in there if index in (None, file.index) and filename in (None, file.filename)]
        if not chosen:
            error = _nothing_there(project, version, there, index=index, filename=filename)
            raise not_here(error, identity, indexes)
        # 2. the caller's rights
        places = sorted({file.index for file in chosen})
        for place in places:
            may_yank(identity, indexes[place], project)
        # 3. rows and events, if that changes something
        for place in places:
            _write(change, said, [file for file in chosen if file.index == place])
    files = tuple(YankedFile(file.index, file.filename) for file in chosen)
    return Yank(project, version, said.is_yanked, said.reason, files)


def _write(change: Change, said: Yank, files: Collection[PlacedFile]) -> None:
    """Write the yank, or its end, of files in one index."""
    changed = [file for file in files if (file.is_yanked, file.yank_reason) != (said.is_yanked, said.reason)]
    if not changed:
        return
    index, project, version = changed[0].index, changed[0].project, changed[0].version
    filenames = [file.filename for file in changed]
    set_yanked(
        change.connection,
        index=index,
        project=project,
        filenames=filenames,
        is_yanked=said.is_yanked,
        reason=said.reason,
    )
    change.event(
        "yank" if said.is_yanked else "unyank",
        index=index,
        project=project,
        version=version,
        detail={"files": filenames, **({"reason": said.reason} if said.reason else {})},
    )


def _nothing_there(
    project: str, version: str, there: Collection[PlacedFile], *, index: str | None, filename: str | None
) -> NotFound:
    """The error for a release whose files ``there`` are others, or in other indexes."""
    what = f"{project} {version}" if filename is None else f"{filename} of {project} {version}"
    where = "this store" if index is None else f'index "{index}"'
    known = sorted(f'{file.filename} in "{file.index}"' for file in there)
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return NotFound(
        f"there is no {what} in {where}", hint=f"its files are {', '.join(known[:MOST_NAMED])}{more}"
    )


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
        Unauthorized, Forbidden: the caller is not an administrator.
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        InvalidInput: a file was named without its version.
        NotFound: there is nothing of that name, neither published nor waiting to be.
    """
    # 1. the caller's right and the request
    may_administer(identity)
    name = project_name(project)
    number = None if version is None else canonical_version(version)
    if filename is not None and number is None:
        raise InvalidInput("a file is deleted from a release: name its version too")
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        lock_project(connection, name)
        # 2. the files; what waits to be published goes as if it had never come
        waiting = [
            file
            for file in open_files_of(connection, name)
            if number in (None, file.version) and filename in (None, file.filename)
        ]
        for one in waiting:
            drop_open_file(connection, one)
        files = distributions_of(connection, name, number, filename)
        # 3. delete rows; names of what was published stay taken
        delete_placements_of(connection, name, number, filename)
        delete_distributions(connection, name, number, filename)
        documented = delete_stray_docs(connection, name)
        delete_empty_releases(connection, name)
        for file in files:
            retire_filename(connection, file.filename, sha256=file.sha256, retired_at=change.at)
        take_stored_bytes(connection, name, sum(file.size_bytes for file in files))
        if not files and not waiting and not documented:
            what = " ".join(part for part in (name, number, filename) if part)
            raise NotFound(
                f"there is no {what} in this store", hint="only files that were uploaded here can be deleted"
            )
        sizes = {one.sha256: one.size_bytes for one in waiting} | {
            one.sha256: one.size_bytes for one in files
        }
        size_bytes = sum(sizes.values()) + sum(documented.values())
        deletion = Deletion(
            name, size_bytes, tuple(files), tuple(one.filename for one in waiting), tuple(sorted(documented))
        )
        # 4. events
        _note_deletion(change, deletion, version=number)
    return deletion


def _note_deletion(change: Change, deletion: Deletion, *, version: str | None) -> None:
    detail: dict[str, object] = {
        "files": [{"filename": file.filename, "sha256": file.sha256} for file in deletion.files],
        "size_bytes": deletion.size_bytes,
    }
    if deletion.waiting:
        detail["waiting"] = list(deletion.waiting)
    if deletion.documented:
        detail["documented"] = list(deletion.documented)
    change.event("delete", project=deletion.project, version=version, detail=detail)
