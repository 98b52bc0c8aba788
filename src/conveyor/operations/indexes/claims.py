"""Claims: names and prefixes of names that belong permanently to this store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.indexes import definitions as rows
from conveyor.catalog.indexes.definitions import claims_on
from conveyor.domain.indexes.definitions import MadeClaim, is_claimed
from conveyor.domain.indexes.policy import may_claim_name, must_ask_upstream
from conveyor.domain.people.access import may_administer, may_claim
from conveyor.domain.words.names import project_name
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from conveyor.catalog.database.events import Change
    from conveyor.domain.people.access import Identity
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store


def name_to_ask_for(
    store: Store, identity: Identity, name: str, *, is_prefix: bool = False
) -> NormalizedName | None:
    """The name that upstream must be asked for before this caller may claim it, or ``None``.

    Raises:
        Unauthorized, Forbidden: the caller may claim nothing.
        InvalidName: ``name`` is not a project name.
    """
    if is_prefix:
        return None
    project = project_name(name)
    with read(store) as connection:
        if not must_ask_upstream(identity, project, claims_on(connection, project)):
            return None
    may_claim(identity, project)
    return project


def claim_name(
    store: Store,
    identity: Identity,
    name: str,
    *,
    is_prefix: bool = False,
    upstream_has: bool | None = None,
) -> tuple[MadeClaim, bool]:
    """Claim a project's name, or every name that begins with a prefix; returns whether the claim is new too.

    Repeating a claim changes nothing and succeeds. A prefix needs an administrator: upstream cannot be asked
    for all names that it would hide.

    Args:
        store: the store.
        identity: who claims.
        name: the name of a project, or a prefix with or without its last hyphen.
        is_prefix: whether it is a prefix (``risk`` covers ``risk`` and ``risk-…``).
        upstream_has: whether upstream has a project of that name; ``None`` if it was not asked, which is
            right where ``name_to_ask_for`` returns ``None``.

    Raises:
        Unauthorized, Forbidden: the caller may not claim this name.
        InvalidName: ``name`` is not a project name.
    """
    # 1. the name, and the caller's right to it
    normalized = project_name(name.removesuffix("-") if is_prefix else name)
    if is_prefix:
        may_administer(identity)
    # 2. the row, unless it exists
    with record_change(store, actor=identity.name) as change:
        found = rows.find_claim(change.connection, normalized, is_prefix=is_prefix)
        if found is not None:
            may_claim(identity, normalized)  # else a token for one project could look up who has which name
            return found, False
        if not is_prefix and is_claimed(normalized, claims_on(change.connection, normalized)):
            may_claim(identity, normalized)  # by a prefix: nothing more is hidden from anybody
        elif not is_prefix:
            check_new_name(change.connection, identity, normalized, upstream_has=upstream_has)
        return _write(change, normalized, is_prefix=is_prefix), True


def check_new_name(
    connection: Connection, identity: Identity, project: NormalizedName, *, upstream_has: bool | None
) -> None:
    """Allow an upload that claims the name of its project, which no claim covers yet.

    Raises:
        Unauthorized, Forbidden: the caller may not claim this name.
    """
    has_lookalike = not identity.is_whole_admin and rows.has_lookalike(connection, project)
    may_claim_name(identity, project, upstream_has=upstream_has, has_lookalike=has_lookalike)


def claim_for_upload(change: Change, project: NormalizedName) -> None:
    """Claim the name of a project with its first upload, inside the transaction of that upload."""
    _write(change, project, is_prefix=False)


def list_claims(store: Store, identity: Identity) -> list[MadeClaim]:
    """Every claim of the store, by name; for administrators."""
    may_administer(identity)
    with read(store) as connection:
        return rows.list_claims(connection)


def _write(change: Change, name: NormalizedName, *, is_prefix: bool) -> MadeClaim:
    claim = MadeClaim(name=name, is_prefix=is_prefix, claimed_by=change.actor, claimed_at=change.at)
    if rows.insert_claim(change.connection, claim):
        # A prefix touches pages of many projects: an event without a project touches all of them.
        change.event(
            "claim", project=None if is_prefix else name, detail={"name": name, "is_prefix": is_prefix}
        )
    return claim
