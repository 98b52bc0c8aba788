"""Rows of users."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select, update

from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import users
from conveyor.domain.people.access import scopes_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from conveyor.domain.people.access import Scope


@dataclass(frozen=True)
class User:
    """One user; ``password_hash`` is Argon2id, ``None`` for a user of tokens only."""

    name: str
    password_hash: str | None = field(repr=False)
    scopes: frozenset[Scope]
    is_disabled: bool


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


_FIND = Statement(
    select(users.c.name, users.c.password_hash, users.c.scopes, users.c.disabled_at).where(
        users.c.name == bindparam("user")
    )
)


def find_user(connection: Connection, name: str) -> User | None:
    """One user; ``None`` when there is none of that name."""
    row = _FIND.first(connection, {"user": name})
    if row is None:
        return None
    found, password_hash, scopes, disabled_at = row
    return User(
        name=found,
        password_hash=password_hash,
        scopes=scopes_from(json.loads(scopes)),
        is_disabled=disabled_at is not None,
    )


def update_password(connection: Connection, name: str, password_hash: str) -> None:
    """Write a user's new password hash."""
    connection.execute(update(users).where(users.c.name == name).values(password_hash=password_hash))


def disable_user(connection: Connection, name: str, *, disabled_at: str) -> None:
    """Write that a user may do nothing any more."""
    connection.execute(update(users).where(users.c.name == name).values(disabled_at=disabled_at))
