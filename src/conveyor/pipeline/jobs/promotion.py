"""Promotion: asks the store to move a release; the store decides, gate by gate.

A refusal is an answer, not a failure of the run: where every gate that did not pass is only *waiting* (for a
signature, for a person), the run has done what it could and says what is missing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from conveyor.errors import Conflict, PromotionRefused
from conveyor.pipeline.engine.steps import Done

if TYPE_CHECKING:
    from conveyor.domain.releases.gates.judged import Verdict
    from conveyor.pipeline.engine.worker import Worker


@dataclass(frozen=True)
class Standing:
    """Where a release is, and what it waits for."""

    index: str
    verdicts: tuple[Verdict, ...] = ()
    """Of the next index, when its gates did not let the release pass; empty otherwise."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The gates that did not pass."""
        return tuple(verdict.gate for verdict in self.verdicts if not verdict.lets_pass)


def promote(worker: Worker, project: str, version: str, *, to: str) -> Done[Standing]:
    """Move the release to an index; where it is afterwards. Being there already is success.

    Raises:
        PromotionRefused: a gate says no, not just "not yet".
    """
    try:
        worker.client.releases.promote(project, version, to=to)
    except PromotionRefused as refusal:
        if any(verdict.outcome == "fail" for verdict in refusal.verdicts):
            raise
        index = worker.client.releases.get(project, version).index
        standing = Standing(index, refusal.verdicts)
        facts = {"to": to, "verdicts": [asdict(verdict) for verdict in refusal.verdicts]}
        return Done(standing, f"not yet: waiting for {', '.join(standing.waits_for)}", facts, is_skipped=True)
    return Done(Standing(to), f'{project} {version} is in "{to}"', {"to": to})


def is_beyond(index: str, other: str, order: tuple[str, ...]) -> bool:
    """Whether a release in ``index`` has gone through ``other`` already, on the way ``order``."""
    if index not in order or other not in order:
        raise Conflict(f'index "{index}" or "{other}" is not on the way {" → ".join(order)}')
    return order.index(index) >= order.index(other)
