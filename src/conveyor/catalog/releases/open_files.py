"""Rows of open releases: files that are stored and described, and in no index until all of them are.

A distribution that no index holds is in an open release, or has just left one. Nothing that reads placements
sees it: pages, lists, searches and downloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, exists, func, insert, select, update

from conveyor.catalog.database.judging_tables import evidence
from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import distributions, open_files, placements, retired_filenames
from conveyor.catalog.releases.distributions import id_of_distribution
from conveyor.catalog.releases.projects import take_stored_bytes

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

_open, _files = open_files.c, distributions.c


@dataclass(frozen=True)
class OpenFile:
    """A file that waits for its release to be published."""

    index: str
    """Where the release will enter."""
    project: str
    version: str
    filename: str
    packagetype: str
    sha256: str
    size_bytes: int
    distribution_id: int
    uploaded_at: str


_OF_PROJECT = (
    select(
        _open.index_name.label("index"),
        _files.project,
        _files.version,
        _files.filename,
        _files.packagetype,
        _files.sha256,
        _files.size_bytes,
        _open.distribution_id,
        _open.uploaded_at,
    )
    .join_from(open_files, distributions, _open.distribution_id == _files.id)
    .order_by(_open.index_name, _open.filename)
)
_PUBLISHED_NOW = Statement(
    update(distributions)
    .where(
        _files.filename == bindparam("its_name"),
        _files.sha256 == bindparam("its_digest"),
        ~exists().where(placements.c.distribution_id == _files.id),
    )
    .values(uploaded_at=bindparam("at"), uploaded_by=bindparam("by"))
)


def open_files_of(connection: Connection, project: str, *, index: str | None = None) -> list[OpenFile]:
    """The files of a project that wait, for one index or for any."""
    statement = _OF_PROJECT.where(_open.project == project)
    if index is not None:
        statement = statement.where(_open.index_name == index)
    return [OpenFile(**row._mapping) for row in connection.execute(statement)]


def projects_with_open_files(connection: Connection, *, before: str) -> list[str]:
    """The projects with files that have waited since a moment or longer, by name."""
    found = select(_open.project).where(_open.uploaded_at <= before).distinct().order_by(_open.project)
    return list(connection.scalars(found))


def put_open_file(
    connection: Connection,
    *,
    index: str,
    project: str,
    filename: str,
    sha256: str,
    uploaded_at: str,
    uploaded_by: str,
) -> None:
    """Let a distribution wait, which must be there; a file that waits under its name must be gone.

    If the very file waits already, its time begins again.
    """
    values = {"uploaded_at": uploaded_at, "uploaded_by": uploaded_by}
    again = connection.execute(
        update(open_files)
        .where(_open.index_name == index, _open.project == project, _open.filename == filename)
        .values(**values)
    )
    if again.rowcount:
        return
    distribution_id = id_of_distribution(filename, sha256)
    connection.execute(
        insert(open_files).values(
            index_name=index, project=project, filename=filename, distribution_id=distribution_id, **values
        )
    )


def remove_open_file(connection: Connection, file: OpenFile) -> None:
    """End the waiting of a file; its distribution stays."""
    connection.execute(
        delete(open_files).where(
            _open.index_name == file.index, _open.project == file.project, _open.filename == file.filename
        )
    )


def drop_open_file(connection: Connection, file: OpenFile) -> None:
    """Remove a file that waits; and its distribution and the evidence about it, unless they are needed."""
    remove_open_file(connection, file)
    dropped = connection.execute(
        delete(distributions).where(
            _files.id == file.distribution_id,
            ~exists().where(placements.c.distribution_id == _files.id),
            ~exists().where(_open.distribution_id == _files.id),
        )
    )
    if dropped.rowcount:
        is_elsewhere = exists().where(_files.sha256 == file.sha256)
        connection.execute(delete(evidence).where(evidence.c.sha256 == file.sha256, ~is_elsewhere))
        take_stored_bytes(connection, file.project, file.size_bytes)


def leave_open_releases(connection: Connection, filename: str, sha256: str, *, at: str, by: str) -> None:
    """Write when and by whom a file became visible, if no index holds it yet: its upload was that moment.

    Installers that are told to ignore what came after a moment would else find a file that was not there.
    """
    values = {"its_name": filename, "its_digest": sha256, "at": at, "by": by}
    _PUBLISHED_NOW.run(connection, values)


def is_any_filename_retired(connection: Connection, project: str, version: str) -> bool:
    """Whether a file of this version, with a name as build backends write it, was ever deleted."""
    stem = f"{project.replace('-', '_')}-{version}"
    name = func.lower(retired_filenames.c.filename)
    is_of_version: ColumnElement[bool] = and_(
        name.startswith(f"{stem}-", autoescape=True), name.endswith(".whl")
    )
    found = select(retired_filenames.c.filename).where((name == f"{stem}.tar.gz") | is_of_version).limit(1)
    return connection.scalar(found) is not None
