"""Verdicts: what one gate says of one release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "waiting", "overridden"]
"""``waiting`` is said of what may still come, ``fail`` of what is there and not good enough."""


@dataclass(frozen=True)
class Verdict:
    """What one gate says of one release."""

    gate: str
    outcome: Outcome
    reason: str
    """One sentence: what was found, with values."""
    next_step: str | None = None
    """What to do now; ``None`` when nothing is to be done."""

    @property
    def lets_pass(self) -> bool:
        """Whether the gate stands open."""
        return self.outcome in ("pass", "overridden")
