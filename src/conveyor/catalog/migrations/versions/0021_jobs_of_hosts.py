"""Jobs of CI hosts: what tokens were made for, what jobs told, and by which numbers repositories last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 20 to schema 21."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    made_for = "JSON: the job of a CI host that it was made for; null: for none"
    op.add_column("tokens", sa.Column("job", sa.Text(), comment=made_for))
    of_evidence = "whose job told it, unsigned; null: it is signed"
    op.add_column("evidence", sa.Column("publisher_id", number, comment=of_evidence))
    op.add_column("evidence", sa.Column("job", sa.Text(), comment="JSON: claims of the ID token of that job"))
    of_repository = "what the host calls it, whatever its name; null: not seen yet"
    op.add_column("publishers", sa.Column("repository_id", sa.Text(), comment=of_repository))
    of_owner = "as repository_id, of who owns the repository"
    op.add_column("publishers", sa.Column("owner_id", sa.Text(), comment=of_owner))
