"""What several commands print: the verdicts of gates, and notes on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.client.answers import OfProject
    from conveyor.domain.releases.gates.judged import Verdict


def verdict_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each verdict, and one below it that says what to do now, if anything."""
    lines = []
    for verdict in verdicts:
        lines.append(f"  {verdict.outcome:<10} {verdict.gate}: {verdict.reason}")
        if verdict.next_step:
            lines.append(f"             → {verdict.next_step}")
    return lines


def note_unknown(name: str, found: OfProject[Any]) -> None:
    """Say that nothing is known of a project: its name may be mistyped."""
    if not found.is_known:
        click.echo(f'note: nothing of "{name}" is here yet', err=True)
