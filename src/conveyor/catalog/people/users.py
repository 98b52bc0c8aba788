"""Rows of users and their API tokens, and of trusted publishers with the ID tokens that they exchanged.

Secrets are never stored, only their SHA-256: nothing in these tables grants access.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from conveyor.catalog.database.statements import Statement, columns_of, insert_missing, record_of, values_of
from conveyor.catalog.database.tables import exchanged_id_tokens, publishers, tokens, users, workers
from conveyor.domain.people.access import HostedJob, Token, scopes_from
from conveyor.domain.people.publishers import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from conveyor.domain.people.access import NewToken, Scope
    from conveyor.domain.people.publishers import NewPublisher


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
    """One user; ``None`` if no user has that name."""
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
    """Write that a user is disabled."""
    connection.execute(update(users).where(users.c.name == name).values(disabled_at=disabled_at))


@dataclass(frozen=True)
class KnownToken:
    """A token with its user's current rights; tokens revoked or of a disabled user are never found."""

    id: int
    user: str
    scopes: frozenset[Scope]
    user_scopes: frozenset[Scope]
    indexes: frozenset[str] | None
    projects: frozenset[str] | None
    expires_at: str | None
    worker: str | None
    """The registered worker whose user this is."""
    run: int | None = None
    """The run it was made for."""
    job: HostedJob | None = None
    """The job of a CI host that it was made for."""


def insert_token(
    connection: Connection,
    token: NewToken,
    *,
    secret_sha256: str,
    created_at: str,
    run_id: int | None = None,
    job: HostedJob | None = None,
) -> int:
    """Write a new token, whose scopes have been checked, and return its id.

    ``run_id`` and ``job``: the run, or the job of a CI host, that it is for.
    """
    values = {"description": "", **values_of(token, user="user_name")}
    values |= {"secret_sha256": secret_sha256, "created_at": created_at, "run_id": run_id}
    if job is not None:
        values["job"] = json.dumps({"publishers": dict(job.publishers), "claims": dict(job.claims)})
    statement = insert(tokens).values(values).returning(tokens.c.id)
    return int(connection.execute(statement).scalar_one())


_FIND_TOKEN = Statement(
    select(
        tokens.c.id,
        tokens.c.user_name,
        tokens.c.scopes,
        tokens.c.indexes,
        tokens.c.projects,
        tokens.c.expires_at,
        users.c.scopes.label("user_scopes"),
        workers.c.name.label("worker"),
        tokens.c.run_id,
        tokens.c.job,
    )
    .join_from(tokens, users, users.c.name == tokens.c.user_name)
    .outerjoin(workers, (workers.c.user_name == users.c.name) & workers.c.revoked_at.is_(None))
    .where(
        tokens.c.secret_sha256 == bindparam("secret_sha256"),
        tokens.c.revoked_at.is_(None),
        users.c.disabled_at.is_(None),
    )
)


def find_token(connection: Connection, secret_sha256: str) -> KnownToken | None:
    """The token with that digest, even if expired; ``None`` if it is revoked or its user is disabled."""
    row = _FIND_TOKEN.first(connection, {"secret_sha256": secret_sha256})
    if row is None:
        return None
    token_id, user, scopes, indexes, projects, expires_at, user_scopes, worker, run, job = row
    return KnownToken(
        id=token_id,
        user=user,
        scopes=scopes_from(json.loads(scopes)),
        user_scopes=scopes_from(json.loads(user_scopes)),
        indexes=None if indexes is None else frozenset(json.loads(indexes)),
        projects=None if projects is None else frozenset(json.loads(projects)),
        expires_at=expires_at,
        worker=worker,
        run=run,
        job=None if job is None else HostedJob(**json.loads(job)),
    )


def narrow_tokens_of_run(connection: Connection, run_id: int, project: str) -> None:
    """Let the tokens of a run reach this project alone."""
    connection.execute(update(tokens).where(tokens.c.run_id == run_id).values(projects=json.dumps([project])))


def delete_tokens_of_run(connection: Connection, run_id: int) -> None:
    """Remove the tokens of a run, which has ended; the audit log still says that there were some."""
    connection.execute(delete(tokens).where(tokens.c.run_id == run_id))


