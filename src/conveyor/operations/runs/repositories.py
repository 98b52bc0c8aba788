"""Repositories that runs may be asked for: administrators register, list and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.runs import queue as rows
from conveyor.domain.people.access import may_administer
from conveyor.domain.runs.repositories import Repository, canonical_url, check_repository
from conveyor.domain.words.names import project_name
from conveyor.errors import NotFound
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store


def add_repository(
    store: Store, identity: Identity, project: str, url: str, *, is_local: bool = False
) -> Repository:
    """Let runs of a repository be asked for and release this project; replaces an earlier registration.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidName, InvalidInput: the project or the URL is not allowed.
    """
    may_administer(identity)
    name, url = project_name(project), canonical_url(url)
    check_repository(url, is_local=is_local)
    with record_change(store, actor=identity.name) as change:
        rows.delete_repository(change.connection, name, url)
        repository = Repository(name, url, is_local, identity.name, change.at)
        rows.insert_repository(change.connection, repository)
        change.event("add-repository", detail={"project": name, "url": url, "is_local": is_local})
    return repository


def list_repositories(store: Store, identity: Identity) -> list[Repository]:
    """Every registered repository, by project; raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return rows.all_repositories(connection)


def remove_repository(store: Store, identity: Identity, project: str, url: str) -> None:
    """Stop a repository's runs from releasing this project.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: it is not registered for the project.
    """
    may_administer(identity)
    name, url = project_name(project), canonical_url(url)
    with record_change(store, actor=identity.name) as change:
        if not rows.delete_repository(change.connection, name, url):
            raise NotFound(
                f"{url[:200]} is not registered for {name}", hint="see conveyor store repository list"
            )
        change.event("remove-repository", detail={"project": name, "url": url})
