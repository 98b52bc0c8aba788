"""The core metadata of a distribution is in its row; metadata stored before remains a blob."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 4 to schema 5; the removed JSON was derived from the metadata, and nothing read it."""
    op.add_column(
        "distributions",
        sa.Column(
            "metadata",
            sa.LargeBinary(),
            comment="core metadata, byte by byte; null: it is a blob, as schemas below 5 had it",
        ),
    )
    op.execute("ALTER TABLE distributions DROP COLUMN core_metadata")
    if op.get_bind().dialect.name == "postgresql":
        comment = "digest of the core metadata"
        op.alter_column("distributions", "metadata_sha256", comment=comment)
