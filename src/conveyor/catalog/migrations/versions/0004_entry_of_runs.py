"""The index that each run enters; all earlier runs entered ``unstable``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 3 to schema 4."""
    op.add_column(
        "runs",
        sa.Column(
            "index_name",
            sa.Text(),
            nullable=False,
            server_default=sa.text("'unstable'"),
            comment="where its release enters; before there was a choice, all entered unstable",
        ),
    )
