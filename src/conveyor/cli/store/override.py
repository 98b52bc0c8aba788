"""``conveyor store override``: open a gate for one release, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.output import filling
from conveyor.cli.store.place import on_a_store
from conveyor.domain.releases.decisions import NewOverride

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.command("override")
@click.argument("name")
@click.argument("version")
@filling(NewOverride)
@on_a_store
def command(name: str, version: str, asked: Filled[NewOverride], place: Place) -> None:
    """Have a gate of an index let release VERSION of project NAME pass until a time.

    Administrators may, and the users that the policy names. "conveyor why" shows an override for ever, with
    the person and the reason, also after it has ended.
    """
    with place.client() as client:
        click.echo(client.decisions.override(name, version, asked()).told)
