"""``conveyor store approve``: a person's approval of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.output import filling
from conveyor.cli.store.place import on_a_store
from conveyor.domain.releases.decisions import NewApproval

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.command("approve")
@click.argument("name")
@click.argument("version")
@filling(NewApproval)
@on_a_store
def command(name: str, version: str, asked: Filled[NewApproval], place: Place) -> None:
    """Approve release VERSION of project NAME for an index.

    You need the right to promote the project into the index, and a worker has no say. The gate "approval" of
    the index counts the people; the policy says how many it asks for, and for which changes of the version.
    """
    with place.client() as client:
        click.echo(client.decisions.approve(name, version, asked()).told)
