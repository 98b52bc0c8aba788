"""The gate ``final-version``: no pre-release, no development version, no local version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.judged import commits_of
from conveyor.domain.releases.gates.next_steps import signing_step
from conveyor.domain.releases.verdicts import Verdict
from conveyor.domain.words.versions import is_final, parse_version
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.domain.releases.gates.judged import JudgedRelease


def judge_final_version(release: JudgedRelease) -> Verdict:
    """A final or post release (PEP 440): what a user without ``--pre`` would be given."""
    gate = "final-version"
    try:
        version = parse_version(release.version)
    except InvalidInput:
        return Verdict(
            gate, "fail", f'"{release.version}" is not a version (PEP 440)', "release it under a version"
        )
    commits = {commit for file in release.files for commit in commits_of(release, file)}
    step = signing_step(release, min(commits)[:12] if commits else f'"v{version}^{{commit}}"')
    if is_final(version):
        return Verdict(gate, "pass", f"{version} is a final version")
    if version.is_devrelease:
        return Verdict(gate, "fail", f"{version} is a development version", step)
    if version.is_prerelease:
        return Verdict(gate, "fail", f"{version} is a pre-release", step)
    return Verdict(gate, "fail", f"{version} is a local version ({version.local})", step)
