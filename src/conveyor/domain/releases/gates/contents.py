"""The gates that look at what a release brings: ``docs`` and ``licences``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.judged import Finding, Verdict, release_step, worst
from conveyor.domain.releases.licences import DeclaredLicence, is_licence_allowed

if TYPE_CHECKING:
    from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease


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
