"""Gates: the rules of an index that ask for evidence, and their verdicts.

A gate is a pure function of a release and its evidence, in a module of its own. It never raises: a release
that it cannot judge (an unknown gate, an unreadable predicate) does not pass. Its reason says what was found,
with values; its next step says what the reader can do now.

    tests           every wheel was tested as published, by a registered worker, and nothing failed
    qa-signature    a registered signer signed the commit that every wheel was built from
    final-version   the version is a final one: no pre-release, development or local version
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.finals import judge_final_version, judge_qa_signature
from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease, Verdict
from conveyor.domain.releases.gates.tests import judge_tests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["GATES", "JudgedFile", "JudgedRelease", "judge"]

GATES: dict[str, Callable[[JudgedRelease], Verdict]] = {
    "tests": judge_tests,
    "qa-signature": judge_qa_signature,
    "final-version": judge_final_version,
}
"""Every gate this store knows."""


def judge(release: JudgedRelease, gates: Iterable[str]) -> tuple[Verdict, ...]:
    """One verdict per gate, in the order of ``gates``; never raises."""
    return tuple(_judge_one(release, gate) for gate in gates)


def _judge_one(release: JudgedRelease, gate: str) -> Verdict:
    judged_by = GATES.get(gate)
    if judged_by is None:
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
        return judged_by(release)
    except Exception as error:  # noqa: BLE001 - a gate that breaks must stay shut, and say so
        return Verdict(
            gate, "fail", f"the gate could not judge this release ({error!r:.300})", "report this to the team"
        )
