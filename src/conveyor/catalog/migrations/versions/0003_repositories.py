"""The repositories that runs may be asked for; workers may start runs, as they could before."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 2 to schema 3."""
    op.create_table(
        "repositories",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("is_local", sa.Boolean(), nullable=False),
        sa.Column("registered_by", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "url", name=op.f("pk_repositories")),
        comment="repositories that runs may be asked for, by the project that they release",
    )
    connection = op.get_bind()
    for table, key, owner in (
        (_users, _users.c.name, _users.c.name),
        (_tokens, _tokens.c.id, _tokens.c.user_name),
    ):
        found = connection.execute(
            sa.select(key.label("key"), table.c.scopes).where(owner.in_(sa.select(_workers)))
        ).all()
        for row in found:
            scopes = json.loads(row.scopes)
            if "upload" in scopes and "run" not in scopes:
                written = json.dumps(sorted([*scopes, "run"]))
                connection.execute(table.update().where(key == row.key).values(scopes=written))


_users = sa.table("users", sa.column("name"), sa.column("scopes"))
_tokens = sa.table("tokens", sa.column("id"), sa.column("user_name"), sa.column("scopes"))
_workers = sa.table("workers", sa.column("user_name"))
