"""Rows of mirrors: the projects that were asked for, and the files that upstream has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from conveyor.catalog.database.connection import is_sqlite
from conveyor.catalog.database.tables import first_digests, mirrored_files, mirrored_projects
from conveyor.catalog.releases.projects import status_columns
from conveyor.domain.indexes.mirror import MirroredFile, MirroredProject
from conveyor.domain.indexes.projects import status_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Select

_files, _projects, _first = mirrored_files.c, mirrored_projects.c, first_digests.c

KEYS_AT_ONCE = 500
"""Values in one query."""

_COLUMNS = (
    _files.index_name,
    _files.project,
    _files.filename,
    _files.sha256,
    _files.url,
    _files.size_bytes,
    _files.upload_time,
    _files.is_upload_time_first_seen,
    _files.requires_python,
    _files.is_yanked,
    _files.yank_reason,
    _files.upstream_has_metadata,
    _files.metadata_sha256,
    _files.is_stored,
    _files.is_metadata_unreadable,
    _files.provenance_url,
    _files.provenance_sha256,
    _files.address,
)
"""In the order of the fields of ``MirroredFile``."""


_PROJECTS_OF = select(
    _projects.index_name,
    _projects.project,
    _projects.is_present,
    _projects.etag,
    _projects.fetched_at,
    _projects.status,
    _projects.status_reason,
).where(
    _projects.project == bindparam("project"),
    _projects.index_name.in_(bindparam("index_names", expanding=True)),
)

_PAGE_FILES: Select[Any] = (
    select(*_COLUMNS)
    .where(
        _files.project == bindparam("project"),
        _files.index_name.in_(bindparam("index_names", expanding=True)),
    )
    .order_by(_files.index_name, _files.filename)
)

_BY_DIGEST: Select[Any] = (
    select(*_COLUMNS)
    .where(_files.sha256 == bindparam("sha256"), _files.filename == bindparam("filename"))
    .order_by(_files.index_name, _files.project)
)


_BY_ADDRESS: Select[Any] = (
    select(*_COLUMNS)
    .where(
        _files.address == bindparam("address"),
        _files.filename == bindparam("filename"),
        _files.sha256.is_(None),
    )
    .order_by(_files.index_name, _files.project)
)


def mirrored_projects_of(
    connection: Connection, project: str, index_names: Sequence[str]
) -> dict[str, MirroredProject]:
    """The remembered state of a project, by index; indexes that never asked for it are left out."""
    rows = connection.execute(_PROJECTS_OF, {"project": project, "index_names": list(index_names)})
    return {
        row.index_name: MirroredProject(*row[:-2], status=status_from(row.status, row.status_reason))
        for row in rows
    }


# ``update_mirrored_files`` writes whole rows. Whoever reads them in order to do so says ``is_changing``: on
# PostgreSQL, where writers do not queue, another one would otherwise write between the two and be undone.


def mirrored_page_files(
    connection: Connection, project: str, index_names: Sequence[str], *, is_changing: bool = False
) -> list[MirroredFile]:
    """The files of a project in any of the mirrors, by filename."""
    values = {"project": project, "index_names": list(index_names)}
    return _found(connection, _PAGE_FILES, values, is_changing=is_changing)


def mirrored_by_digest(
    connection: Connection, sha256: str, filename: str, *, is_changing: bool = False
) -> list[MirroredFile]:
    """The file of that digest and name in every mirror that has it."""
    values = {"sha256": sha256, "filename": filename}
    return _found(connection, _BY_DIGEST, values, is_changing=is_changing)


def mirrored_without_digest(
    connection: Connection, address: str, filename: str, *, is_changing: bool = False
) -> list[MirroredFile]:
    """The file of that address and name in every mirror, while its digest is not known."""
    values = {"address": address, "filename": filename}
    return _found(connection, _BY_ADDRESS, values, is_changing=is_changing)


def _found(
    connection: Connection, question: Select[Any], values: Mapping[str, object], *, is_changing: bool
) -> list[MirroredFile]:
    rows = connection.execute(question.with_for_update() if is_changing else question, values)
    return [MirroredFile(*row) for row in rows]


def first_digest(connection: Connection, address: str, filename: str) -> str | None:
    """The SHA-256 that was computed at the first download from an address; ``None`` before that."""
    return connection.scalar(
        select(_first.sha256).where(_first.address == address, _first.filename == filename)
    )


def first_digests_of(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The digests computed at first downloads, by (address, filename); files without one are left out."""
    found: dict[tuple[str, str], str] = {}
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        some = {address for address, _ in keys[begin : begin + KEYS_AT_ONCE]}
        rows = connection.execute(
            select(_first.address, _first.filename, _first.sha256).where(_first.address.in_(sorted(some)))
        )
        found.update({(address, filename): sha256 for address, filename, sha256 in rows})
    return found


