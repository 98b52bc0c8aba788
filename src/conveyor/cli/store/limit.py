"""``conveyor store limit``: show how large a project is, or limit it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from conveyor.cli.output import note_unknown
from conveyor.cli.store.place import on_a_store
from conveyor.domain.words import records

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("limit")
@click.argument("name")
@click.argument("limit_bytes", required=False, type=click.IntRange(min=0), metavar="[BYTES]")
@click.option("--none", "is_none", is_flag=True, help="Remove the project's own limit.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(name: str, limit_bytes: int | None, is_none: bool, as_json: bool, place: Place) -> None:
    """Show how large project NAME is, or let all of its files together have up to BYTES (administrators).

    The limit replaces that of the store, whether it is higher or lower. It may be set before the project
    has a file; a note says so, because the name may be mistyped. Files that are already here stay.
    """
    if is_none and limit_bytes is not None:
        raise click.UsageError("give either BYTES or --none")
    with place.client() as client:
        if is_none or limit_bytes is not None:
            found = client.projects.set_size_limit(name, limit_bytes)
        else:
            found = client.projects.size(name)
    note_unknown(name, found)
    if as_json:
        click.echo(json.dumps(records.as_json(found), indent=2))
        return
    limit = "no limit of its own" if found.limit_bytes is None else f"a limit of {found.limit_bytes:,}"
    click.echo(f"{name} has {found.stored_bytes:,} bytes and {limit}")
