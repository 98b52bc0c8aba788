"""Rows of claims: names and prefixes that belong to the house. A claim is never deleted with its project."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select, union_all

from conveyor.catalog.database.rows import insert_missing
from conveyor.catalog.database.tables import claims, mirrored_projects
from conveyor.domain.words.names import LOOKALIKES, skeleton

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from conveyor.domain.words.names import NormalizedName


@dataclass(frozen=True)
class ClaimRow:
    """One claim and its origin."""

    name: str
    """Normalized; of a prefix, without its last hyphen."""
    is_prefix: bool
    claimed_by: str
    claimed_at: str


def _looks_like(name: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a name is another than the given one, and has its skeleton (``domain.words.names``)."""
    reduced = name
    for sign, other in LOOKALIKES:
        reduced = func.replace(reduced, sign, other)
    return (name != bindparam("name")) & (reduced == bindparam("skeleton"))


_FIND = select(claims).where(claims.c.name == bindparam("name"), claims.c.is_prefix == bindparam("is_prefix"))
_LOOKALIKES = union_all(
    select(claims.c.name).where(~claims.c.is_prefix, _looks_like(claims.c.name)),
    select(mirrored_projects.c.project).where(
        mirrored_projects.c.is_present, _looks_like(mirrored_projects.c.project)
    ),
).limit(1)


def insert_claim(connection: Connection, claim: ClaimRow) -> bool:
    """Write a claim unless it is there; whether it is new."""
    return insert_missing(connection, claims, asdict(claim)) is not None


def find_claim(connection: Connection, name: str, *, is_prefix: bool) -> ClaimRow | None:
    """The claim on exactly this name or prefix; ``None`` when nobody made it."""
    row = connection.execute(_FIND, {"name": name, "is_prefix": is_prefix}).first()
    return None if row is None else ClaimRow(**row._mapping)


def has_lookalike(connection: Connection, name: NormalizedName) -> bool:
    """Whether another name looks like this one: one that is claimed, or that a mirror has from upstream.

    Reads all names, which only who claims a new one waits for.
    """
    return connection.execute(_LOOKALIKES, {"name": name, "skeleton": skeleton(name)}).first() is not None


def list_claims(connection: Connection) -> list[ClaimRow]:
    """Every claim, by name."""
    rows = connection.execute(select(claims).order_by(claims.c.name, claims.c.is_prefix))
    return [ClaimRow(**row._mapping) for row in rows]
