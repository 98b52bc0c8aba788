"""How large a project is and may become: show it, give it a limit of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.releases.projects import (
    find_project,
    insert_project,
    lock_project,
    project_size,
    set_size_limit,
)
from conveyor.domain.indexes.projects import ProjectSize
from conveyor.domain.people.access import may_administer
from conveyor.domain.words.names import project_name
from conveyor.errors import NotFound
from conveyor.operations.store.changes import read, record_change

if TYPE_CHECKING:
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store


def get_project_size(store: Store, identity: Identity, project: str) -> ProjectSize:
    """The bytes of all files of a project, and its own limit.

    Raises:
        Unauthorized, Forbidden: the caller is no administrator.
        InvalidName, NotFound: it is no name of a project that was uploaded here.
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
    """Give a project a limit of its own, which goes before the store's; ``None``: take it away again.

    Files that are here stay, whatever the limit is. A project that nothing was uploaded for yet can have one;
    that claims no name and makes no page.

    Raises:
        Unauthorized, Forbidden: the caller is no administrator.
        InvalidName: it is no project name.
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
