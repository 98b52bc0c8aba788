"""``conveyor store docs``: hand in the documentation of a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("docs")
@click.argument("name")
@click.argument("version")
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="ARCHIVE")
@click.option("--index", metavar="INDEX", help="An index that it is in. Default: the one where it is.")
@on_a_store
def command(name: str, version: str, archive: Path, index: str | None, place: Place) -> None:
    """Hand in ARCHIVE, a zip of pages, as the documentation of release VERSION of project NAME.

    It replaces what was handed in before, until the release is promoted. A packaging job does this by itself.
    Works on servers only.
    """
    with place.client() as client:
        where = index or client.releases.get(name, version).index
        client.files.upload_docs(where, name, version, archive)
    click.echo(f"the documentation of {name} {version} is in the store")
