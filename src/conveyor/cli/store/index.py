"""``conveyor store index``: list the indexes of a store, or make a new one."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.store.place import on_a_store

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place
    from conveyor.domain.indexes.definitions import IndexMode


@click.group("index", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """List the indexes, or make a new one."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List the indexes that you may read, with their bases and gates."""
    found: list[dict[str, Any]]
    with place.client() as client:
        found = [asdict(index) for index in client.indexes.all()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for index in found:
        notes = [
            "mirror" if index["kind"] == "mirror" else index["mode"],
            *(["private"] if index["is_private"] else []),
            *([f"bases: {', '.join(index['bases'])}"] if index["bases"] else []),
            *([f"gates: {', '.join(index['gates'])}"] if index["gates"] else []),
        ]
        click.echo(f"{index['name']:<20} {'; '.join(notes)}")


@command.command("create")
@click.argument("name")
@click.option(
    "--mode",
    type=click.Choice(["uploads", "promotion-only"]),
    required=True,
    help="How files enter it; cannot be changed later.",
)
@click.option(
    "--base", "bases", multiple=True, metavar="INDEX", help="Show this index's files too; nearest first."
)
@click.option("--gate", "gates", multiple=True, metavar="GATE", help="Ask every promotion into it for this.")
@click.option("--private", "is_private", is_flag=True, help="Only known users may read it.")
@on_a_store
def create(
    name: str,
    mode: IndexMode,
    bases: tuple[str, ...],
    gates: tuple[str, ...],
    is_private: bool,
    place: Place,
) -> None:
    """Make the index NAME, such as nightly or risk/stable."""
    with place.client() as client:
        client.indexes.add(name, mode=mode, bases=bases, gates=gates, is_private=is_private)
    click.echo(f'index "{name}" made')
