"""``conveyor store claim``: claim a project's name for this store, before its first upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("claim")
@click.argument("name")
@click.option("--prefix", "is_prefix", is_flag=True, help="Claim every name that begins with NAME-, too.")
@on_a_store
def command(name: str, is_prefix: bool, place: Place) -> None:
    """Claim the project name NAME for this store permanently: no index asks upstream for it any more."""
    with place.client() as client:
        is_new = client.claims.add(name, is_prefix=is_prefix)
    click.echo(f"{name} {'is' if is_new else 'was already'} claimed")
