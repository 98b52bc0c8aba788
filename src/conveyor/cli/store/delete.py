"""``conveyor store delete``: delete a file, a release or all files of a project permanently."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store
from conveyor.domain.words import records
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("delete")
@click.argument("name")
@click.argument("version", required=False)
@click.option("--file", "filename", metavar="FILENAME", help="Only this file of the release.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(
    name: str, version: str | None, filename: str | None, yes: bool, as_json: bool, place: Place
) -> None:
    """Permanently delete release VERSION of project NAME, or all of its releases, from every index.

    Their filenames can never be used again, not even for the same bytes; the claim on the name and the
    evidence stay. For administrators. To keep a release from being installed, yank it instead.
    """
    if filename is not None and version is None:
        raise click.UsageError("--file needs the VERSION that the file belongs to")
    if not yes:
        what = filename or (f"{name} {version}" if version else f"every file of {name}")
        _ask(f"Delete {what} for good?")
    with place.client() as client:
        deletion = client.projects.delete(name, version, filename=filename)
    if as_json:
        click.echo(json.dumps(records.as_json(deletion), indent=2))
        return
    count = len(deletion.files) + len(deletion.waiting)
    click.echo(f"{count} {'file' if count == 1 else 'files'} of {deletion.project} deleted")
    for file in deletion.files:
        click.echo(f"  {file.filename}")
    for filename in deletion.waiting:
        click.echo(f"  {filename}, which waited to be published")
    for version in deletion.documented:
        click.echo(f"  the documentation of {deletion.project} {version}")


def _ask(question: str) -> None:
    """Return if the answer is yes; raises Abort, or InvalidInput if nobody can answer."""
    nobody = InvalidInput(
        "the deletion is not confirmed: standard input is closed", hint="confirm it with --yes"
    )
    if sys.stdin is None:  # closed before this process began
        raise nobody
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            click.echo(err=True)  # ends the line of the question
            raise nobody from error
        raise
