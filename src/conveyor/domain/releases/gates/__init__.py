"""Gates: the rules of an index that ask for evidence, and their verdicts.

A gate is a pure function of a release and its evidence. It never raises: a release that it cannot judge (an
unknown gate, an unreadable predicate) does not pass. Its reason says what was found, with values; its next
step says what the reader can do now.

A person may override a gate for a while (``releases.decisions``): then its verdict is ``overridden``, and
says who and why, and what the gate would have said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.contents import judge_advisories, judge_docs, judge_licences
from conveyor.domain.releases.gates.finals import (
    judge_equivalence,
    judge_final_version,
    judge_qa_signature,
)
from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease, JudgingIndex, Verdict, worst_of
from conveyor.domain.releases.gates.tests import judge_dependants, judge_tests
from conveyor.domain.releases.gates.waiting import judge_age, judge_approval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["GATES", "Gate", "JudgedFile", "JudgedRelease", "JudgingIndex", "judge", "judge_on_way"]


@dataclass(frozen=True)
class Gate:
    """One gate: its rule, and what people are told about it."""

    judge: Callable[[JudgedRelease], Verdict]
    passes_when: str
    """A sentence for the reference."""
    reads: tuple[str, ...] = ()
    """The settings of a policy that it reads, besides whose evidence counts."""


GATES: dict[str, Gate] = {
    "tests": Gate(
        judge_tests,
        "Every wheel has tests evidence: at least one test passed, none failed or ended with an error, no "
        "module came from outside. In each environment (index, Python without its patch number, platform) "
        "the newest result counts, and each that the testing job or the index asks for must be there and "
        "pass; others are shown. An sdist passes if it has passed tests of its own, or if a tested wheel of "
        "the release was built from it. On each Python and platform that the index asks for, at least one "
        "file passed its tests, resolved against that index.",
        reads=("pythons", "platforms", "other_environments"),
    ),
    "qa-signature": Gate(
        judge_qa_signature,
        "As many valid signers as the index asks signed a tag of this release on the commit that every file "
        "of it was built from, by the workers' build evidence, or approved its very files (`conveyor "
        "approve`). The tag is the one that the build names, or a plain tag of this version if the build "
        "was from no tag with a prefix; and it is tied to the project: by its name (`demo/v1.2.0`), by its "
        "message, by a repository that is registered for the project, or, if it names no project and the "
        "repository is registered for none, because no other project was built from that commit.",
        reads=("signers", "not_author"),
    ),
    "final-version": Gate(
        judge_final_version, "The version is not a pre-release, development or local version."
    ),
    "equivalence": Gate(
        judge_equivalence,
        "A worker proved that every file is that of one candidate of this version, but for the version; the "
        "newest proof counts. A release that is no final has nothing to prove.",
    ),
    "docs": Gate(judge_docs, "The release has documentation in the store."),
    "age": Gate(
        judge_age,
        "The newest file of the release has been in the store for the hours that the policy asks.",
        reads=("minimum_age_hours",),
    ),
    "approval": Gate(
        judge_approval,
        "As many people approved the release for this index (`conveyor store approve`, or a QA signature "
        "that counts; people are told apart by their names) as the policy asks, or its version changes less "
        "than the policy asks people about. Compared is the newest final release below it in the index: "
        "another first number or epoch is a major change, another second one minor, anything else a patch; a "
        "first release is major.",
        reads=("approval", "approvals"),
    ),
    "licences": Gate(
        judge_licences,
        "Every file declares a licence that the policy allows: by `License-Expression`, of which one side of "
        "every `OR` must be allowed; without it by its licence classifiers. A licence that cannot be told "
        "does not pass.",
        reads=("licences",),
    ),
    "dependants": Gate(
        judge_dependants,
        "The newest releases in the index that require this project and accept this version pass their tests "
        "with it, or fail nothing that they do not fail with the release that the index has.",
    ),
    "advisories": Gate(
        judge_advisories,
        "No advisory that was imported and not withdrawn affects the release, or any package in an "
        "environment in which its tests passed.",
    ),
}
"""Every gate this store knows."""


def judge_on_way(release: JudgedRelease, way: Iterable[JudgingIndex]) -> tuple[Verdict, ...]:
    """One verdict per gate of the indexes on a way, in the order in which the gates are met; never raises.

    Where several indexes have the same gate, each asks in its own way and the worst verdict holds.
    """
    found: dict[str, list[Verdict]] = {}
    for station in way:
        for verdict in judge(release.asked_by(station), station.rules.gates):
            found.setdefault(verdict.gate, []).append(verdict)
    return tuple(worst_of(verdicts) for verdicts in found.values())


def judge(release: JudgedRelease, gates: Iterable[str]) -> tuple[Verdict, ...]:
    """One verdict per gate, in the order of ``gates``; never raises."""
    return tuple(_judge_one(release, gate) for gate in gates)


def _judge_one(release: JudgedRelease, gate: str) -> Verdict:
    known_gate = GATES.get(gate)
    if known_gate is None:
        known = ", ".join(GATES)
        return Verdict(
            gate,
            "fail",
            f'there is no gate "{gate}" in this store',
            f"upgrade conveyor to a version that knows it: this one knows {known}",
        )
    if not release.files:
        return Verdict(gate, "fail", f"{release.project} {release.version} has no files", "upload its files")
    try:
        verdict = known_gate.judge(release)
    except Exception as error:  # noqa: BLE001 - a gate that breaks must stay shut, and say so
        verdict = Verdict(
            gate, "fail", f"the gate could not judge this release ({error!r:.300})", "report this to the team"
        )
    if verdict.outcome == "pass":
        return verdict
    mine = [one for one in release.decisions if (one.gate, one.index) == (gate, release.index)]
    opened = [one for one in mine if one.overrides(gate, release.index, release.at)]
    if opened:
        return Verdict(gate, "overridden", f"{opened[-1].told} ({verdict.reason})")
    ended = [one for one in mine if one.has_ended(release.at)]
    if ended:
        told = f"{verdict.reason}; the override of {ended[-1].person} ended at {ended[-1].until}"
        return replace(verdict, reason=told)
    return verdict
