"""The gates that look at what a release brings: ``docs``, ``licences`` and ``advisories``.

Advisories are about the release itself and every package in the environments in which its tests passed: those
that its locks name. An administrator imports them; the store asks no network for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.releases.advisories import affecting
from conveyor.domain.releases.facts import passing_results
from conveyor.domain.releases.gates.judged import Finding, Verdict, release_step, worst
from conveyor.domain.releases.licences import DeclaredLicence, is_licence_allowed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.releases.advisories import AdvisoryOfProject
    from conveyor.domain.releases.evidence import Evidence
    from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease

_MOST_NAMED = 5


def judge_licences(release: JudgedRelease) -> Verdict:
    """Every file declares a licence, and it is one that the rules allow."""
    return worst("licences", [_licence_of(release, file) for file in release.files])


def _licence_of(release: JudgedRelease, file: JudgedFile) -> Finding:
    allowed = release.rules.licences
    declared = file.licence or DeclaredLicence(None)
    is_allowed = is_licence_allowed(declared, allowed)
    if is_allowed:
        return Finding("pass", f"{file.filename}: {declared.told}")
    if is_allowed is None:
        said = f'only "{declared.told}"' if declared.told else "nothing of it"
        return Finding(
            "fail",
            f"{file.filename}: its licence is unknown, since its metadata says {said}",
            f'say it in pyproject.toml, such as license = "{allowed[0]}", and release again: '
            + release_step(release),
        )
    return Finding(
        "fail",
        f'{file.filename}: {declared.told} is not allowed in "{release.index}", which allows '
        + ", ".join(allowed),
        "release it under another licence, or have an administrator add this one to licences of the policy: "
        "conveyor store policy show",
    )


def judge_docs(release: JudgedRelease) -> Verdict:
    """The release has documentation in this store."""
    if release.has_docs:
        return Verdict("docs", "pass", "its documentation is here")
    if release.is_closed:
        return Verdict(
            "docs",
            "fail",
            "it has no documentation, and takes none since it was promoted",
            f"have its documentation built ([tool.conveyor.docs]) and release again: {release_step(release)}",
        )
    return Verdict(
        "docs",
        "waiting",
        "it has no documentation",
        f"hand in its pages as an archive: conveyor store docs {release.project} {release.version} docs.zip",
    )


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
