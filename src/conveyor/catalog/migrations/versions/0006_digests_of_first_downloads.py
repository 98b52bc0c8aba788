"""Mirrored files whose upstream names no SHA-256: their addresses, and the digests of first downloads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 5 to schema 6."""
    with op.batch_alter_table("mirrored_files") as files:
        files.alter_column(
            "sha256",
            existing_type=sa.Text(),
            nullable=True,
            comment="null until the first download, if upstream names none",
        )
        files.add_column(
            sa.Column(
                "address",
                sa.Text(),
                comment="where upstream names no SHA-256: md5/HEX (or another hash), or unhashed/PROJECT",
            )
        )
    op.create_index(op.f("ix_mirrored_files_address"), "mirrored_files", ["address"], unique=False)
    op.create_table(
        "first_digests",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("computed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("address", "filename", name=op.f("pk_first_digests")),
        comment="which bytes an address without a SHA-256 stands for, permanently from its first download on",
    )
    # Files without a SHA-256 were left out of the pages that are known. An upstream that is asked with their
    # validators answers that nothing has changed, and the files would stay missing.
    op.execute("UPDATE mirrored_projects SET etag = NULL, fetched_at = '1970-01-01T00:00:00.000000Z'")
