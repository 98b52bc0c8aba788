"""``conveyor store``: run and operate a store, one file per command, imported when it is called."""

from __future__ import annotations

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS, LazyGroup

COMMANDS = {
    "serve": ("conveyor.cli.store.serve", "Initialise a store in a folder and serve it."),
    "index": ("conveyor.cli.store.index", "List the indexes, or make a new one."),
}
"""Command name → (module holding ``command``, one line of help)."""


@click.group("store", cls=LazyGroup, lazy_commands=COMMANDS, context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Run and operate a store."""
