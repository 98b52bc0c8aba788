"""How the verdicts of gates are shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.releases.gates.judged import Verdict


def verdict_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each verdict, and one below it that says what to do now, if anything."""
    lines = []
    for verdict in verdicts:
        lines.append(f"  {verdict.outcome:<10} {verdict.gate}: {verdict.reason}")
        if verdict.next_step:
            lines.append(f"             → {verdict.next_step}")
    return lines
