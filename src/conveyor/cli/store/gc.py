"""``conveyor store gc``: remove blobs that no row names, and files that killed uploads left half written."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from conveyor.cli.output import counted
from conveyor.cli.store.folder import on_a_folder, with_grace
from conveyor.settings import store_settings

if TYPE_CHECKING:
    from pathlib import Path


@click.command("gc")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@with_grace
@on_a_folder
def command(data: Path, grace: float, is_dry: bool, as_json: bool) -> None:
    """Remove blobs of the store in DIR that no row names and that are older than the grace time.

    They are left by interrupted uploads and by mirrored files that upstream has withdrawn. An upload that
    uses one of them at the same moment keeps it. Files that a killed server left half written are removed
    too, at any age, if no process holds them. Other files that are not blobs stay: conveyor store fsck
    names them.
    """
    from conveyor.operations.care.garbage import collect_garbage
    from conveyor.operations.care.opening import opened_store

    with opened_store(store_settings(data)) as store:
        collected = collect_garbage(store, grace_seconds=grace * 3600, is_dry=is_dry)
    if as_json:
        click.echo(json.dumps(asdict(collected), indent=2))
        return
    verb = "would be removed" if is_dry else "removed"
    click.echo(f"{counted(collected.blobs, 'blob')} with {counted(collected.size_bytes, 'byte')} {verb}")
    if collected.leftovers:
        files = counted(collected.leftovers, "unfinished file")
        click.echo(f"{files} with {counted(collected.leftover_bytes, 'byte')} {verb}")
