"""The table of servers that answer from memory while their lease lasts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 6 to schema 7."""
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "renewal", sa.BigInteger(), nullable=False, comment="number of the newest renewal of its lease"
        ),
        sa.Column(
            "acknowledged",
            sa.BigInteger(),
            nullable=False,
            comment="it knows of every change up to this serial",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        comment="PostgreSQL: servers that answer from memory while their lease lasts; no backup has them",
    )
