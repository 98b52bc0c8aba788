"""Projects as a whole: show and set their status (PEP 792), their size and its limit.

``domain.indexes.projects`` says what each status allows. Any name can be given a status, even if it is only
mirrored or nobody has asked for it yet, so that a quarantine can act before upstream has noticed a problem.
Giving a status claims no name and makes no page; the project's page shows it if there is one, now or later.
This store's decision takes precedence over upstream's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.indexes.mirrored import mirrored_projects_of
from conveyor.catalog.releases.distributions import releases_of_project
from conveyor.catalog.releases.judging import put_tested_due
from conveyor.catalog.releases.projects import (
    find_project,
    insert_project,
    lock_project,
    project_size,
    set_size_limit,
    set_status,
    status_of,
)
from conveyor.domain.indexes.policy import not_here, readable_indexes
from conveyor.domain.indexes.projects import ACTIVE, ProjectSize, ProjectStatus, shown_status
from conveyor.domain.people.access import may_administer
from conveyor.domain.words.names import project_name
from conveyor.domain.words.notation import checked_reason
from conveyor.errors import NotFound
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from conveyor.domain.indexes.mirror import MirroredProject
    from conveyor.domain.indexes.projects import StatusName
    from conveyor.domain.people.access import Identity
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store


def get_project_status(store: Store, identity: Identity, project: str) -> ProjectStatus:
    """The status that readers of a project's pages see.

    Raises:
        InvalidName: ``name`` is not a project name.
        NotFound: there is no such project that the caller may see.
    """
    name = project_name(project)
    with read(store) as connection:
        indexes = all_indexes(connection)
        seen = readable_indexes(indexes, identity, project=name)
        mirrored = _mirrored(connection, name, seen)
        is_held = any(index in seen for _, index, _ in releases_of_project(connection, name))
        is_known = find_project(connection, name) is not None and identity.is_whole_admin
        if not (mirrored or is_held or is_known):
            error = NotFound(
                f'there is no project "{name}" in this store',
                hint="check the spelling of its name; a project of upstream is known here once somebody "
                f"has asked for its page, such as /pypi/simple/{name}/",
            )
            raise not_here(error, identity, indexes)
        return shown_status(status_of(connection, name), [one.status for one in mirrored])


def set_project_status(
    store: Store, identity: Identity, project: str, status: StatusName, *, reason: str | None = None
) -> ProjectStatus:
    """Give a project a status, visible from the next request on; the same status again changes nothing.

    Raises:
        Unauthorized, Forbidden: the caller is not an administrator.
        InvalidName, InvalidInput: the name is not a project name, or the reason cannot be shown.
    """
    # 1. the caller's right, the name, the reason
    may_administer(identity)
    name = project_name(project)
    given = ProjectStatus(status, checked_reason(reason) if status != "active" else None)
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        # 2. a row for it; a project that has no row is active
        if given != ACTIVE:
            insert_project(connection, name, display_name=project, created_at=change.at)
        lock_project(connection, name)
        # 3. row and event, if that changes something
        if status_of(connection, name) != given:
            set_status(connection, name, given)
            detail = {"status": given.name, **({"reason": given.reason} if given.reason else {})}
            change.event("set-project-status", project=name, detail=detail)
            put_tested_due(connection, due_at=change.at, cause=f"status {given.name}", project=name)
    return given


def _mirrored(
    connection: Connection, project: NormalizedName, indexes: Collection[str]
) -> list[MirroredProject]:
    """The rows of mirrors among ``indexes`` for a project that their upstream has."""
    known = mirrored_projects_of(connection, project, sorted(indexes))
    return [one for one in known.values() if one.is_present]


def get_project_size(store: Store, identity: Identity, project: str) -> ProjectSize:
    """The total size of a project's files, and its own limit.

    Raises:
        Unauthorized, Forbidden: the caller is not an administrator.
        InvalidName, NotFound: ``name`` is not the name of a project that was uploaded here.
    """
    may_administer(identity)
    name = project_name(project)
    with read(store) as connection:
        if find_project(connection, name) is None:
            raise NotFound(
                f'there is no project "{name}" of this store\'s own',
                hint=f"it can be given a limit before its first file: conveyor store limit {name} BYTES",
            )
        return project_size(connection, name)


def set_project_size_limit(
    store: Store, identity: Identity, project: str, limit_bytes: int | None
) -> ProjectSize:
    """Give a project a limit of its own, which overrides the store's; ``None`` removes it.

    Existing files stay, whatever the limit is. A project can have a limit before its first upload; the limit
    claims no name and makes no page.

    Raises:
        Unauthorized, Forbidden: the caller is not an administrator.
        InvalidName: ``name`` is not a project name.
    """
    may_administer(identity)
    name = project_name(project)
    with record_change(store, actor=identity.name) as change:
        if limit_bytes is not None:
            insert_project(change.connection, name, display_name=project, created_at=change.at)
        lock_project(change.connection, name)
        before = project_size(change.connection, name)
        if before.limit_bytes != limit_bytes:
            set_size_limit(change.connection, name, limit_bytes)
            change.event("set-size-limit", project=name, detail={"limit_bytes": limit_bytes})
    return ProjectSize(before.stored_bytes, limit_bytes)
