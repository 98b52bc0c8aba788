"""The gate ``advisories``: no advisory affects the release, or what it was tested with.

Looked at are the release itself and every package in the environments in which its tests passed: those that
its locks name. Advisories are imported by an administrator; the store asks no network for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.releases.advisories import affecting
from conveyor.domain.releases.facts import passing_results
from conveyor.domain.releases.gates.judged import Verdict, release_step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.releases.advisories import AdvisoryOfProject
    from conveyor.domain.releases.evidence import Evidence
    from conveyor.domain.releases.gates.judged import JudgedRelease

_MOST_NAMED = 5


def packages_tested_with(evidence: Iterable[Evidence]) -> frozenset[tuple[str, str]]:
    """(normalized name, version) of every package in an environment in which the release passed its tests."""
    return frozenset(
        (str(canonicalize_name(package.name)), package.version)
        for _, facts in passing_results(evidence)
        for package in facts.on.packages
    )


def judge_advisories(release: JudgedRelease) -> Verdict:
    """No advisory that holds affects the release or a package that it was tested with."""
    gate = "advisories"
    if release.advisories is None:
        return Verdict(
            gate,
            "waiting",
            "this store has no advisories to compare with",
            "import them, unpacked or as the archive that is published for PyPI: "
            "conveyor store advisories import all.zip",
        )
    own = (release.project, release.version)
    packages = packages_tested_with(release.evidence) - {own}
    found = [
        (name, version, one)
        for name, version in (own, *sorted(packages))
        for one in affecting(release.advisories, name, version)
    ]
    if not found:
        return Verdict(
            gate, "pass", f"no advisory affects it or the {len(packages)} packages it was tested with"
        )
    told = [f"{name} {version}: {_told(one)}" for name, version, one in found[:_MOST_NAMED]]
    if len(found) > _MOST_NAMED:
        told.append(f"and {len(found) - _MOST_NAMED} more")
    name, _, first = found[0]
    fixed = first.fixed_in
    if name == release.project:
        step = f"repair it and release again: {release_step(release)}"
    elif fixed:
        step = f'require "{name}>={fixed[-1]}" and release again: {release_step(release)}'
    else:
        step = (
            f"release without {name}, or accept the risk until it is repaired: "
            f"conveyor store override {release.project} {release.version} --to {release.index} "
            f"--gate {gate} --reason TEXT --until TIME"
        )
    return Verdict(gate, "fail", "; ".join(told), step)


def _told(advisory: AdvisoryOfProject) -> str:
    names = ", ".join((advisory.id, *advisory.aliases[:2]))
    fixed = f", repaired in {', '.join(advisory.fixed_in)}" if advisory.fixed_in else ", not repaired yet"
    return f"{names}{f' ({advisory.summary})' if advisory.summary else ''}{fixed}"
