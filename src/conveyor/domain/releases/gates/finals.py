"""The gates of a final release: ``qa-signature`` and ``final-version``.

``qa-signature``: a registered signer signed the commit that every file was built from. ``final-version``: no
pre-release, no development version, no local version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.judged import (
    Verdict,
    commits_of,
    faults_of_builds,
    job_command,
    short,
    signing_step,
    tags_of,
    worst,
)
from conveyor.domain.releases.tags import tag_counts
from conveyor.domain.words.names import is_final, parse_version
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.domain.releases.evidence import Evidence
    from conveyor.domain.releases.gates.judged import JudgedRelease


def judge_qa_signature(release: JudgedRelease) -> Verdict:
    """A valid signer signed a tag of this very release on the commit that every file was built from.

    ``tags.tag_counts`` says which tags are.

    A wheel needs build evidence of its own; an sdist may be known through a wheel that was built from it.
    """
    gate = "qa-signature"
    faults = list(faults_of_builds(release))
    if faults:
        return worst(gate, faults)
    missing = [file.filename for file in release.files if not commits_of(release, file)]
    if missing:
        return Verdict(
            gate,
            "waiting",
            f"no build evidence says which commit {', '.join(missing)} was built from",
            "let the packaging job build it, in its repository, under a new version unless that builds the "
            "same bytes: " + job_command(release, "conveyor pipeline package"),
        )
    commits = frozenset.union(*(commits_of(release, file) for file in release.files))
    if len(commits) > 1:
        return Verdict(
            gate,
            "fail",
            "its files were built from different commits: "
            + ", ".join(f"{file.filename} from {short(commits_of(release, file))}" for file in release.files),
            "build the whole release from one commit, under a new version",
        )
    signatures = [one for one in release.evidence if one.kind == "qa-signature"]
    for one in reversed(signatures):
        if one.is_signer_valid and one.commit_id in commits and _names_release(one, release):
            return Verdict(gate, "pass", f"{one.signed_by} signed commit {one.commit_id[:12]}")
    return _unsigned(release, commits, signatures)


def _unsigned(release: JudgedRelease, commits: frozenset[str], signatures: list[Evidence]) -> Verdict:
    """The reason why no signature counts."""
    commit = short(commits)
    step = signing_step(release, min(commits)[:12])
    if not signatures:
        return Verdict("qa-signature", "waiting", f"nobody signed {release.version} at commit {commit}", step)
    newest = signatures[-1]
    if not newest.is_signer_valid:
        reason = f"{newest.signed_by} signed it, but that key no longer counts"
    elif newest.commit_id not in commits:
        signed = (newest.commit_id or "?")[:12]
        reason = f"{newest.signed_by} signed commit {signed}, but the files were built from {commit}"
    else:
        tag = str(newest.predicate.get("tag", ""))[:100]
        reason = f'{newest.signed_by} signed the tag "{tag}", which does not name this release'
    return Verdict("qa-signature", "fail", reason, step)


def _names_release(signature: Evidence, release: JudgedRelease) -> bool:
    tag = str(signature.predicate.get("tag", ""))
    return tag_counts(tag, release.version, built_tags=tags_of(release))


def judge_final_version(release: JudgedRelease) -> Verdict:
    """A final or post release (PEP 440): the kind that installers choose without ``--pre``."""
    gate = "final-version"
    try:
        version = parse_version(release.version)
    except InvalidInput:
        return Verdict(
            gate, "fail", f'"{release.version}" is not a version (PEP 440)', "release it under a version"
        )
    commits = {commit for file in release.files for commit in commits_of(release, file)}
    step = signing_step(release, min(commits)[:12] if commits else None)
    if is_final(version):
        return Verdict(gate, "pass", f"{version} is a final version")
    if version.is_devrelease:
        return Verdict(gate, "fail", f"{version} is a development version", step)
    if version.is_prerelease:
        return Verdict(gate, "fail", f"{version} is a pre-release", step)
    return Verdict(gate, "fail", f"{version} is a local version ({version.local})", step)
