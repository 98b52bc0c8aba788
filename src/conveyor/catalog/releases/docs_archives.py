"""Rows of documentation: one archive for each release that has any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from conveyor.catalog.database.connection import is_sqlite
from conveyor.catalog.database.statements import columns_of, record_of, values_of
from conveyor.catalog.database.tables import docs_archives
from conveyor.domain.releases.publications import DocsArchive

if TYPE_CHECKING:
    from sqlalchemy import Connection

_docs = docs_archives.c


def put_docs(connection: Connection, docs: DocsArchive) -> None:
    """Write the documentation of a release, new or in place of another; its bytes must be stored."""
    statement = sqlite if is_sqlite(connection.engine) else postgresql
    row = values_of(docs, without=("url",))
    connection.execute(
        statement.insert(docs_archives)
        .values(row)
        .on_conflict_do_update(index_elements=["project", "version"], set_=row)
    )


def find_docs(connection: Connection, project: str, version: str) -> DocsArchive | None:
    """The documentation of a release; ``None`` if it has none."""
    columns = columns_of(DocsArchive, docs_archives, without=("url",))
    row = connection.execute(
        select(*columns).where(_docs.project == project, _docs.version == version)
    ).first()
    return None if row is None else record_of(DocsArchive, row, url=url_of_docs(project, version))


def url_of_docs(project: str, version: str) -> str:
    """The path on the store of a release's documentation."""
    return f"/api/v1/projects/{project}/releases/{version}/docs/archive"


def delete_docs(connection: Connection, project: str, version: str | None) -> None:
    """Remove the documentation of a release; ``None`` stands for every version."""
    statement = docs_archives.delete().where(_docs.project == project)
    connection.execute(statement if version is None else statement.where(_docs.version == version))
