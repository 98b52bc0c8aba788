"""Rows of distributions: what each stored wheel or sdist is, and which names were retired."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, insert, select, true

from conveyor.catalog.database.rows import insert_missing
from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import distributions, retired_filenames
from conveyor.domain.indexes.withdrawals import DeletedFile

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from conveyor.domain.distributions.reading import Distribution


_FIND = Statement(
    select(distributions.c.id).where(
        distributions.c.filename == bindparam("filename"), distributions.c.sha256 == bindparam("sha256")
    )
)
_INSERT = Statement(insert(distributions).returning(distributions.c.id))
_FIND_RETIRED = Statement(
    select(retired_filenames.c.filename).where(retired_filenames.c.filename == bindparam("filename"))
)


def find_distribution(connection: Connection, filename: str, sha256: str) -> int | None:
    """The id of the distribution with this name and these bytes; ``None`` when there is none."""
    found: int | None = _FIND.scalar(connection, {"filename": filename, "sha256": sha256})
    return found


def insert_distribution(
    connection: Connection,
    distribution: Distribution,
    *,
    metadata_sha256: str,
    uploaded_at: str,
    uploaded_by: str,
    provenance_sha256: str | None = None,
) -> int:
    """Write a new distribution and return its id; its project must be there, its bytes must be stored.

    ``provenance_sha256``: digest of its provenance object (PEP 740), a blob; ``None``: it has none.
    """
    values = {
        "filename": distribution.filename,
        "project": distribution.project,
        "version": distribution.version,
        "packagetype": distribution.packagetype,
        "sha256": distribution.digests.sha256,
        "blake2b_256": distribution.digests.blake2b_256,
        "size_bytes": distribution.size_bytes,
        "requires_python": distribution.requires_python,
        "metadata_sha256": metadata_sha256,
        "core_metadata": json.dumps(distribution.core_metadata, sort_keys=True),
        "uploaded_at": uploaded_at,
        "uploaded_by": uploaded_by,
        "is_metadata_static": distribution.is_metadata_static,
        "provenance_sha256": provenance_sha256,
    }
    return int(_INSERT.scalar(connection, values))


def distributions_of(
    connection: Connection, project: str, version: str | None, filename: str | None
) -> list[DeletedFile]:
    """The files of a project that a deletion would take; ``None`` stands for every version or filename."""
    rows = connection.execute(
        select(
            distributions.c.filename,
            distributions.c.version,
            distributions.c.sha256,
            distributions.c.size_bytes,
        )
        .where(of_project(project, version, filename))
        .order_by(distributions.c.version, distributions.c.filename)
    )
    return [DeletedFile(*row) for row in rows]


def delete_distributions(
    connection: Connection, project: str, version: str | None, filename: str | None
) -> None:
    """Remove the rows of a project's files, which no placement may name any more."""
    connection.execute(delete(distributions).where(of_project(project, version, filename)))


def of_project(project: str, version: str | None, filename: str | None) -> ColumnElement[bool]:
    """The condition for the files of a project; ``None`` stands for every version or filename."""
    return and_(
        distributions.c.project == project,
        distributions.c.version == version if version is not None else true(),
        distributions.c.filename == filename if filename is not None else true(),
    )


def retire_filename(connection: Connection, filename: str, *, sha256: str, retired_at: str) -> None:
    """Write that a filename is never given again; one that is retired already stays as it is."""
    values = {"filename": filename, "sha256": sha256, "retired_at": retired_at}
    insert_missing(connection, retired_filenames, values)


def is_retired(connection: Connection, filename: str) -> bool:
    """Whether a file of this name was deleted from the store."""
    return _FIND_RETIRED.first(connection, {"filename": filename}) is not None


def digests_retired_since(connection: Connection, moment: str) -> set[str]:
    """The digests of the files that were deleted after a moment."""
    return set(
        connection.scalars(select(retired_filenames.c.sha256).where(retired_filenames.c.retired_at > moment))
    )


def deleted_at(connection: Connection, filename: str, sha256: str) -> str | None:
    """When the file of that name and digest was deleted from the store; ``None``: it was not."""
    found: str | None = connection.scalar(
        select(retired_filenames.c.retired_at).where(
            retired_filenames.c.filename == filename, retired_filenames.c.sha256 == sha256
        )
    )
    return found