def list_tokens(connection: Connection, user: str | None = None) -> list[Token]:
    """Every token, or those of one user, oldest first, including revoked ones and those of running runs."""
    statement = select(*columns_of(Token, tokens, user="user_name")).order_by(tokens.c.id)
    if user is not None:
        statement = statement.where(tokens.c.user_name == user)
    return [record_of(Token, row) for row in connection.execute(statement)]


def revoke_token(connection: Connection, token_id: int, *, revoked_at: str) -> str | None:
    """Revoke a token; returns its user, or ``None`` if there is no such token or it was revoked before."""
    user: str | None = connection.scalar(
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
        .returning(tokens.c.user_name)
    )
    return user


def revoke_tokens_of(connection: Connection, user: str, *, revoked_at: str) -> None:
    """Revoke every token of a user."""
    connection.execute(
        update(tokens)
        .where(tokens.c.user_name == user, tokens.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )


def count_working_tokens(connection: Connection, user: str, *, now: str) -> int:
    """The number of a user's tokens that are neither revoked nor expired."""
    working = select(func.count()).where(
        tokens.c.user_name == user,
        tokens.c.revoked_at.is_(None),
        or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
    )
    return int(connection.execute(working).scalar_one())


def write_last_uses(connection: Connection, last_uses: Mapping[int, str]) -> None:
    """Write when tokens were last used; an older time never replaces a newer one from another process."""
    connection.execute(
        update(tokens)
        .where(
            tokens.c.id == bindparam("token_id"),
            or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < bindparam("used_at")),
        )
        .values(last_used_at=bindparam("used_at")),
        [{"token_id": token_id, "used_at": used_at} for token_id, used_at in sorted(last_uses.items())],
    )


# --- trusted publishers ------------------------------------------------------------------------------------

_PUBLISHERS = select(*columns_of(Publisher, publishers, index="index_name")).where(
    publishers.c.removed_at.is_(None)
)


def insert_publisher(
    connection: Connection, asked: NewPublisher, *, registered_by: str, registered_at: str
) -> int:
    """Write a new publisher, which has been checked, and return its number; none is ever given twice."""
    values = values_of(asked, index="index_name")
    values |= {"registered_by": registered_by, "registered_at": registered_at}
    return int(connection.execute(insert(publishers).values(values).returning(publishers.c.id)).scalar_one())


def list_publishers(connection: Connection) -> list[Publisher]:
    """Every publisher that has not been removed, by number."""
    return [record_of(Publisher, row) for row in connection.execute(_PUBLISHERS.order_by(publishers.c.id))]


def publishers_of(connection: Connection, issuer: str) -> list[Publisher]:
    """The publishers of one issuer, by number."""
    asked = _PUBLISHERS.where(publishers.c.issuer == issuer).order_by(publishers.c.id)
    return [record_of(Publisher, row) for row in connection.execute(asked)]


def pin_publisher(connection: Connection, number: int, ids: Mapping[str, str]) -> None:
    """Write what a publisher's repository and its owner are called by their host, unless it is known."""
    for name, value in ids.items():
        column = publishers.c[name]
        unknown = update(publishers).where(publishers.c.id == number, column.is_(None))
        connection.execute(unknown.values({name: value}))


def remove_publisher(connection: Connection, number: int, *, removed_at: str) -> bool:
    """Write that a publisher is removed; returns whether it was there."""
    removed = update(publishers).where(publishers.c.id == number, publishers.c.removed_at.is_(None))
    return connection.execute(removed.values(removed_at=removed_at)).rowcount > 0


def note_exchange(connection: Connection, issuer: str, token_id: str, *, expires_at: str) -> bool:
    """Write that an ID token was exchanged; returns ``False`` if it had been before."""
    row = {"issuer": issuer, "token_id": token_id, "expires_at": expires_at}
    return insert_missing(connection, exchanged_id_tokens, row) is not None


def forget_exchanges(connection: Connection, *, before: str) -> None:
    """Remove the notes about ID tokens that expired before a time: they are refused for that already."""
    connection.execute(delete(exchanged_id_tokens).where(exchanged_id_tokens.c.expires_at < before))
