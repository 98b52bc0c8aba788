"""The Pythons that an index adds to those of each project; so far no index added any."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 10 to schema 11."""
    op.add_column(
        "indexes",
        sa.Column(
            "pythons",
            sa.Text(),
            nullable=False,
            server_default=sa.text("'[]'"),
            comment="JSON list of the Pythons that releases are tested on, besides those of their projects",
        ),
    )
