"""When evidence was made, and which indexes ask that it was made in isolation.

Evidence of before does not say when it was made, so it counts from its receipt; nor does it say how the
programs of the project were isolated, so it counts as degraded. The index that a new store calls "stable"
requires isolation from here on; what is in it stays.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 11 to schema 12."""
    op.add_column(
        "evidence",
        sa.Column(
            "made_at",
            sa.Text(),
            nullable=True,
            comment="by its worker's clock; received_at if it does not say",
        ),
    )
    op.execute("UPDATE evidence SET made_at = received_at")
    with op.batch_alter_table("evidence") as table:
        table.alter_column("made_at", nullable=False)
    op.add_column(
        "indexes",
        sa.Column(
            "isolation",
            sa.Text(),
            nullable=False,
            server_default=sa.text("'any'"),
            comment="required: only builds and tests in a jail count for promotions into it; or any",
        ),
    )
    op.execute("UPDATE indexes SET isolation = 'required' WHERE name = 'stable' AND mode = 'promotion-only'")
