"""``conveyor store gc``: remove blobs that no row names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.store.folder import on_a_folder, with_grace
from conveyor.settings import store_settings

if TYPE_CHECKING:
    from pathlib import Path


@click.command("gc")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be removed.")
@with_grace
@on_a_folder
def command(data: Path, grace: float, is_dry: bool) -> None:
    """Remove blobs of the store in DIR that no row names and that are older than the grace time.

    They are left by uploads that were broken off and by mirrored files that upstream took back. An upload
    that uses one of them at the same moment keeps it. What is no blob stays: conveyor store fsck names it.
    """
    from conveyor.operations.garbage import collect_garbage
    from conveyor.operations.opening import opened_store

    with opened_store(store_settings(data)) as store:
        collected = collect_garbage(store, grace_seconds=grace * 3600, is_dry=is_dry)
    verb = "would be removed" if is_dry else "removed"
    click.echo(f"{collected.blobs} blobs with {collected.size_bytes} bytes {verb}")
