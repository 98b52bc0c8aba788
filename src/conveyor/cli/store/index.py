"""``conveyor store index``: list the indexes of a store, make a new one, or change the settings of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.indexes.definitions import Index, IndexSettings, NewIndex

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.group("index", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """List the indexes, make a new one, or change the settings of one."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List the indexes that you may read, with their bases and gates."""
    with place.client() as client:
        show(client.indexes.all(), Index, as_text=not as_json)


@command.command("create")
@filling(NewIndex, arguments=("name",))
@on_a_store
def create(asked: Filled[NewIndex], place: Place) -> None:
    """Make the index NAME, such as nightly or risk/stable."""
    with place.client() as client:
        made = client.indexes.add(asked())
    click.echo(f'index "{made.name}" made')


@command.command("set")
@filling(IndexSettings, arguments=("name",))
@on_a_store
def change(asked: Filled[IndexSettings], place: Place) -> None:
    """Change what the index NAME asks of a release before it enters: Pythons, isolation.

    Each --python is added to those of the release's project, and the gate "tests" of the index asks for
    evidence on each. Without any option only those of the project count, as at first.

    With --isolation required, only builds and tests count that ran in a jail, as a new store asks for
    "stable". With --isolation any, they may have run as the worker's own user, who can read its key.
    """
    with place.client() as client:
        found = client.indexes.set(asked())
    said = f"on Python {', '.join(found.pythons)} too" if found.pythons else "on the Pythons of its project"
    how = ", in a jail" if found.isolation == "required" else ""
    click.echo(f'what enters "{found.name}" is tested {said}{how}')
