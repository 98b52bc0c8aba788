"""Rows of claims: names and prefixes that belong to the house. A claim is never deleted with its project."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from conveyor.catalog.rows import insert_missing
from conveyor.catalog.tables import claims

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class ClaimRow:
    """One claim and its origin."""

    name: str
    """Normalized; of a prefix, without its last hyphen."""
    is_prefix: bool
    claimed_by: str
    claimed_at: str


_FIND = select(claims).where(claims.c.name == bindparam("name"), claims.c.is_prefix == bindparam("is_prefix"))


def insert_claim(connection: Connection, claim: ClaimRow) -> bool:
    """Write a claim unless it is there; whether it is new."""
    return insert_missing(connection, claims, asdict(claim)) is not None


def find_claim(connection: Connection, name: str, *, is_prefix: bool) -> ClaimRow | None:
    """The claim on exactly this name or prefix; ``None`` when nobody made it."""
    row = connection.execute(_FIND, {"name": name, "is_prefix": is_prefix}).first()
    return None if row is None else ClaimRow(**row._mapping)


def list_claims(connection: Connection) -> list[ClaimRow]:
    """Every claim, by name."""
    rows = connection.execute(select(claims).order_by(claims.c.name, claims.c.is_prefix))
    return [ClaimRow(**row._mapping) for row in rows]
