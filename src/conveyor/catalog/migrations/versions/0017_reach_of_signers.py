"""For which projects and indexes a signer may sign; those of before may sign for all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 16 to schema 17."""
    for name in ("projects", "indexes"):
        comment = "JSON list of those that it may sign for; null: all"
        op.add_column("signers", sa.Column(name, sa.Text(), comment=comment))
    op.create_index(op.f("ix_evidence_commit_id"), "evidence", ["commit_id"], unique=False)
