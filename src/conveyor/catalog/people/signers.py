"""Rows of those whose signatures count: people with SSH keys (signers), and pipeline workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from conveyor.catalog.database.tables import signers, workers

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


@dataclass(frozen=True)
class Signer:
    """A registered signer's key."""

    id: int
    principal: str
    role: str
    kind: str
    public_key: str
    """Key type and base64, no comment."""
    valid_until: str | None
    registered_at: str
    revoked_at: str | None


def insert_signer(
    connection: Connection,
    *,
    principal: str,
    role: str,
    public_key: str,
    valid_until: str | None,
    registered_at: str,
) -> int:
    """Write a new SSH signer and return its id; the database refuses a key that is registered already."""
    statement = (
        insert(signers)
        .values(
            principal=principal,
            role=role,
            kind="ssh",
            public_key=public_key,
            valid_until=valid_until,
            registered_at=registered_at,
        )
        .returning(signers.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def find_signer(connection: Connection, public_key: str) -> Signer | None:
    """The signer of a key, revoked or not; ``None`` when nobody registered it."""
    row = connection.execute(select(*_SIGNER_COLUMNS).where(signers.c.public_key == public_key)).first()
    return None if row is None else Signer(**row._mapping)


def list_signers(connection: Connection) -> list[Signer]:
    """Every signer in the order of registration, revoked ones too."""
    return [
        Signer(**row._mapping) for row in connection.execute(select(*_SIGNER_COLUMNS).order_by(signers.c.id))
    ]


def revoke_signer(connection: Connection, signer_id: int, *, revoked_at: str) -> bool:
    """Write that a signer's key counts no more; false when it did not before."""
    changed = connection.execute(
        update(signers)
        .where(signers.c.id == signer_id, signers.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )
    return changed.rowcount == 1


_SIGNER_COLUMNS = (
    signers.c.id,
    signers.c.principal,
    signers.c.role,
    signers.c.kind,
    signers.c.public_key,
    signers.c.valid_until,
    signers.c.registered_at,
    signers.c.revoked_at,
)


@dataclass(frozen=True)
class Worker:
    """A registered worker and its public key (PEM, Ed25519)."""

    name: str
    user: str
    key_id: str
    public_key: str
    registered_at: str
    revoked_at: str | None


def insert_worker(
    connection: Connection, *, name: str, user: str, key_id: str, public_key: str, registered_at: str
) -> None:
    """Write a new worker; the database refuses a name or key that is registered already."""
    connection.execute(
        insert(workers).values(
            name=name, user_name=user, key_id=key_id, public_key=public_key, registered_at=registered_at
        )
    )


def find_worker(connection: Connection, name: str) -> Worker | None:
    """One worker, revoked or not; ``None`` when there is none of that name."""
    row = connection.execute(select(*_WORKER_COLUMNS).where(workers.c.name == name)).first()
    return None if row is None else Worker(**row._mapping)


def workers_of_keys(connection: Connection, key_ids: Collection[str]) -> list[Worker]:
    """The workers with these key ids, revoked or not, by name."""
    rows = connection.execute(
        select(*_WORKER_COLUMNS).where(workers.c.key_id.in_(sorted(key_ids))).order_by(workers.c.name)
    )
    return [Worker(**row._mapping) for row in rows]


def list_workers(connection: Connection) -> list[Worker]:
    """Every worker, by name, revoked ones too."""
    return [
        Worker(**row._mapping)
        for row in connection.execute(select(*_WORKER_COLUMNS).order_by(workers.c.name))
    ]


def revoke_worker(connection: Connection, name: str, *, revoked_at: str) -> bool:
    """Write that a worker's evidence counts no more; false when it did not before."""
    changed = connection.execute(
        update(workers)
        .where(workers.c.name == name, workers.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )
    return changed.rowcount == 1


_WORKER_COLUMNS = (
    workers.c.name,
    workers.c.user_name.label("user"),
    workers.c.key_id,
    workers.c.public_key,
    workers.c.registered_at,
    workers.c.revoked_at,
)
