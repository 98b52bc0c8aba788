"""Signers with OpenPGP keys: the key itself, beside its fingerprint; all earlier signers have SSH keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 8 to schema 9."""
    op.add_column(
        "signers",
        sa.Column("certificate", sa.Text(), nullable=True, comment="the OpenPGP key in base64; null for ssh"),
    )
