"""Rows of parties whose signatures count: people with SSH or OpenPGP keys, and pipeline workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from conveyor.catalog.database.statements import columns_of, record_of, values_of
from conveyor.catalog.database.tables import signers, workers
from conveyor.domain.people.keys import Signer, Worker

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from conveyor.domain.people.keys import NewSigner


def insert_signer(
    connection: Connection, signer: NewSigner, *, certificate: str | None, registered_at: str
) -> None:
    """Write a new signer; the database refuses a key that is registered already.

    ``certificate``: the OpenPGP key, of which ``public_key`` is the name; ``None`` for an SSH key.
    """
    kind = "ssh" if certificate is None else "openpgp"
    values = {**values_of(signer), "kind": kind, "certificate": certificate, "registered_at": registered_at}
    connection.execute(insert(signers).values(values))


def renew_signer(connection: Connection, signer: NewSigner, *, certificate: str | None) -> None:
    """Write what a registered key may sign now, and an OpenPGP key's newer form, which may expire later."""
    reach = values_of(signer, with_nulls=True)
    changed = {name: reach[name] for name in ("projects", "indexes")}
    if certificate is not None:
        changed |= {"certificate": certificate, "valid_until": signer.valid_until}
    connection.execute(update(signers).where(signers.c.public_key == signer.public_key).values(changed))


def find_signer(connection: Connection, public_key: str) -> Signer | None:
    """The signer of a key, revoked or not; ``None`` if the key is not registered."""
    row = connection.execute(_SIGNERS.where(signers.c.public_key == public_key)).first()
    return None if row is None else record_of(Signer, row)


def list_signers(connection: Connection) -> list[Signer]:
    """Every signer in order of registration, including revoked ones."""
    return [record_of(Signer, row) for row in connection.execute(_SIGNERS.order_by(signers.c.id))]


def revoke_signer(connection: Connection, public_key: str, *, revoked_at: str) -> bool:
    """Write that a signer's key no longer counts; returns false if it was revoked already."""
    changed = connection.execute(
        update(signers)
        .where(signers.c.public_key == public_key, signers.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )
    return changed.rowcount == 1


_SIGNERS = select(*columns_of(Signer, signers))


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
    """One worker, revoked or not; ``None`` if no worker has that name."""
    row = connection.execute(_WORKERS.where(workers.c.name == name)).first()
    return None if row is None else record_of(Worker, row)


def is_worker(connection: Connection, user: str) -> bool:
    """Whether a user is that of a registered worker that was not revoked."""
    found = select(workers.c.name).where(workers.c.user_name == user, workers.c.revoked_at.is_(None)).limit(1)
    return connection.scalar(found) is not None


def workers_of_keys(connection: Connection, key_ids: Collection[str]) -> list[Worker]:
    """The workers with these key ids, revoked or not, by name."""
    asked = _WORKERS.where(workers.c.key_id.in_(sorted(key_ids))).order_by(workers.c.name)
    return [record_of(Worker, row) for row in connection.execute(asked)]


def list_workers(connection: Connection) -> list[Worker]:
    """Every worker, by name, including revoked ones."""
    return [record_of(Worker, row) for row in connection.execute(_WORKERS.order_by(workers.c.name))]


def revoke_worker(connection: Connection, name: str, *, revoked_at: str) -> bool:
    """Write that a worker's evidence no longer counts; returns false if the worker was revoked already."""
    changed = connection.execute(
        update(workers)
        .where(workers.c.name == name, workers.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )
    return changed.rowcount == 1


_WORKERS = select(*columns_of(Worker, workers))
