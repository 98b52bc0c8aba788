"""Gates: the rules of an index that ask for evidence, and their verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "waiting", "overridden"]


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
