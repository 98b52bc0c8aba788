"""Releases to judge again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 15 to schema 16."""
    op.create_table(
        "due_judgements",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False, comment="what the store names when the release moves"),
        sa.PrimaryKeyConstraint("project", "version", name=op.f("pk_due_judgements")),
        comment="releases to judge again, because time or a setting may have opened a gate",
    )
    op.create_index(op.f("ix_due_judgements_due_at"), "due_judgements", ["due_at"], unique=False)
