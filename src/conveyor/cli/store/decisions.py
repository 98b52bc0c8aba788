"""``conveyor store approve`` and ``override``: what people decide about a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.output import filling
from conveyor.cli.store.place import on_a_store
from conveyor.domain.releases.decisions import NewApproval, NewOverride

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.command("approve")
@click.argument("name")
@click.argument("version")
@filling(NewApproval)
@on_a_store
def approve(name: str, version: str, asked: Filled[NewApproval], place: Place) -> None:
    """Approve release VERSION of project NAME for an index.

    You need the right to promote the project into the index, and a worker has no say. The gate "approval" of
    the index counts the people; the policy says how many it asks for, and for which changes of the version.
    """
    with place.client() as client:
        click.echo(client.decisions.approve(name, version, asked()).told)


@click.command("override")
@click.argument("name")
@click.argument("version")
@filling(NewOverride)
@on_a_store
def override(name: str, version: str, asked: Filled[NewOverride], place: Place) -> None:
    """Have a gate of an index let release VERSION of project NAME pass until a time.

    Administrators may, and the users that the policy names. "conveyor why" shows an override for ever, with
    the person and the reason, also after it has ended.
    """
    with place.client() as client:
        click.echo(client.decisions.override(name, version, asked()).told)
