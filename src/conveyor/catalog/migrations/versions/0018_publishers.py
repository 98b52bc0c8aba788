"""Trusted publishers, and the ID tokens that were exchanged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 17 to schema 18."""
    op.create_table(
        "publishers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="github, gitlab or other"),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), comment="null: any, or none"),
        sa.Column("registered_by", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publishers")),
        comment="jobs of CI hosts that may publish a project into an index, without a stored secret",
    )
    op.create_index(op.f("ix_publishers_issuer"), "publishers", ["issuer"])
    op.create_table(
        "exchanged_id_tokens",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "token_id", name=op.f("pk_exchanged_id_tokens")),
        comment="ID tokens of publishers that were exchanged, until they expire: none is exchanged twice",
    )