def put_first_digest(
    connection: Connection, address: str, filename: str, sha256: str, *, computed_at: str
) -> str:
    """Remember the digest computed at the first download; returns the one that counts from then on.

    Of two downloads that end at the same time, the one committed first counts.
    """
    statement = sqlite if is_sqlite(connection.engine) else postgresql
    values = {"address": address, "filename": filename, "sha256": sha256, "computed_at": computed_at}
    connection.execute(statement.insert(first_digests).values(values).on_conflict_do_nothing())
    return first_digest(connection, address, filename) or sha256


def put_mirrored_project(connection: Connection, known: MirroredProject) -> None:
    """Remember that upstream was asked for a project, and its answer; nobody else does until the commit."""
    values = {
        "is_present": known.is_present,
        "etag": known.etag,
        "fetched_at": known.fetched_at,
        **status_columns(known.status),
    }
    statement = sqlite if is_sqlite(connection.engine) else postgresql
    row = {"index_name": known.index, "project": known.project, **values}
    connection.execute(
        statement.insert(mirrored_projects)
        .values(row)
        .on_conflict_do_update(index_elements=["index_name", "project"], set_=values)
    )


def insert_mirrored_files(connection: Connection, files: Sequence[MirroredFile]) -> None:
    """Write new files, all in one statement."""
    if files:
        connection.execute(insert(mirrored_files), [_values(file) for file in files])


def update_mirrored_files(connection: Connection, files: Sequence[MirroredFile]) -> None:
    """Write changed files, all in one statement."""
    if not files:
        return
    statement = (
        update(mirrored_files)
        .where(
            _files.index_name == bindparam("key_index"),
            _files.project == bindparam("key_project"),
            _files.filename == bindparam("key_filename"),
        )
        .values({column.name: bindparam(column.name) for column in _COLUMNS[3:]})
    )
    connection.execute(statement, [_keyed(_values(file)) for file in files])


def delete_mirrored_files(connection: Connection, index: str, project: str, filenames: Sequence[str]) -> None:
    """Forget files that upstream no longer has."""
    if not filenames:
        return
    statement = delete(mirrored_files).where(
        _files.index_name == index, _files.project == project, _files.filename == bindparam("gone")
    )
    connection.execute(statement, [{"gone": filename} for filename in filenames])


def _values(file: MirroredFile) -> dict[str, Any]:
    return {
        "index_name": file.index,
        "project": file.project,
        "filename": file.filename,
        "sha256": file.sha256,
        "url": file.url,
        "size_bytes": file.size_bytes,
        "upload_time": file.upload_time,
        "is_upload_time_first_seen": file.is_upload_time_first_seen,
        "requires_python": file.requires_python,
        "is_yanked": file.is_yanked,
        "yank_reason": file.yank_reason,
        "upstream_has_metadata": file.upstream_has_metadata,
        "metadata_sha256": file.metadata_sha256,
        "is_stored": file.is_stored,
        "is_metadata_unreadable": file.is_metadata_unreadable,
        "provenance_url": file.provenance_url,
        "provenance_sha256": file.provenance_sha256,
        "address": file.address,
    }


def _keyed(values: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"index_name": "key_index", "project": "key_project", "filename": "key_filename"}
    return {keys.get(name, name): value for name, value in values.items()}
