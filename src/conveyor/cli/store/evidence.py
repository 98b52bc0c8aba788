"""``conveyor store evidence``: what is known of a distribution, by its bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store
from conveyor.domain.words import records

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place
    from conveyor.domain.releases.evidence import Evidence


@click.command("evidence")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(file: Path, as_json: bool, place: Place) -> None:
    """Show what is known of FILE, a distribution of the store or of one that it mirrors.

    Nothing is proved by that: it is the store's word. For a release of the store, conveyor verify proves it.
    """
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    with place.client() as client:
        found = client.evidence.on_file(sha256, file.name)
    if as_json:
        click.echo(json.dumps(records.as_json(found), indent=2))
        return
    for one in found:
        click.echo(f"{one.kind:<12} {one.made_at or one.received_at}  {_told(one)}")
    if not found:
        click.echo(f"nothing is known of {file.name}")


def _told(one: Evidence) -> str:
    if one.job is not None:
        return f"told by {one.job.publisher}, unsigned"
    commit = f"of commit {one.commit_id[:12]}, " if one.commit_id else ""
    return f"{commit}signed by {one.signed_by}{'' if one.is_signer_valid else ', who counts no more'}"
