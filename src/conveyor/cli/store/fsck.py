"""``conveyor store fsck``: prove that catalogue and blobs agree, and repair what can be repaired."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from conveyor.cli.output import counted
from conveyor.cli.store.folder import EXISTING_FOLDER, on_a_folder, progress_of, with_grace, with_threads
from conveyor.domain.words.notation import with_store
from conveyor.settings import store_settings

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.care.inspection import Inspection


@click.command("fsck")
@click.option(
    "--repair", "is_repairing", is_flag=True, help="Repair what can be, without inventing anything."
)
@click.option(
    "--from",
    "backups",
    type=EXISTING_FOLDER,
    multiple=True,
    metavar="BACKUP",
    help="With --repair: a backup to read lost bytes from.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@with_grace
@with_threads
@on_a_folder
def command(
    data: Path,
    grace: float,
    is_repairing: bool,
    backups: tuple[Path, ...],
    threads: int,
    as_json: bool,
) -> None:
    """Read every row and every byte of the store in DIR, and print one line per fault.

    Exits with 0 if there are no faults, or none are left after --repair; otherwise with 7. Warnings are
    not faults. Files that --repair removes are kept in blobs/quarantine, and every repair is in the audit
    log.
    """
    from conveyor.errors import StorageFailed
    from conveyor.operations.care.inspection import inspect_store
    from conveyor.operations.care.opening import opened_store
    from conveyor.operations.care.repairs import repair_store

    if backups and not is_repairing:
        raise click.UsageError("--from needs --repair")
    with opened_store(store_settings(data)) as store, progress_of("reading") as progress:
        seconds = grace * 3600
        if is_repairing:
            sources = [backup / "blobs" for backup in backups]
            found = repair_store(
                store, grace_seconds=seconds, threads=threads, sources=sources, progress=progress
            )
        else:
            found = inspect_store(store, grace_seconds=seconds, threads=threads, progress=progress)
    warnings = [str(with_store(warning, "--data", str(data))) for warning in found.warnings]
    _print(replace(found, warnings=warnings), as_json=as_json)
    if found.remaining:
        problem = f"{counted(len(found.remaining), 'fault')} in the store at {data}"
        raise StorageFailed(problem, hint=_hint(found, is_repairing=is_repairing))


def _hint(found: Inspection, *, is_repairing: bool) -> str:
    if not is_repairing:
        return "repair what can be repaired: conveyor store fsck --repair --data DIR"
    if all(fault.repair for fault in found.remaining):
        return "each line says what is left to do"
    return (
        "each line says what is left to do; where one says nothing, a backup helps: "
        "conveyor store restore BACKUP --data NEW"
    )


def _print(found: Inspection, *, as_json: bool) -> None:
    if as_json:
        faults = [
            {
                "kind": fault.kind,
                "subject": fault.subject,
                "what": fault.what,
                "repair": fault.repair,
                "is_mended": fault.is_mended,
            }
            for fault in found.faults
        ]
        said = {
            "faults": faults,
            "warnings": found.warnings,
            "blobs": found.blobs,
            "size_bytes": found.size_bytes,
        }
        click.echo(json.dumps(said, indent=2))
        return
    for fault in found.faults:
        done = f" → {fault.repair}" if fault.repair else ""
        click.echo(f"{fault.kind}: {fault.what}{done}")
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    mended = len(found.faults) - len(found.remaining)
    read = f"{counted(found.blobs, 'blob')} with {counted(found.size_bytes, 'byte')} read"
    click.echo(f"{read}, {counted(len(found.faults), 'fault')}, {mended} mended", err=True)
