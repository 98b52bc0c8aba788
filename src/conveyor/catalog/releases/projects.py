"""Rows of projects and their releases: which versions exist and are closed, status, and size.

The status (PEP 792) that this store has set is in its own rows of projects; that of an upstream is in the
rows of ``mirrored``. Sizes are in bytes and are counted as files come and go; some projects have a limit of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, case, delete, exists, insert, select, update

from conveyor.catalog.database.statements import Statement, insert_missing
from conveyor.catalog.database.tables import bytes_of_files, claims, distributions, projects, releases
from conveyor.domain.indexes.projects import ACTIVE, ProjectSize, status_from

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from conveyor.domain.indexes.projects import ProjectStatus


@dataclass(frozen=True)
class ProjectRow:
    """A project that has had an upload, or to which an administrator gave a status or a limit."""

    name: str
    display_name: str
    claimed_by: str | None


def insert_project(connection: Connection, name: str, *, display_name: str, created_at: str) -> bool:
    """Write a project unless it exists; returns whether it is new.

    ``display_name`` holds until the first file says how the name is spelled (``project_sizes.count_file``).
    """
    values = {"name": name, "display_name": display_name, "created_at": created_at}
    return insert_missing(connection, projects, values) is not None


_LOCK = Statement(select(projects.c.name).where(projects.c.name == bindparam("project")).with_for_update())


def lock_project(connection: Connection, name: str) -> None:
    """Let no other transaction that locks it change this project until this one ends.

    PostgreSQL locks the row; SQLite runs one write transaction at a time anyway.
    """
    if connection.dialect.name != "sqlite":
        _LOCK.run(connection, {"project": name})


def projects_among(connection: Connection, names: Collection[str]) -> frozenset[str]:
    """Those of the normalized names that are projects of this store's own."""
    found = select(projects.c.name).where(projects.c.name.in_(sorted(names)[:_MOST_NAMES]))
    return frozenset(connection.execute(found).scalars()) if names else frozenset()


_MOST_NAMES = 5_000
"""As many words as a message of a tag can reasonably have; databases take no more parameters than 32,000."""


def find_project(connection: Connection, name: str) -> ProjectRow | None:
    """One project and the claimant of its name; ``None`` if this store has no row of its own for it."""
    row = connection.execute(
        select(projects.c.name, projects.c.display_name, claims.c.claimed_by)
        .join_from(projects, claims, (claims.c.name == projects.c.name) & ~claims.c.is_prefix, isouter=True)
        .where(projects.c.name == name)
    ).first()
    return None if row is None else ProjectRow(**row._mapping)


@dataclass(frozen=True)
class ReleaseRow:
    """One release."""

    project: str
    version: str
    created_at: str
    closed_at: str | None
    """First promotion; ``None``: files may still be added."""


_FIND = Statement(
    select(releases).where(
        releases.c.project == bindparam("project"), releases.c.version == bindparam("version")
    )
)
_INSERT_RELEASE = Statement(insert(releases))


def find_release(connection: Connection, project: str, version: str) -> ReleaseRow | None:
    """One release; ``None`` if nothing of it was ever uploaded."""
    row = _FIND.first(connection, {"project": project, "version": version})
    return None if row is None else ReleaseRow(*row)


def insert_release(connection: Connection, project: str, version: str, *, created_at: str) -> None:
    """Write a new release of a project that is locked."""
    _INSERT_RELEASE.run(connection, {"project": project, "version": version, "created_at": created_at})


def delete_empty_releases(connection: Connection, project: str) -> None:
    """Remove the releases of a project that have no files; closed releases are kept, and stay closed."""
    has_files = exists().where(
        distributions.c.project == releases.c.project, distributions.c.version == releases.c.version
    )
    connection.execute(
        delete(releases).where(releases.c.project == project, releases.c.closed_at.is_(None), ~has_files)
    )


def close_release(connection: Connection, project: str, version: str, *, closed_at: str) -> None:
    """Write that a release takes no more files; a release that is closed already keeps its time."""
    connection.execute(
        update(releases)
        .where(releases.c.project == project, releases.c.version == version, releases.c.closed_at.is_(None))
        .values(closed_at=closed_at)
    )


_STATUS = Statement(
    select(projects.c.status, projects.c.status_reason).where(projects.c.name == bindparam("project"))
)


def status_of(connection: Connection, project: str) -> ProjectStatus:
    """The status that this store gave a project; active if it never gave one."""
    row = _STATUS.first(connection, {"project": project})
    return ACTIVE if row is None else status_from(*row)


def status_columns(status: ProjectStatus) -> dict[str, str | None]:
    """The two columns of a status; both are null for an active project."""
    if status.name == "active":
        return {"status": None, "status_reason": None}
    return {"status": status.name, "status_reason": status.reason}


def set_status(connection: Connection, name: str, status: ProjectStatus) -> None:
    """Write the status of a project."""
    connection.execute(update(projects).where(projects.c.name == name).values(**status_columns(status)))


_SIZE = Statement(
    select(projects.c.stored_bytes, projects.c.size_limit_bytes).where(
        projects.c.name == bindparam("project")
    )
)
_ADD_FILE = Statement(
    update(projects)
    .where(projects.c.name == bindparam("project"))
    .values(
        stored_bytes=projects.c.stored_bytes + bindparam("size_bytes"),
        # In the same statement, so that only a first upload pays for it: a project with files has more than 0
        # bytes.
        display_name=case(
            (projects.c.stored_bytes == 0, bindparam("display_name", type_=projects.c.display_name.type)),
            else_=projects.c.display_name,
        ),
    )
)
_TAKE_STORED_BYTES = Statement(
    update(projects)
    .where(projects.c.name == bindparam("project"))
    .values(stored_bytes=projects.c.stored_bytes - bindparam("size_bytes"))
)


def project_size(connection: Connection, name: str) -> ProjectSize:
    """The size of a project and its limit; an unknown project has size 0."""
    row = _SIZE.first(connection, {"project": name})
    return ProjectSize(0, None) if row is None else ProjectSize(*row)


def count_file(connection: Connection, name: str, size_bytes: int, *, display_name: str) -> None:
    """Add a new file's bytes to a project's stored bytes.

    The first file says how the project's name is spelled: an administrator who gave the project a limit or a
    status beforehand only typed it.
    """
    _ADD_FILE.run(connection, {"project": name, "size_bytes": size_bytes, "display_name": display_name})


def add_stored_bytes(connection: Connection, name: str, size_bytes: int) -> None:
    """Add the bytes of documentation to a project's stored bytes; negative if it was deleted."""
    take_stored_bytes(connection, name, -size_bytes)


def take_stored_bytes(connection: Connection, name: str, size_bytes: int) -> None:
    """Subtract the bytes of deleted files from a project's stored bytes."""
    _TAKE_STORED_BYTES.run(connection, {"project": name, "size_bytes": size_bytes})


def recount_stored_bytes(connection: Connection, name: str) -> None:
    """Count the bytes of all of a project's files again."""
    connection.execute(update(projects).where(projects.c.name == name).values(stored_bytes=bytes_of_files()))


def set_size_limit(connection: Connection, name: str, limit_bytes: int | None) -> None:
    """Write a project's own limit; ``None``: the store's limit applies."""
    connection.execute(update(projects).where(projects.c.name == name).values(size_limit_bytes=limit_bytes))
