"""``conveyor store restore``: make an identical store from a backup."""

from __future__ import annotations

from pathlib import Path

import click

from conveyor.cli.output import counted
from conveyor.cli.store.folder import EXISTING_FOLDER, progress_of, with_threads
from conveyor.settings import store_settings


@click.command("restore")
@click.argument("source", type=EXISTING_FOLDER)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The folder of the new store; new or empty.",
)
@with_threads
def command(source: Path, data: Path, threads: int) -> None:
    """Restore the store of the backup in SOURCE to DIR.

    Every byte is checked on the way. Users, passwords and tokens are those of the backup. After an
    interruption the same call continues where it stopped; until it has finished, no server starts on DIR.
    """
    from conveyor.operations.care.restores import restore_store

    with progress_of("restoring") as progress:
        backup = restore_store(source, store_settings(data), threads=threads, progress=progress)
    click.echo(
        f"restored serial {backup.serial} of {backup.made_at}:"
        f" {counted(backup.blobs, 'blob')} with {counted(backup.size_bytes, 'byte')}"
    )
    for sha256 in backup.missing:
        click.echo(f"was lost before the backup was made: {sha256}", err=True)
