"""Users: make one, change a password, disable one, and check a password.

Passwords are kept as Argon2id with the parameters of RFC 9106 (second choice: 64 MiB, three passes). Checking
one takes tens of milliseconds on purpose, so call :func:`is_right_password` in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from conveyor.catalog.people import users as rows
from conveyor.domain.people.access import (
    Identity,
    check_scopes,
    check_user_name,
    may_administer,
    unknown_user,
)
from conveyor.domain.people.passwords import MAX_PASSWORD_LENGTH, PasswordChange, check_password
from conveyor.errors import Conflict, NotFound
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Iterable

    from argon2 import PasswordHasher

    from conveyor.operations.store.store import Store


@dataclass(frozen=True)
class Account:
    """A user who may sign in with a password."""

    identity: Identity
    password_hash: str = field(repr=False)


def add_user(
    store: Store, identity: Identity, name: str, *, password: str | None, scopes: Iterable[str]
) -> None:
    """Make a user; a user who has no password can only use tokens.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidName, InvalidInput: the name, the password or a scope is not allowed.
        Conflict: there is a user of that name.
    """
    may_administer(identity)
    check_user_name(name)
    wanted = tuple(scopes)
    check_scopes(wanted)
    # Before the transaction: hashing takes long, and a write transaction keeps others waiting.
    password_hash = None if password is None else hash_password(password)
    with record_change(store, actor=identity.name) as change:
        if rows.find_user(change.connection, name) is not None:
            raise Conflict(f'there is already a user "{name}"', hint="choose another name")
        rows.insert_user(
            change.connection,
            name=name,
            password_hash=password_hash,
            scopes=wanted,
            created_at=change.at,
        )
        change.event("add-user", detail={"user": name, "scopes": sorted(wanted)})


def set_password(
    store: Store, identity: Identity, name: str, password: str, *, revoke_tokens: bool = False
) -> PasswordChange:
    """Give a user a new password; the old one stops working at the next request of every process.

    The user's tokens outlive the old password unless ``revoke_tokens`` is true.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such user.
        Conflict: the user is disabled.
        InvalidInput: the password is not allowed.
    """
    may_administer(identity)
    password_hash = hash_password(password)
    with record_change(store, actor=identity.name) as change:
        user = rows.find_user(change.connection, name)
        if user is None:
            raise unknown_user(name, command=f"conveyor store user add {name} --with-password")
        if user.is_disabled:
            raise Conflict(
                f'the user "{name}" is disabled for good',
                hint="make another one: conveyor store user add NAME --with-password",
            )
        working = rows.count_working_tokens(change.connection, name, now=change.at)
        if revoke_tokens:
            rows.revoke_tokens_of(change.connection, name, revoked_at=change.at)
        done = PasswordChange(*((0, working) if revoke_tokens else (working, 0)))
        rows.update_password(change.connection, name, password_hash)
        change.event("set-user-password", detail={"user": name, "revoked_tokens": done.revoked_tokens})
    return done


def disable_user(store: Store, identity: Identity, name: str) -> None:
    """Disable a user: neither the password nor any token of theirs works any longer.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such user.
        Conflict: callers cannot disable themselves.
    """
    may_administer(identity)
    if name == identity.name:
        raise Conflict("you cannot disable yourself", hint="let another administrator do it")
    with record_change(store, actor=identity.name) as change:
        if rows.find_user(change.connection, name) is None:
            raise NotFound(f'there is no user "{name}"')
        rows.disable_user(change.connection, name, disabled_at=change.at)
        rows.revoke_tokens_of(change.connection, name, revoked_at=change.at)
        change.event("disable-user", detail={"user": name})


def find_account(store: Store, name: str) -> Account | None:
    """A user who may sign in with a password; ``None`` if unknown, disabled or without a password."""
    with read(store) as connection:
        user = rows.find_user(connection, name)
    if user is None or user.is_disabled or user.password_hash is None:
        return None
    return Account(Identity(name=user.name, scopes=user.scopes), user.password_hash)


def is_right_password(account: Account | None, password: str) -> bool:
    """Whether the password is the user's; takes equally long for unknown users, so timing tells nothing."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    expected = _hash_of_nobody() if account is None else account.password_hash
    try:
        _hasher().verify(expected, password[:MAX_PASSWORD_LENGTH])
    except (Argon2Error, InvalidHashError):
        return False
    return account is not None and len(password) <= MAX_PASSWORD_LENGTH


def hash_password(password: str) -> str:
    """Argon2id hash of a new password; raises InvalidInput as ``check_password``."""
    check_password(password)
    return _hasher().hash(password)


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _hash_of_nobody() -> str:
    return _hasher().hash("nobody has this password")
