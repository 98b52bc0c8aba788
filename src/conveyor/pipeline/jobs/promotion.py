"""Promotion: asks for the store's answer, which moves a release by itself when its gates let it pass.

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


def ask_for_promotion(worker: Keeper, project: str, version: str, *, to: str) -> Done[Standing]:
    """Have the store judge a release that was tested for an index, and return where it is then.

    The store has judged it with each fact that came before; it judges once more here, for a run that brought
    no new fact.

    Raises:
        PromotionRefused: a gate says no, not just "not yet".
        Conflict: the gates let it pass, and yet the store does not move it by itself.
    """
    judgement = worker.client.releases.judge(project, version, to=to)
    index = judgement.index or to
    if judgement.has_arrived:
        return Done(Standing(index), f'{project} {version} is in "{index}"', {"to": to})
    standing = Standing(index, judgement.verdicts)
    if any(verdict.outcome == "fail" for verdict in standing.verdicts):
        raise PromotionRefused(
            f'{project} {version} may not enter "{to}" yet: {", ".join(standing.waits_for)}',
            verdicts=standing.verdicts,
            hint="do what the verdicts ask for, then run it again",
        )
    if not standing.waits_for:
        raise Conflict(
            f'{project} {version} is in "{index}", and the store does not move it to "{to}" by itself',
            hint=f"let a person promote it: conveyor store promote {project} {version} --to {to}",
        )
    facts = {"to": to, "verdicts": [asdict(verdict) for verdict in standing.verdicts]}
    return Done(standing, f"not yet: waiting for {', '.join(standing.waits_for)}", facts, is_skipped=True)


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
