"""Promotion: asks the store to move a release; the store decides, gate by gate.

A refusal is an answer, not a failure of the run: if every gate that did not pass is only *waiting* (for a
signature, for a person), the run has done all it could and says what is missing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.judged import CREDENTIALS
from conveyor.domain.words.names import is_final, parse_version
from conveyor.errors import Conflict, PromotionRefused
from conveyor.pipeline.engine.steps import Done

if TYPE_CHECKING:
    from conveyor.domain.releases.gates.judged import Verdict
    from conveyor.domain.releases.standing import Release
    from conveyor.pipeline.engine.worker import Keeper


@dataclass(frozen=True)
class Standing:
    """Where a release is, and what it waits for."""

    index: str
    verdicts: tuple[Verdict, ...] = ()
    """The verdicts of the next index if its gates did not let the release pass; otherwise empty."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The gates that did not pass."""
        return tuple(verdict.gate for verdict in self.verdicts if not verdict.lets_pass)


def promote(worker: Keeper, project: str, version: str, *, to: str) -> Done[Standing]:
    """Move the release to an index and return where it is afterwards; success if it is there already.

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


def goals_of(way: tuple[str, ...], version: str) -> tuple[str, ...]:
    """The indexes after its entry that a run carries a release into: all for a final, else the next one."""
    return way[1:] if is_final(parse_version(version)) else way[1:2]


def index_on(way: tuple[str, ...], release: Release) -> str:
    """The farthest index on the way that holds the release.

    Raises:
        Conflict: none of them holds it.
    """
    reached = [name for name in way if name in release.indexes]
    if not reached:
        name, version = release.project, release.version
        raise Conflict(
            f'{name} {version} is in "{release.index}" already, which is not on the way {" → ".join(way)}',
            hint="release a new version, or carry this one on from there: "
            f"conveyor pipeline test {name} {version} {CREDENTIALS}",
        )
    return reached[-1]
