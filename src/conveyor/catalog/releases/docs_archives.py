"""Rows of documentation: one archive for each release that has any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from conveyor.catalog.database.connection import is_sqlite
from conveyor.catalog.database.statements import Statement, columns_of, record_of, values_of
from conveyor.catalog.database.tables import distributions, docs_archives, projects
from conveyor.catalog.releases.projects import add_stored_bytes
from conveyor.domain.releases.publications import DocsArchive

if TYPE_CHECKING:
    from sqlalchemy import Connection

_docs = docs_archives.c


def put_docs(connection: Connection, docs: DocsArchive, *, before: DocsArchive | None) -> None:
    """Write the documentation of a release, whose bytes are stored, in place of ``before``, and count it."""
    statement = sqlite if is_sqlite(connection.engine) else postgresql
    row = values_of(docs, without=("url",))
    connection.execute(
        statement.insert(docs_archives)
        .values(row)
        .on_conflict_do_update(index_elements=["project", "version"], set_=row)
    )
    more = docs.size_bytes - (before.size_bytes if before is not None else 0)
    add_stored_bytes(connection, docs.project, more)


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


_ITS_DOCS = (_docs.project == bindparam("its_project"), _docs.version == bindparam("its_version"))
_UNCOUNT = Statement(
    update(projects)
    .where(projects.c.name == bindparam("its_project"), exists().where(*_ITS_DOCS))
    .values(
        stored_bytes=projects.c.stored_bytes - select(_docs.size_bytes).where(*_ITS_DOCS).scalar_subquery()
    )
)
_DELETE = Statement(delete(docs_archives).where(*_ITS_DOCS))


def delete_docs(connection: Connection, project: str, version: str) -> None:
    """Remove the documentation of a release, if it has any, and its bytes from those of its project."""
    its = {"its_project": project, "its_version": version}
    _UNCOUNT.run(connection, its)
    _DELETE.run(connection, its)


def delete_stray_docs(connection: Connection, project: str) -> dict[str, int]:
    """Remove the documentation of releases of which no file is here; version → bytes of what was removed."""
    has_files = exists().where(
        distributions.c.project == _docs.project, distributions.c.version == _docs.version
    )
    deleted = connection.execute(
        delete(docs_archives)
        .where(_docs.project == project, ~has_files)
        .returning(_docs.version, _docs.size_bytes)
    )
    sizes = {row.version: row.size_bytes for row in deleted}
    if sizes:
        add_stored_bytes(connection, project, -sum(sizes.values()))
    return sizes
