"""Webhooks of git hosts, and their deliveries; a store of before has none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 18 to schema 19."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False, comment="github, gitlab, gitea or bitbucket"),
        sa.Column(
            "index_name", sa.Text(), comment="where releases enter; null: the only index where they can"
        ),
        sa.Column(
            "secret", sa.Text(), nullable=False, comment="shared with the host: signatures need it as it is"
        ),
        sa.Column("registered_by", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        comment="webhooks of git hosts, whose deliveries ask for runs",
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the body"),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id")
        ),
        sa.PrimaryKeyConstraint("webhook_id", "digest", name=op.f("pk_webhook_deliveries")),
        comment="deliveries of before, so that none counts twice",
    )
