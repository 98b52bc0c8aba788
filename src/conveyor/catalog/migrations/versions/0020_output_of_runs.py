"""Output of runs; those of before have none in the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 19 to schema 20."""
    op.create_table(
        "run_output",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("characters", sa.Integer(), nullable=False, comment="how much it is; a run has a limit"),
        sa.Column("parts", sa.Text(), nullable=False, comment="JSON: names of logs, and lines in them"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_output_run_id")),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_run_output")),
        comment="what the programs of runs write, for those who look on; removed with the run",
    )
