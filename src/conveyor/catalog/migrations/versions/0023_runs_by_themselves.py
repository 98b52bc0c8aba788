"""What requests runs by itself: schedules and releases; repositories of before have neither."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 22 to schema 23."""
    op.add_column(
        "runs",
        sa.Column("tests_since", sa.Text(), comment="only later results of tests count for it; null: all"),
    )
    for column in (
        sa.Column("branch", sa.Text(), comment="of which the store requests runs by itself; null: of none"),
        sa.Column(
            "index_name", sa.Text(), comment="where these runs enter; null: the only index where they can"
        ),
        sa.Column("schedule", sa.Text(), comment="when one is requested; null: at no time"),
        sa.Column(
            "on_release",
            sa.Text(),
            nullable=False,
            server_default=sa.text("'[]'"),
            comment="JSON list of projects",
        ),
        sa.Column("next_run_at", sa.Text(), comment="when the schedule comes next"),
        sa.Column(
            "seen_serial", sa.BigInteger(), comment="events up to this one were looked at for new releases"
        ),
    ):
        op.add_column("repositories", column)
    op.create_index(op.f("ix_repositories_next_run_at"), "repositories", ["next_run_at"], unique=False)
