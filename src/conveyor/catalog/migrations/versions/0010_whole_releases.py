"""Open releases; locks of tested environments, with the files they pin; documentation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From schema 9 to schema 10."""
    op.create_table(
        "open_files",
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("distribution_id", ROW_ID, nullable=False),
        sa.Column("uploaded_at", sa.Text(), nullable=False),
        sa.Column("uploaded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["index_name"], ["indexes.name"], name=op.f("fk_open_files_index_name")),
        sa.ForeignKeyConstraint(
            ["distribution_id"],
            ["distributions.id"],
            name=op.f("fk_open_files_distribution_id"),
        ),
        sa.PrimaryKeyConstraint("index_name", "project", "filename", name=op.f("pk_open_files")),
        comment="files of releases that are not published yet: in no index, and dropped after a day",
    )
    op.create_index(op.f("ix_open_files_distribution_id"), "open_files", ["distribution_id"], unique=False)
    op.create_table(
        "locks",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column(
            "sha256", sa.Text(), nullable=False, comment="digest of the content, as tests evidence names it"
        ),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="pylock.toml (PEP 751), byte by byte"),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("received_from", sa.Text(), nullable=False, comment="the user who handed it in"),
        sa.PrimaryKeyConstraint("project", "version", "sha256", name=op.f("pk_locks")),
        comment="environments in which releases were tested",
    )
    op.create_table(
        "pinned_files",
        sa.Column("project", sa.Text(), nullable=False, comment="of the release whose lock names the file"),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("index_name", sa.Text(), nullable=False, comment="the mirror it is from"),
        sa.Column("file_project", sa.Text(), nullable=False, comment="the project whose file it is"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("missed_at", sa.Text(), comment="first served after upstream had removed it; null: never"),
        sa.ForeignKeyConstraint(["index_name"], ["indexes.name"], name=op.f("fk_pinned_files_index_name")),
        sa.PrimaryKeyConstraint("project", "version", "sha256", "filename", name=op.f("pk_pinned_files")),
        comment="mirrored files that locks name: kept and served by digest, even if upstream removes them",
    )
    op.create_index(op.f("ix_pinned_files_sha256"), "pinned_files", ["sha256"], unique=False)
    op.create_table(
        "docs_archives",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False, comment="zip or tar.gz"),
        sa.Column("uploaded_at", sa.Text(), nullable=False),
        sa.Column("uploaded_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "version", name=op.f("pk_docs_archives")),
        comment="built documentation of releases, one archive each",
    )
