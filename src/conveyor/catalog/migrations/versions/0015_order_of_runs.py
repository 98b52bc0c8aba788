"""Priorities of runs, and what a run does again; runs of before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From schema 14 to schema 15."""
    op.add_column(
        "runs",
        sa.Column(
            "priority",
            sa.Integer(),
            nullable=False,
            server_default=sa.text("0"),
            comment="higher ones come first",
        ),
    )
    op.add_column("runs", sa.Column("retry_of", ROW_ID, comment="the run that it does again; null: none"))
    op.add_column("runs", sa.Column("reason", sa.Text(), comment="why it was requested again, or cancelled"))
