"""Notes on standard error, beside what a command was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from conveyor.client.answers import OfProject


def note_unknown(name: str, found: OfProject[Any]) -> None:
    """Say that nothing is known of a project: its name may be mistyped."""
    if not found.is_known:
        click.echo(f'note: nothing of "{name}" is here yet', err=True)
