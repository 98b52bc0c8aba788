"""Rows of signers: people whose SSH signatures count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from conveyor.catalog.database.tables import signers

if TYPE_CHECKING:
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
    row = connection.execute(select(*_COLUMNS).where(signers.c.public_key == public_key)).first()
    return None if row is None else Signer(**row._mapping)


def list_signers(connection: Connection) -> list[Signer]:
    """Every signer in the order of registration, revoked ones too."""
    return [Signer(**row._mapping) for row in connection.execute(select(*_COLUMNS).order_by(signers.c.id))]


def revoke_signer(connection: Connection, signer_id: int, *, revoked_at: str) -> bool:
    """Write that a signer's key counts no more; false when it did not before."""
    changed = connection.execute(
        update(signers)
        .where(signers.c.id == signer_id, signers.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )
    return changed.rowcount == 1


_COLUMNS = (
    signers.c.id,
    signers.c.principal,
    signers.c.role,
    signers.c.kind,
    signers.c.public_key,
    signers.c.valid_until,
    signers.c.registered_at,
    signers.c.revoked_at,
)
