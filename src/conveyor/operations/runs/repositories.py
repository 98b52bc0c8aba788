"""Repositories that runs may be asked for: administrators register them, and say what asks by itself.

A schedule that has come moves on in the transaction that requests its run, so of all processes one requests
it. A time that passed while no server ran counts once. A new release is seen in the audit log: in the
transaction that looks at its events, the place up to which it has looked moves on.

A run that the store requests tests again what was tested before: the same commit may fail with other
dependencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.database.events import events_of_actions
from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.runs import queue as rows
from conveyor.domain.indexes.definitions import resolution_order
from conveyor.domain.people.access import STORE, Identity, may_administer
from conveyor.domain.releases.promotions import way_of_run
from conveyor.domain.runs.repositories import (
    Repository,
    canonical_url,
    check_repository,
    check_triggers,
)
from conveyor.domain.runs.schedules import read_schedule
from conveyor.domain.runs.states import NewRun
from conveyor.domain.words.names import is_final, parse_version, project_name
from conveyor.domain.words.notation import from_utc_text, utc_text
from conveyor.errors import ConveyorError, NotFound
from conveyor.operations.runs.queue import run_in
from conveyor.operations.store.store import newest_change, read, record_change

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from conveyor.catalog.database.events import Change
    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.runs.repositories import NewRepository
    from conveyor.domain.words.notation import Event
    from conveyor.operations.store.store import Store

BRINGS_RELEASES = frozenset({"upload", "publish", "promote", "mirror-page"})
"""Actions after which an index may show a release that it did not show before."""
MOST_EVENTS = 500
"""That one transaction looks at."""
MOST_NAMED = 5


def add_repository(store: Store, identity: Identity, asked: NewRepository) -> Repository:
    """Let runs of a repository be asked for and release a project; replaces an earlier registration.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidName, InvalidInput: the project, the URL, or what is to request runs is not allowed.
    """
    may_administer(identity)
    name, url = project_name(asked.project), canonical_url(asked.url)
    check_repository(url, is_local=asked.is_local)
    check_triggers(asked)
    schedule = None if asked.schedule is None else read_schedule(asked.schedule)
    with record_change(store, actor=identity.name) as change:
        rows.delete_repository(change.connection, name, url)
        following = None if schedule is None else utc_text(schedule.next_after(from_utc_text(change.at)))
        repository = Repository(
            name, url, asked.is_local, identity.name, change.at,
            branch=asked.branch, index=asked.index, schedule=asked.schedule,
            on_release=tuple(sorted({project_name(one) for one in asked.on_release})),
            next_run_at=following,
        )  # fmt: skip
        detail: dict[str, object] = {"project": name, "url": url, "is_local": asked.is_local}
        more = {"branch": asked.branch, "schedule": asked.schedule, "on_release": list(repository.on_release)}
        detail |= {key: value for key, value in more.items() if value}
        serial = change.event("add-repository", detail=detail)
        rows.insert_repository(change.connection, repository, seen_serial=serial)
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


def request_due_runs(store: Store) -> int:
    """Request the runs whose time has come, and those that releases ask for; returns how many."""
    return _request_scheduled(store) + _request_after_releases(store)


def watched_projects(store: Store) -> list[tuple[str, str]]:
    """(index, project) of the projects whose releases request runs: where new ones are to be seen."""
    with read(store) as connection:
        watching, indexes = rows.watching_repositories(connection), all_indexes(connection)
    found = set()
    for repository, _ in watching:
        seen = _seen_indexes(repository, indexes)
        found |= {(seen[0], project) for project in repository.on_release if seen}
    return sorted(found)


def _request_scheduled(store: Store) -> int:
    with read(store) as connection:
        due = rows.due_repositories(connection, utc_text(store.clock()))
    requested = 0
    for repository in due:
        following = read_schedule(str(repository.schedule)).next_after(store.clock())
        with record_change(store, actor=STORE) as change:
            if rows.move_next_run(change.connection, repository, after=utc_text(following)):
                requested += _request(change, repository, f"its schedule: {repository.schedule}")
    return requested


def _request_after_releases(store: Store) -> int:
    with read(store) as connection:
        watching = rows.watching_repositories(connection)
    newest = newest_change(store) if watching else 0
    requested = 0
    for repository, since in watching:
        if since >= newest:
            continue
        with read(store) as connection:
            events, until = events_of_actions(connection, since, actions=BRINGS_RELEASES, limit=MOST_EVENTS)
            indexes = all_indexes(connection)
        seen = _seen_indexes(repository, indexes)
        named = list(dict.fromkeys(one for event in events for one in _new_releases(event, repository, seen)))
        with record_change(store, actor=STORE) as change:
            moved = rows.move_seen_serial(change.connection, repository, before=since, after=until)
            if moved and named:
                said = ", ".join(named[:MOST_NAMED]) + (" and others" if len(named) > MOST_NAMED else "")
                requested += _request(change, repository, f"a new release: {said}")
    return requested


def _request(change: Change, repository: Repository, reason: str) -> bool:
    """Request a run of a repository's branch, unless one waits; the audit log says why there is none."""
    asked = NewRun(
        repository.url, str(repository.branch), repository.index, repository.project, tests_again=True
    )
    sender = Identity(STORE, frozenset({"run"}), projects=frozenset({repository.project}))
    try:
        run_in(change, sender, asked, reason=reason)
    except ConveyorError as error:
        detail = {"project": repository.project, "url": repository.url, "reason": reason}
        change.event("skip-run", detail=detail | {"because": error.message})
        return False
    return True


def _seen_indexes(repository: Repository, indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """The indexes that the tests of a repository's runs install from, nearest first; empty: none now."""
    try:
        way = way_of_run(Identity(STORE, frozenset({"admin"})), repository.index, indexes)
    except ConveyorError:
        return ()
    return resolution_order(way[1], indexes)


def _new_releases(event: Event, repository: Repository, seen: Collection[str]) -> Iterator[str]:
    """The final releases that an event lets those indexes show, of projects that the repository waits for."""
    if event.project not in repository.on_release or event.index not in seen:
        return
    if event.action == "promote" and event.detail.get("from") in seen:
        return  # it could be installed before
    versions = event.detail.get("new_versions", ()) if event.action == "mirror-page" else (event.version,)
    for version in versions:
        if version is not None and is_final(parse_version(version)):
            yield f"{event.project} {version} in {event.index}"
