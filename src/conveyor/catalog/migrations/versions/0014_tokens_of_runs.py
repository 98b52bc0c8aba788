"""Tokens of runs; a worker's own token changes nothing but runs, since each run has a token now."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 13 to schema 14."""
    op.add_column(
        "tokens",
        sa.Column(
            "run_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            comment="the run it was made for, with which it ends; null: none",
        ),
    )
    op.create_index(op.f("ix_tokens_run_id"), "tokens", ["run_id"])
    connection = op.get_bind()
    for table, owner in ((_users, _users.c.name), (_tokens, _tokens.c.user_name)):
        of_workers = owner.in_(sa.select(_workers))
        connection.execute(sa.update(table).where(of_workers).values(scopes='["read", "run"]'))


_users = sa.table("users", sa.column("name"), sa.column("scopes"))
_tokens = sa.table("tokens", sa.column("user_name"), sa.column("scopes"))
_workers = sa.table("workers", sa.column("user_name"))
