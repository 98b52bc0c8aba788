"""Releases: which ones a project has, where each one is, its files, its evidence and its dependants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import quote

from packaging.version import Version

from conveyor.catalog.indexes.definitions import all_indexes, find_claim
from conveyor.catalog.indexes.mirrored import mirrored_projects_of
from conveyor.catalog.releases import distributions as rows
from conveyor.catalog.releases.evidence import evidence_of_release, versions_built_from
from conveyor.catalog.releases.projects import find_project, find_release
from conveyor.catalog.runs.queue import all_repositories
from conveyor.domain.indexes.definitions import resolution_order
from conveyor.domain.indexes.policy import not_here, readable_indexes
from conveyor.domain.releases.dependants import Dependants, dependant_of, newest_of
from conveyor.domain.releases.standing import (
    ProjectReleases,
    Release,
    ReleaseFile,
    ReleaseSummary,
    farthest,
)
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.errors import NotFound, Unauthorized
from conveyor.operations.store.store import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from conveyor.catalog.releases.distributions import PlacedFile
    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.dependants import Dependant
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store

_ELSEWHERE = "check the spelling of its name, or upload it first"
MOST_NAMED = 10
"""How many versions, or files, the hint of an error names."""


def get_project(store: Store, identity: Identity, name: str) -> ProjectReleases:
    """A project with the releases that the caller may see.

    Raises:
        InvalidName: ``name`` is not a project name.
        NotFound: there is no such project, or the caller may see nothing of it.
        Unauthorized: in the same cases, for anonymous callers of a store that has a private index.
    """
    project = project_name(name)
    with read(store) as connection:
        known = all_indexes(connection)
        seen = readable_indexes(known, identity, project=project)
        found = find_project(connection, project)
        placed = [row for row in rows.releases_of_project(connection, project) if row[1] in seen]
    if found is None or not placed:
        error = NotFound(f'there is no project "{project}" in this store', hint=_ELSEWHERE)
        raise not_here(error, identity, known)
    indexes: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for version, index, count in placed:
        indexes.setdefault(version, []).append(index)
        counts[version] = counts.get(version, 0) + count
    newest_first = sorted(indexes, key=Version, reverse=True)
    return ProjectReleases(
        name=project,
        display_name=found.display_name,
        claimed_by=found.claimed_by,
        releases=tuple(
            ReleaseSummary(version, tuple(indexes[version]), counts[version]) for version in newest_first
        ),
    )


def is_project_known(store: Store, name: str) -> bool:
    """Whether a project is here or expected: its name is claimed, or a mirror has it from upstream.

    Every uploaded project is claimed. The answer covers private indexes, so it is only for callers who may
    know it. Raises InvalidName.
    """
    project = project_name(name)
    with read(store) as connection:
        if find_claim(connection, project, is_prefix=False) is not None:
            return True
        mirrored = mirrored_projects_of(connection, project, sorted(all_indexes(connection)))
        return any(one.is_present for one in mirrored.values())


def get_release(store: Store, identity: Identity, project: str, version: str) -> Release:
    """One release; raises as ``release_in``."""
    with read(store) as connection:
        return release_in(connection, identity, project, version)


def release_in(connection: Connection, identity: Identity, project: str, version: str) -> Release:
    """One release, as this transaction sees it.

    Raises:
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound: there is no such release that the caller may see.
        Unauthorized: in the same cases, for anonymous callers of a store that has a private index.
    """
    name, number = project_name(project), canonical_version(version)
    found = _release(connection, identity, name, number)
    if found is None:
        raise no_release(connection, identity, name, number)
    return found


def no_release(
    connection: Connection, identity: Identity, project: NormalizedName, version: str
) -> NotFound | Unauthorized:
    """The error for a release that is not here; its hint names those that the caller may see."""
    indexes = all_indexes(connection)
    seen = readable_indexes(indexes, identity, project=project)
    there = {row[0] for row in rows.releases_of_project(connection, project) if row[1] in seen}
    newest = sorted(there, key=Version, reverse=True)[:MOST_NAMED]
    hint = f"its releases here are {', '.join(newest)}" if newest else _ELSEWHERE
    return not_here(NotFound(f"there is no {project} {version} in this store", hint=hint), identity, indexes)


def releases_of_commit(store: Store, identity: Identity, project: str, commit: str) -> list[Release]:
    """The releases of a project with build evidence that names this commit, oldest evidence first.

    Raises:
        InvalidName: ``project`` is not a project name.
    """
    name = project_name(project)
    with read(store) as connection:
        seen = readable_indexes(all_indexes(connection), identity, project=name)
        if not any(index in seen for _, index, _ in rows.releases_of_project(connection, name)):
            return []  # as for a project that does not exist, after as many queries
        found = [
            _release(connection, identity, name, version)
            for version in versions_built_from(connection, name, commit)
        ]
    return [release for release in found if release is not None]


def _release(connection: Connection, identity: Identity, project: str, version: str) -> Release | None:
    indexes = all_indexes(connection)
    seen = readable_indexes(indexes, identity, project=project)
    placed = [file for file in rows.placements_of_release(connection, project, version) if file.index in seen]
    row = find_release(connection, project, version)
    if row is None or not placed:
        return None
    present = sorted({file.index for file in placed})
    shown = {None, *(file.sha256 for file in placed)}  # a signature on a commit is not about any file
    return Release(
        project=project,
        version=version,
        index=farthest(present, indexes),
        indexes=tuple(present),
        is_closed=row.closed_at is not None,
        files=tuple({file.filename: _file(file) for file in placed}.values()),
        evidence=tuple(
            one for one in evidence_of_release(connection, project, version) if one.sha256 in shown
        ),
    )


def _file(placed: PlacedFile) -> ReleaseFile:
    """A file with the path at which the store serves it."""
    return ReleaseFile(
        filename=placed.filename,
        packagetype=cast("Literal['bdist_wheel', 'sdist']", placed.packagetype),
        sha256=placed.sha256,
        size_bytes=placed.size_bytes,
        url=f"/packages/{placed.sha256}/{quote(placed.filename)}",
        uploaded_at=placed.uploaded_at,
        uploaded_by=placed.uploaded_by,
        requires_python=placed.requires_python,
        is_yanked=placed.is_yanked,
        yank_reason=placed.yank_reason,
    )


def dependants_in(
    connection: Connection, project: str, version: str, indexes: Iterable[str]
) -> tuple[Dependant, ...]:
    """The newest release of each other project in each of these indexes that requires the project."""
    found = []
    for index in indexes:
        there = rows.all_releases(connection, index, with_yanked=False)
        newest = newest_of((name, number) for name, number, _ in there if name != project)
        for (name, number), metadata in sorted(
            rows.newest_metadata(connection, index, newest.items()).items()
        ):
            one = dependant_of(metadata, index=index, project=name, version=number, on=(project, version))
            if one is not None:
                found.append(one)
    return tuple(found)


def find_dependants(
    store: Store, identity: Identity, project: str, version: str, *, index: str | None = None
) -> Dependants:
    """What depends on a release, in one index or in all that the caller may read.

    Raises:
        InvalidName, InvalidVersion: the project's name or the version is not valid.
        NotFound: there is no such release or index that the caller may see.
    """
    with read(store) as connection:
        release = release_in(connection, identity, project, version)
        indexes = all_indexes(connection)
        readable = readable_indexes(indexes, identity)
        if index is not None and index not in readable:
            error = NotFound(f'there is no index "{index}"', hint="see conveyor store index list")
            raise not_here(error, identity, indexes)
        asked = readable if index is None else {index}
        local = sorted(name for name in asked if indexes[name].kind == "local")
        found = dependants_in(connection, release.project, release.version, local)
        # Whoever can install it from an index can install what the bases of that index have.
        places = release.indexes if index is None else (index,)
        offering = {seen for place in places for seen in resolution_order(place, indexes)} & readable
        others = {
            number
            for place in sorted(offering)
            for name, number, _ in rows.all_releases(connection, place, with_yanked=False)
            if name == release.project and number != release.version
        }
        needing = {one.project for one in found if one.accepts}
        known = all_repositories(connection) if needing and identity.worker is not None else []
    remaining = tuple(sorted(others, key=Version, reverse=True))
    repositories = tuple(one for one in known if one.project in needing)
    return Dependants(release.project, release.version, found, remaining, repositories)
