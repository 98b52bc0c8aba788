"""The input of gates, the facts that several of them read from it, and their verdicts.

A next step ends with a complete command, so that it can be copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from conveyor.domain.releases.facts import builds_of
from conveyor.domain.releases.tags import could_be_release, read_tag_name
from conveyor.domain.words.names import final_of, parse_version
from conveyor.domain.words.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.releases.evidence import Evidence
    from conveyor.domain.words.names import Version


@dataclass(frozen=True)
class JudgedFile:
    """One distribution of the release, as far as gates look at it."""

    filename: str
    packagetype: str
    """``bdist_wheel`` or ``sdist``."""
    sha256: str


@dataclass(frozen=True)
class JudgedRelease:
    """A release as gates see it: every distribution and all evidence on it, oldest first."""

    project: str
    version: str
    files: tuple[JudgedFile, ...]
    evidence: tuple[Evidence, ...]
    entry: str | None = None
    """The index that a run must enter to carry it; ``None``: the only such index, which needs no name."""

    @property
    def wheels(self) -> tuple[JudgedFile, ...]:
        """The wheels among the files."""
        return tuple(file for file in self.files if file.packagetype == "bdist_wheel")

    @property
    def sources(self) -> tuple[JudgedFile, ...]:
        """The files that are not wheels."""
        return tuple(file for file in self.files if file.packagetype != "bdist_wheel")


@dataclass(frozen=True)
class Finding:
    """A gate's finding about one file; its verdict is the worst of its findings."""

    outcome: Outcome
    reason: str
    next_step: str | None = None


def worst(gate: str, findings: Iterable[Finding]) -> Verdict:
    """One verdict from many findings: the failed ones, else the missing ones, else the passed ones."""
    found = list(findings)
    for outcome in ("fail", "waiting", "pass"):
        chosen = [finding for finding in found if finding.outcome == outcome]
        if chosen:
            break
    reasons = "; ".join(dict.fromkeys(finding.reason for finding in chosen))
    return Verdict(gate, chosen[0].outcome, reasons, chosen[0].next_step)


def commits_of(release: JudgedRelease, file: JudgedFile) -> frozenset[str]:
    """The commits that the file was built from; of an sdist also through the wheels built from it."""
    commits = {facts.commit for facts in builds_of(release.evidence, file.sha256)}
    if file in release.sources:
        for wheel in release.wheels:
            built = builds_of(release.evidence, wheel.sha256)
            commits |= {facts.commit for facts in built if facts.built_from == file.sha256}
    return frozenset(commits)


def tags_of(release: JudgedRelease) -> frozenset[str | None]:
    """The tags that its files were built from, as the build evidence names them; ``None`` for a commit."""
    builds = [facts for file in release.files for facts in builds_of(release.evidence, file.sha256)]
    return frozenset(facts.tag for facts in builds)


def short(commits: frozenset[str]) -> str:
    """Commits as people write them, abbreviated."""
    return " or ".join(commit[:12] for commit in sorted(commits))


CREDENTIALS = "--credentials worker.toml"
"""The worker's credentials file, which names the store."""
_SIGNED_TAG = "git -c gpg.format=ssh -c user.signingkey=KEY tag"


def job_command(version: str, command: str, *, entry: str | None) -> str:
    """The command with its ref (the tag, or the commit in the local version) and its entry index."""
    _, _, local = version.partition("+g")
    ref = local.partition(".")[0] or f"v{version}"
    index = f" --index {entry}" if entry is not None else ""
    return f"{command} --ref {ref}{index} {CREDENTIALS}"


def signing_step(release: JudgedRelease, commit: str) -> str:
    """What to do so that the commit becomes a final release that QA signed."""
    version = parse_version(release.version)
    final = final_of(version)
    if version.is_devrelease:
        return (
            "tag the commit as a release candidate and carry that tag through the pipeline: "
            f"git tag {_stem(release)}{_candidate_after(version)} {commit}"
        )
    said = f'-s -m "{release.project} {final}" {_stem(release)}{final} {commit}'
    if version == final:  # the tag exists, and git would refuse to make it again
        return (
            f"let a QA signer make this tag anew, signed, and push it with --force: {_SIGNED_TAG} -f {said}"
        )
    return f"let a QA signer tag that commit as the final and push the tag: {_SIGNED_TAG} {said}"


def _stem(release: JudgedRelease) -> str:
    """What its tags have before the version: ``v``, or ``demo/v`` if it was built from such a tag."""
    for tag in sorted(tag for tag in tags_of(release) if tag):
        if could_be_release(tag):
            return read_tag_name(tag).stem
    return "v"


def _candidate_after(version: Version) -> str:
    """The next candidate after a development version.

    1.0.dev3 is before 1.0.0rc1, 1.0.0rc2.dev3 after 1.0.0rc1, and 1.0.0.post1.dev3 after 1.0.0.
    """
    numbers = [*version.release, *[0] * (3 - len(version.release))]
    kind, count = version.pre or ("rc", 1)
    if version.post is not None and version.pre is not None:
        count += 1
    elif version.post is not None:
        numbers[-1] += 1
    return f"{'.'.join(map(str, numbers))}{kind}{count}"


Outcome = Literal["pass", "fail", "waiting", "overridden"]
"""``waiting``: evidence may still come; ``fail``: the evidence is not good enough."""


@dataclass(frozen=True)
class Verdict(Record):
    """One gate's verdict on one release."""

    gate: Annotated[str, "Its name."]
    outcome: Outcome
    reason: Annotated[str, "One sentence: what was found, with values."]
    next_step: Annotated[str | None, "What to do now; null if there is nothing to do."] = None

    @property
    def lets_pass(self) -> bool:
        """Whether the gate passes."""
        return self.outcome in ("pass", "overridden")
