"""``conveyor store status``: show the status of a project, or give it another one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from conveyor.cli.output import note_unknown
from conveyor.cli.store.place import on_a_store
from conveyor.domain.indexes.projects import STATUS_NAMES
from conveyor.domain.words import records

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place
    from conveyor.domain.indexes.projects import StatusName


@click.command("status")
@click.argument("name")
@click.argument("status", required=False, type=click.Choice(STATUS_NAMES))
@click.option("--reason", metavar="TEXT", help="What installers and pages tell people.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(name: str, status: StatusName | None, reason: str | None, as_json: bool, place: Place) -> None:
    """Show the status of project NAME, own or mirrored, or set it to STATUS (administrators).

    An archived project takes no new files. A deprecated one only says so. No file of a quarantined one is
    shown, served or promoted. Any name can be given a status, even before anybody has asked for it; a
    note says so, because the name may be mistyped.
    """
    if status is None and reason is not None:
        raise click.UsageError("a reason belongs to a STATUS")
    with place.client() as client:
        if status is None:
            found = client.projects.status(name)
        else:
            found = client.projects.set_status(name, status, reason=reason)
    note_unknown(name, found)
    if as_json:
        click.echo(json.dumps(records.as_json(found), indent=2))
        return
    click.echo(f"{name} is {found.status}" + (f": {found.reason}" if found.reason else ""))
