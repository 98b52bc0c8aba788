"""``conveyor store promote``: move a release to an index if the gates of the index allow it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store
from conveyor.domain.words import records

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
        promotion = client.releases.promote(name, version, to=to, source=source)
    if as_json:
        click.echo(json.dumps(records.as_json(promotion), indent=2))
        return
    moved = f'moved from "{promotion.source}" to' if promotion.source else "was already in"
    click.echo(f'{promotion.project} {promotion.version} {moved} "{promotion.target}"')
    for filename in promotion.files:
        click.echo(f"  {filename}")
