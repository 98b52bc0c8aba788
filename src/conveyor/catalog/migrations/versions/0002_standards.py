"""Columns for newer standards (project status, provenance, static metadata) and for sizes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterator


def upgrade() -> None:
    """From schema 1 to schema 2; the new columns of old rows are filled from the rows themselves."""
    for table, column in _new_columns():
        op.add_column(table, column)
    connection = op.get_bind()
    connection.execute(sa.text(_SUM_UP))
    connection.execute(
        sa.text("UPDATE distributions SET is_metadata_static = true WHERE packagetype = 'bdist_wheel'")
    )
    static = [row.id for row in connection.execute(sa.text(_SDISTS)) if _is_static(row.core_metadata)]
    if static:
        connection.execute(
            sa.text("UPDATE distributions SET is_metadata_static = true WHERE id = :id"),
            [{"id": number} for number in static],
        )


def _is_static(core_metadata: str) -> bool:
    """As the program judged it when this migration was written; a migration does not follow the program."""
    fields = json.loads(core_metadata)
    major, _, minor = str(fields.get("metadata_version", "0")).partition(".")
    return (int(major), int(minor or 0)) >= (2, 2) and not _RESOLVED.intersection(
        name.lower() for name in fields.get("dynamic", ())
    )


_RESOLVED = {"requires-dist", "requires-python", "provides-extra"}

_SDISTS = "SELECT id, core_metadata FROM distributions WHERE packagetype = 'sdist'"

_SUM_UP = """
    UPDATE projects SET stored_bytes = coalesce(
        (SELECT sum(size_bytes) FROM distributions WHERE distributions.project = projects.name), 0)
"""


def _new_columns() -> Iterator[tuple[str, sa.Column[Any]]]:
    yield (
        "projects",
        sa.Column("status", sa.Text(), comment="archived, deprecated or quarantined (PEP 792); null: active"),
    )
    yield "projects", sa.Column("status_reason", sa.Text())
    yield (
        "projects",
        sa.Column("size_limit_bytes", sa.BigInteger(), comment="null: what the store allows every project"),
    )
    yield (
        "projects",
        sa.Column(
            "stored_bytes",
            sa.BigInteger(),
            nullable=False,
            server_default=sa.text("0"),
            comment="sum of its distributions' sizes, so that a limit costs no sum over thousands of rows",
        ),
    )
    yield (
        "distributions",
        sa.Column(
            "is_metadata_static",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="building cannot change what it says of dependencies: true of every wheel",
        ),
    )
    yield (
        "distributions",
        sa.Column(
            "provenance_sha256",
            sa.Text(),
            comment="digest of the provenance object (PEP 740), a blob; null: none",
        ),
    )
    yield (
        "mirrored_projects",
        sa.Column("status", sa.Text(), comment="as upstream says (PEP 792); null: active"),
    )
    yield "mirrored_projects", sa.Column("status_reason", sa.Text())
    yield (
        "mirrored_files",
        sa.Column(
            "is_metadata_unreadable",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="it was asked for, and there is none to be read: no longer advertised",
        ),
    )
    yield (
        "mirrored_files",
        sa.Column(
            "provenance_url", sa.Text(), comment="where the upstream serves the provenance object (PEP 740)"
        ),
    )
    yield "mirrored_files", sa.Column("provenance_sha256", sa.Text(), comment="null until read")
