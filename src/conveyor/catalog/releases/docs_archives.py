"""Rows of documentation: one archive for each release that has any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from conveyor.catalog.database.connection import is_sqlite
from conveyor.catalog.database.tables import docs_archives
from conveyor.domain.releases.publications import DocsArchive

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.domain.distributions.documentation import DocsFormat

_docs = docs_archives.c


def put_docs(
    connection: Connection,
    project: str,
    version: str,
    *,
    sha256: str,
    size_bytes: int,
    archive_format: DocsFormat,
    uploaded_at: str,
    uploaded_by: str,
) -> None:
    """Write the documentation of a release, new or in place of another; its bytes must be stored."""
    values = {
        "sha256": sha256,
        "size_bytes": size_bytes,
        "format": archive_format,
        "uploaded_at": uploaded_at,
        "uploaded_by": uploaded_by,
    }
    statement = sqlite if is_sqlite(connection.engine) else postgresql
    row = {"project": project, "version": version, **values}
    connection.execute(
        statement.insert(docs_archives)
        .values(row)
        .on_conflict_do_update(index_elements=["project", "version"], set_=values)
    )


def find_docs(connection: Connection, project: str, version: str) -> DocsArchive | None:
    """The documentation of a release; ``None`` if it has none."""
    row = connection.execute(
        select(docs_archives).where(_docs.project == project, _docs.version == version)
    ).first()
    if row is None:
        return None
    return DocsArchive(
        project=row.project,
        version=row.version,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        format=row.format,
        url=f"/api/v1/projects/{project}/releases/{version}/docs/archive",
        uploaded_at=row.uploaded_at,
        uploaded_by=row.uploaded_by,
    )


def delete_docs(connection: Connection, project: str, version: str | None) -> None:
    """Remove the documentation of a release; ``None`` stands for every version."""
    statement = docs_archives.delete().where(_docs.project == project)
    connection.execute(statement if version is None else statement.where(_docs.version == version))
