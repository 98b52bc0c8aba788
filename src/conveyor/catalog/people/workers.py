"""Rows of pipeline workers: whose evidence counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from conveyor.catalog.database.tables import workers

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


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
    row = connection.execute(select(*_COLUMNS).where(workers.c.name == name)).first()
    return None if row is None else Worker(**row._mapping)


def workers_of_keys(connection: Connection, key_ids: Collection[str]) -> list[Worker]:
    """The workers with these key ids, revoked or not, by name."""
    rows = connection.execute(
        select(*_COLUMNS).where(workers.c.key_id.in_(sorted(key_ids))).order_by(workers.c.name)
    )
    return [Worker(**row._mapping) for row in rows]


def list_workers(connection: Connection) -> list[Worker]:
    """Every worker, by name, revoked ones too."""
    return [Worker(**row._mapping) for row in connection.execute(select(*_COLUMNS).order_by(workers.c.name))]


def revoke_worker(connection: Connection, name: str, *, revoked_at: str) -> bool:
    """Write that a worker's evidence counts no more; false when it did not before."""
    changed = connection.execute(
        update(workers)
        .where(workers.c.name == name, workers.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )
    return changed.rowcount == 1


_COLUMNS = (
    workers.c.name,
    workers.c.user_name.label("user"),
    workers.c.key_id,
    workers.c.public_key,
    workers.c.registered_at,
    workers.c.revoked_at,
)
