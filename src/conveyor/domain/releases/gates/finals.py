"""The gates of a final release: ``qa-signature``, ``final-version`` and ``equivalence``.

``qa-signature``: registered signers signed the commit that every file was built from, or the files
themselves. ``final-version``: no pre-release, no development version, no local version. ``equivalence``: its
files are those of a tested candidate, but for the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.approvals import approves
from conveyor.domain.releases.facts import proofs_of
from conveyor.domain.releases.gates.judged import (
    Finding,
    Verdict,
    commits_of,
    faults_of_builds,
    job_command,
    short,
    signing_step,
    tags_of,
    worst,
)
from conveyor.domain.releases.tags import projects_named, tag_counts
from conveyor.domain.words.names import final_of, is_final, parse_version
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.domain.releases.evidence import Evidence
    from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease
    from conveyor.domain.words.names import Version


def judge_qa_signature(release: JudgedRelease) -> Verdict:
    """As many valid signers as the index asks signed this very release.

    They signed a tag of it on the commit that every file was built from, or approved the files themselves. A
    tag is one of this release if ``tags.tag_counts`` says so and it is tied to the project (``_is_tied``).
    A wheel needs build evidence of its own; an sdist may be known through a wheel that was built from it.
    """
    gate = "qa-signature"
    faults = list(faults_of_builds(release))
    if faults:
        return worst(gate, faults)
    commits = frozenset[str]().union(*(commits_of(release, file) for file in release.files))
    if len(commits) > 1:
        return Verdict(
            gate,
            "fail",
            "its files were built from different commits: "
            + ", ".join(f"{file.filename} from {short(commits_of(release, file))}" for file in release.files),
            "build the whole release from one commit, under a new version",
        )
    signatures = [one for one in release.evidence if one.kind == "qa-signature"]
    judged = [(one, _fault_of_signature(release, one, commits)) for one in signatures]
    counting = [one for one, fault in judged if fault is None]
    signers = list(dict.fromkeys(one.signed_by for one in reversed(counting)))
    if len(signers) >= release.rules.signers:
        what = f"commit {min(commits)[:12]}" if any(one.commit_id for one in counting) else "its files"
        return Verdict(gate, "pass", f"{' and '.join(signers[:MOST_NAMED])} signed {what}")
    if signers:
        more = release.rules.signers - len(signers)
        return Verdict(
            gate,
            "waiting",
            f"{' and '.join(signers)} signed it, and {more} more must",
            f"let another signer approve it: {_approving(release)}",
        )
    return _unsigned(release, commits, [(one, fault) for one, fault in judged if fault is not None])


MOST_NAMED = 5


def signers_of(release: JudgedRelease) -> tuple[str, ...]:
    """Those whose signatures of this very release count for the index, each once, in their order."""
    commits = frozenset[str]().union(*(commits_of(release, file) for file in release.files))
    counting = (
        one.signed_by
        for one in release.evidence
        if one.kind == "qa-signature" and _fault_of_signature(release, one, commits) is None
    )
    return tuple(dict.fromkeys(counting))


def _fault_of_signature(release: JudgedRelease, one: Evidence, commits: frozenset[str]) -> str | None:
    """Why a signature does not count for this release, as a sentence; ``None`` if it does."""
    by = one.signed_by
    if not one.is_signer_valid:
        return f"{by} signed it, but that key no longer counts"
    if one.signer_indexes is not None and release.index not in one.signer_indexes:
        return f'{by} signed it, and may not sign for "{release.index}"'
    if "approval" in one.predicate:
        files = {file.filename: file.sha256 for file in release.files}
        fault = None if approves(one.predicate, files) else f"{by} approved other files than it has now"
    else:
        fault = _fault_of_tag(release, one, commits)
    return fault or _fault_of_author(release, one)


def _fault_of_tag(release: JudgedRelease, one: Evidence, commits: frozenset[str]) -> str | None:
    by, tag = one.signed_by, str(one.predicate.get("tag", ""))
    if not all(commits_of(release, file) for file in release.files):
        return "not every file is known to be built from a commit"
    if one.commit_id not in commits:
        signed = (one.commit_id or "?")[:12]
        return f"{by} signed commit {signed}, but the files were built from {short(commits)}"
    if not tag_counts(tag, release.version, project=release.project, built_tags=tags_of(release)):
        return f'{by} signed the tag "{tag[:100]}", which does not name this release'
    if not _is_tied(release, projects_named(tag, str(one.predicate.get("message", "")))):
        return f'{by} signed the tag "{tag[:100]}", which does not say that it is for {release.project}'
    return None


def _is_tied(release: JudgedRelease, named: frozenset[str]) -> bool:
    """Whether a tag on its commit is a word about this project, and not about another one at that commit.

    It is if the tag names the project. If it names no project of the store, the commit's repository must be
    registered for this project; where it is registered for none, no other project must come from the commit.
    """
    ties = release.ties
    if ties is None or release.project in named:
        return True
    if named & ties.others:
        return False
    return not ties.is_shared if ties.is_registered is None else ties.is_registered


def _fault_of_author(release: JudgedRelease, one: Evidence) -> str | None:
    if not release.rules.not_author:
        return None
    authors = {facts.author for file in release.files for facts in release.builds(file)}
    if not authors or None in authors:
        return f"{one.signed_by} signed it, and no build evidence says that somebody else wrote the commit"
    if one.signed_by.casefold() in {str(author).casefold() for author in authors}:
        return f"{one.signed_by} signed it, and is the author of its commit"
    return None


def _unsigned(
    release: JudgedRelease, commits: frozenset[str], refused: list[tuple[Evidence, str]]
) -> Verdict:
    """The reason why no signature counts."""
    gate = "qa-signature"
    missing = [file.filename for file in release.files if not commits_of(release, file)]
    if missing and not any("approval" in one.predicate for one, _ in refused):
        return Verdict(
            gate,
            "waiting",
            f"no build evidence says which commit {', '.join(missing)} was built from",
            "let the packaging job build it, in its repository, under a new version unless that builds the "
            "same bytes: " + job_command(release, "conveyor pipeline package"),
        )
    if not refused:
        step = signing_step(release, min(commits)[:12])
        return Verdict(gate, "waiting", f"nobody signed {release.version} at commit {short(commits)}", step)
    newest, reason = refused[-1]
    is_retagged = "approval" not in newest.predicate and bool(commits) and not release.rules.not_author
    step = signing_step(release, min(commits)[:12]) if is_retagged else ""
    if not is_retagged or "which does not say that" in reason:
        step = f"let a signer approve it: {_approving(release)}"
    return Verdict(gate, "fail", reason, step)


def _approving(release: JudgedRelease) -> str:
    return f"conveyor approve {release.project} {release.version} --key FILE"


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


def judge_equivalence(release: JudgedRelease) -> Verdict:
    """Workers proved that every file of a final is that of one tested candidate, but for its version."""
    gate = "equivalence"
    version = parse_version(release.version)
    if not is_final(version):
        return Verdict(gate, "pass", f"{version} is no final, so there is nothing to prove")
    return worst(gate, [_proved(release, file, version) for file in release.files])


def _proved(release: JudgedRelease, file: JudgedFile, version: Version) -> Finding:
    """The finding about one file: its newest proof, of a candidate of this very version, counts."""
    step = (
        "release it anew as a candidate, let that be tested, and then as a final on the same commit: "
        "conveyor release rc && conveyor release final"
    )
    proofs = proofs_of(release.evidence, file.sha256, is_isolated=release.is_isolating)
    if not proofs:
        return Finding(
            "waiting", f"no worker has proved that {file.filename} equals a tested candidate", step
        )
    proof = proofs[-1]
    candidate = parse_version(proof.rc_version)
    if candidate.pre is None or final_of(candidate) != version:
        said = f"{file.filename} was proved equal to {candidate}, which is no candidate of {version}"
        return Finding("fail", said, step)
    if proof.derived_sha256 != file.sha256:
        said = f"the proof for {file.filename} is about another file, sha256 {proof.derived_sha256[:16]}…"
        return Finding("fail", said, step)
    what = "the same bytes" if proof.proof == "identical" else "the same members in another framing"
    return Finding(
        "pass", f"{file.filename} is that of {candidate} but for its version; a rebuild has {what}"
    )
