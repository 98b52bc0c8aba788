"""``conveyor store backup``: write a backup, or bring one up to date, while it serves."""

from __future__ import annotations

from pathlib import Path

import click

from conveyor.cli.output import counted
from conveyor.cli.store.folder import on_a_folder, progress_of, with_threads
from conveyor.settings import store_settings


@click.command("backup")
@click.argument("destination", type=click.Path(path_type=Path, file_okay=False))
@click.option("--verify", "is_verifying", is_flag=True, help="Also read what DESTINATION already has.")
@click.option(
    "--incomplete", "may_be_incomplete", is_flag=True, help="Continue without bytes that the store has lost."
)
@with_threads
@on_a_folder
def command(data: Path, destination: Path, is_verifying: bool, may_be_incomplete: bool, threads: int) -> None:
    """Write everything needed to restore the store in DIR to the folder DESTINATION.

    DESTINATION is new, empty, or holds a backup of this store, which is brought up to date: only new
    files are written. Files are linked where DESTINATION is on the same file system, else copied. An
    interrupted backup leaves the previous one as it was.
    """
    from conveyor.operations.care.backups import back_up
    from conveyor.operations.care.opening import opened_store

    with opened_store(store_settings(data)) as store, progress_of("writing") as progress:
        done = back_up(
            store,
            destination,
            threads=threads,
            is_verifying=is_verifying,
            may_be_incomplete=may_be_incomplete,
            progress=progress,
        )
    backup = done.backup
    click.echo(
        f"backup of serial {backup.serial}: {counted(backup.blobs, 'blob')}"
        f" with {counted(backup.size_bytes, 'byte')}"
        f" ({done.linked} linked, {done.copied} copied, {done.kept} there already)"
    )
    for sha256 in backup.missing:
        click.echo(f"not in the backup, lost before: {sha256}", err=True)
