"""``conveyor store claim``: claim a project's name for this store, before its first upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.output import filling
from conveyor.cli.store.place import on_a_store
from conveyor.domain.indexes.definitions import NewClaim

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.command("claim")
@filling(NewClaim, arguments=("name",))
@on_a_store
def command(asked: Filled[NewClaim], place: Place) -> None:
    """Claim the project name NAME for this store permanently: no index asks upstream for it any more."""
    claim = asked()
    with place.client() as client:
        is_new = client.claims.add(claim)
    click.echo(f"{claim.name} {'is' if is_new else 'was already'} claimed")
