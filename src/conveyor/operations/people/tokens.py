"""API tokens: make one, revoke one, find its bearer, note when it was used.

A token is ``conveyor-`` and 256 random bits. The store keeps only its SHA-256: unlike a password, a token
cannot be guessed, so a slow hash would protect nothing and slow down every request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conveyor.catalog.database.connection import writing
from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.people import users as rows
from conveyor.catalog.people.users import find_user
from conveyor.domain.people.access import (
    Identity,
    IssuedToken,
    NewToken,
    check_scopes,
    may_administer,
    narrowed,
    scopes_from,
    unknown_user,
)
from conveyor.domain.words.names import project_name
from conveyor.domain.words.notation import future_text
from conveyor.errors import Conflict, Forbidden, InvalidInput, InvalidName, NotFound
from conveyor.operations.store.store import database_errors, read, record_change

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from conveyor.catalog.database.events import Change
    from conveyor.domain.people.access import HostedJob, Token
    from conveyor.operations.store.store import Store

PREFIX = "conveyor-"
"""Lets scanners of logs and repositories recognise a leaked token."""
SECRET_BYTES = 32


@dataclass(frozen=True)
class TokenBearer:
    """The identity that a token stands for, and its expiry."""

    id: int
    identity: Identity
    expires_at: str | None
    """UTC text; ``None`` if it is valid until revoked."""


def create_token(store: Store, identity: Identity, asked: NewToken) -> IssuedToken:
    """Make a token for a user.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store, or the user lacks a scope.
        NotFound: there is no such user or index.
        Conflict: the user is disabled.
        InvalidInput: a name is not a project name, or the expiry is not in the future.
    """
    may_administer(identity)
    checked = _checked(store, asked)
    with record_change(store, actor=identity.name) as change:
        return insert_new_token(change, checked)


def insert_new_token(change: Change, asked: NewToken, *, job: HostedJob | None = None) -> IssuedToken:
    """Make a token as part of a change whose values are already checked; raises as ``create_token``."""
    user = asked.user
    owner = find_user(change.connection, user)
    if owner is None:
        raise unknown_user(user, command=f"conveyor store user add {user}")
    if owner.is_disabled:
        raise Conflict(
            f'the user "{user}" is disabled for good',
            hint="make another one: conveyor store user add NAME",
        )
    wanted = owner.scopes if asked.scopes is None else scopes_from(asked.scopes)
    beyond = wanted - narrowed(wanted, owner.scopes)
    if beyond:
        raise Forbidden(
            f"{user} lacks the scope {', '.join(sorted(beyond))}, and so does any token of {user}",
            hint="choose fewer scopes, or another user",
        )
    _check_indexes(change, asked.indexes or ())
    secret = new_secret()
    indexes = None if asked.indexes is None else tuple(sorted(asked.indexes))
    token = replace(asked, scopes=tuple(sorted(wanted)), indexes=indexes)
    token_id = rows.insert_token(
        change.connection, token, secret_sha256=digest_of(secret), created_at=change.at, job=job
    )
    change.event("create-token", detail={"token": token_id, "user": user, "scopes": sorted(wanted)})
    return IssuedToken(token_id, secret)


def revoke_token(store: Store, identity: Identity, token_id: int) -> None:
    """Revoke a token; it stops working at the next request of every process.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such token, or it is already revoked.
    """
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        user = rows.revoke_token(change.connection, token_id, revoked_at=change.at)
        if user is None:
            raise NotFound(f"there is no token {token_id} to revoke", hint="see conveyor store token list")
        change.event("revoke-token", detail={"token": token_id, "user": user})


def list_tokens(store: Store, identity: Identity, user: str | None = None) -> list[Token]:
    """Every token, or those of one user, oldest first; secrets are not kept and never shown."""
    may_administer(identity)
    with read(store) as connection:
        return rows.list_tokens(connection, user)


def find_token(store: Store, secret_sha256: str) -> TokenBearer | None:
    """The bearer of the token with that digest; ``None`` if the token is unknown or revoked.

    Expired tokens are returned too: the clock is compared with the expiry at each use.
    """
    with read(store) as connection:
        row = rows.find_token(connection, secret_sha256)
    if row is None:
        return None
    # The token of a run may do more than the worker's own: what the store decided for that run.
    identity = Identity(
        name=row.user,
        scopes=narrowed(row.scopes, row.user_scopes) if row.run is None else row.scopes,
        indexes=row.indexes,
        projects=row.projects,
        worker=row.worker,
        user_scopes=row.user_scopes if row.run is None else None,
        run=row.run,
        job=row.job,
    )
    return TokenBearer(id=row.id, identity=identity, expires_at=row.expires_at)


def note_last_uses(store: Store, last_uses: Mapping[int, str]) -> None:
    """Write when tokens were last used (id → UTC text); not a change of the store: no event, no serial."""
    with database_errors("the last use of tokens was not stored"), writing(store.catalog) as connection:
        rows.write_last_uses(connection, last_uses)


def new_secret() -> str:
    """The text of a new token."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> str:
    """The digest under which the store keeps a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(store: Store, asked: NewToken) -> NewToken:
    """The request with normalized names and its expiry in the store's form; InvalidInput lists all faults."""
    faults: list[str] = []
    try:
        check_scopes(asked.scopes or ())
    except InvalidInput as error:
        faults += error.faults
    names: list[str] = []
    for project in asked.projects or ():
        try:
            names.append(project_name(project))
        except InvalidName as error:
            faults.append(error.message)
    until = None
    if asked.expires_at is not None:
        until = future_text(asked.expires_at, store.clock())
        if until is None:
            faults.append(f'"{asked.expires_at[:40]}" is not a future time, such as 2030-12-31T00:00:00Z')
    if faults:
        raise InvalidInput(f"the token cannot be made: {faults[0]}", faults=faults)
    return replace(
        asked,
        projects=None if asked.projects is None else tuple(sorted(names)),
        expires_at=until,
    )


def _check_indexes(change: Change, names: Collection[str]) -> None:
    """Accept names of indexes; raises NotFound naming each that is not one, as it would allow nothing."""
    known = all_indexes(change.connection)
    missing = [f'"{name}"' for name in dict.fromkeys(names) if name not in known]
    if missing:
        raise NotFound(
            f"there is no index {', '.join(missing)}", hint=f"the indexes are {', '.join(sorted(known))}"
        )
