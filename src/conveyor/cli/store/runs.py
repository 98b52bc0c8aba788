"""``conveyor store runs``: how many pipeline runs are under way at a time, and for how long they are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store
from conveyor.domain.runs.states import RunSettings
from conveyor.domain.words import records

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("runs", short_help="Limit how many runs are under way, and how long they are kept.")
@click.option("--at-a-time", type=click.IntRange(0), help="How many, in all workers; 0: any number.")
@click.option("--keep-days", type=click.IntRange(0), help="Days for which ended ones are kept; 0: for ever.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(at_a_time: int | None, keep_days: int | None, as_json: bool, place: Place) -> None:
    """Show or change how the store deals with pipeline runs (administrators).

    A lower limit ends no run: the next one begins when there is room. Runs that are too old are removed
    whenever a run ends; evidence that names them stays.
    """
    with place.client() as client:
        found = client.runs.settings()
        if at_a_time is not None or keep_days is not None:
            wanted = RunSettings(
                found.at_a_time if at_a_time is None else at_a_time or None,
                found.kept_days if keep_days is None else keep_days or None,
            )
            found = client.runs.set_settings(wanted)
    if as_json:
        click.echo(json.dumps(records.as_json(found), indent=2))
        return
    many = "any number" if found.at_a_time is None else str(found.at_a_time)
    kept = "for ever" if found.kept_days is None else f"for {found.kept_days} days"
    click.echo(f"runs at a time: {many}; ended ones are kept {kept}")
