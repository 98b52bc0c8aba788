"""``conveyor store yank``: make new installations skip a release, or undo that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store
from conveyor.domain.words import records

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("yank")
@click.argument("name")
@click.argument("version")
@click.option("--file", "filename", metavar="FILENAME", help="Only this file of the release.")
@click.option("--index", metavar="INDEX", help="Only in this index. Default: wherever it is.")
@click.option("--reason", metavar="TEXT", help="What installers and pages tell people.")
@click.option("--undo", is_flag=True, help="Undo the yank.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(
    name: str,
    version: str,
    filename: str | None,
    index: str | None,
    reason: str | None,
    undo: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Yank release VERSION of project NAME: new installations skip it, lock files still get it.

    You need the right to upload the project or, in a promotion-only index, to promote it there.
    """
    if undo and reason is not None:
        raise click.UsageError("--undo takes no --reason")
    with place.client() as client:
        if undo:
            yank = client.releases.unyank(name, version, index=index, filename=filename)
        else:
            yank = client.releases.yank(name, version, index=index, filename=filename, reason=reason)
    if as_json:
        click.echo(json.dumps(records.as_json(yank), indent=2))
        return
    click.echo(f"{yank.project} {yank.version} is {'yanked' if yank.is_yanked else 'not yanked'}")
    for file in yank.files:
        click.echo(f'  {file.filename} in "{file.index}"')
