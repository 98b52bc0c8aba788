"""Signers with OpenPGP keys: the key itself, beside its fingerprint; all earlier signers have SSH keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

COMMENTS = {
    "kind": ("ssh", "ssh or openpgp"),
    "public_key": (
        "key type and base64, no comment",
        "key type and base64, no comment; or openpgp and the fingerprint",
    ),
}


def upgrade() -> None:
    """From schema 8 to schema 9."""
    comment = "the OpenPGP key in base64; null for ssh"
    op.add_column("signers", sa.Column("certificate", sa.Text(), nullable=True, comment=comment))
    if op.get_bind().dialect.name != "sqlite":  # which keeps no comments
        for column, (before, after) in COMMENTS.items():
            op.alter_column(
                "signers",
                column,
                existing_type=sa.Text(),
                existing_nullable=False,
                existing_comment=before,
                comment=after,
            )
