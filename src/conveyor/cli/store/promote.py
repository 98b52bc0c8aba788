"""``conveyor store promote``: move a release to an index, if its gates let it pass."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("promote")
@click.argument("name")
@click.argument("version")
@click.option("--to", required=True, metavar="INDEX", help="The index it enters.")
@click.option(
    "--from", "source", metavar="INDEX", help="The index it leaves. Default: the one that leads to INDEX."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(name: str, version: str, to: str, source: str | None, as_json: bool, place: Place) -> None:
    """Move every file of release VERSION of project NAME to an index.

    If a gate of that index does not pass, the promotion is refused with one verdict per gate and exit
    code 4.
    """
    with place.client() as client:
        fields = asdict(client.releases.promote(name, version, to=to, source=source))
    if as_json:
        fields["from"], fields["to"] = fields.pop("source"), fields.pop("target")
        click.echo(json.dumps(fields, indent=2))
        return
    moved = f'moved from "{fields["source"]}" to' if fields["source"] else "was already in"
    click.echo(f'{fields["project"]} {fields["version"]} {moved} "{fields["target"]}"')
    for filename in fields["files"]:
        click.echo(f"  {filename}")
