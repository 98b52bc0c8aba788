"""Rows of users."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import insert

from conveyor.catalog.tables import users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection


def insert_user(
    connection: Connection,
    *,
    name: str,
    password_hash: str | None,
    scopes: Iterable[str],
    created_at: str,
) -> None:
    """Write a new user; ``password_hash`` is Argon2id, ``None`` for a user of tokens only."""
    connection.execute(
        insert(users).values(
            name=name, password_hash=password_hash, scopes=json.dumps(sorted(scopes)), created_at=created_at
        )
    )
