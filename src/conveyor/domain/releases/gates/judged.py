"""The input of gates, the facts that several of them read from it, and their verdicts.

A next step ends with a complete command, so that it can be copied.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from conveyor.domain.releases.facts import builds_of, results_of, taken_by
from conveyor.domain.releases.gates.rules import NO_RULES, Rules
from conveyor.domain.releases.tags import could_be_release, read_tag_name
from conveyor.domain.words.names import final_of, parse_version
from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from conveyor.domain.releases.advisories import AdvisoryOfProject
    from conveyor.domain.releases.decisions import PersonalDecision
    from conveyor.domain.releases.dependants import Dependant
    from conveyor.domain.releases.evidence import Evidence, FactsOfBuild
    from conveyor.domain.releases.facts import Results
    from conveyor.domain.releases.licences import DeclaredLicence
    from conveyor.domain.words.names import Version


@dataclass(frozen=True)
class JudgingIndex:
    """An index on the way of a release, and what it asks."""

    index: str
    rules: Rules
    route: tuple[str, ...] | None = None
    """The indexes whose tests count: those on the release's way up to this one; ``None``: any."""
    isolation_by: str | None = None
    """The section of the policy that says how isolated evidence must be; ``None``: the index itself."""


@dataclass(frozen=True)
class Ties:
    """What ties the commit of a release to its project, besides what signed tags say."""

    is_registered: bool | None
    """Whether its repository is registered for the project; ``None``: it is registered for none."""
    is_shared: bool
    """Whether another project of the store was built from the same commit."""
    others: frozenset[str]
    """Other projects of the store that its signed tags name."""


@dataclass(frozen=True)
class JudgedFile:
    """One distribution of the release, as far as gates look at it."""

    filename: str
    packagetype: str
    """``bdist_wheel`` or ``sdist``."""
    sha256: str
    uploaded_at: str = ""
    licence: DeclaredLicence | None = None
    """``None``: it was not asked for, or there is no metadata."""


@dataclass(frozen=True)
class JudgedRelease:
    """A release as gates see it: every distribution and all evidence on it, the earliest made first.

    What only some gates look at is left out where no index on the way has them.
    """

    project: str
    version: str
    files: tuple[JudgedFile, ...]
    evidence: tuple[Evidence, ...]
    entry: str | None = None
    """The index that a run must enter to carry it; ``None``: the only such index, which needs no name."""
    index: str = ""
    """The index whose rules are asked."""
    rules: Rules = NO_RULES
    """What that index asks of the project."""
    at: str = ""
    """When it is judged, in the store's form."""
    is_closed: bool = False
    """Whether it was promoted, and takes no more files."""
    has_docs: bool = False
    others: tuple[tuple[str, str], ...] = ()
    """(version, index) of the releases of the project."""
    decisions: tuple[PersonalDecision, ...] = ()
    """What people decided about it, oldest first."""
    dependants: tuple[Dependant, ...] = ()
    """The releases that require its project, in the indexes whose rules ask for their tests."""
    advisories: tuple[AdvisoryOfProject, ...] | None = None
    """Those about it and what it was tested with; ``None``: the store has none at all."""
    route: tuple[str, ...] | None = None
    """The indexes whose tests count, as that index says; ``None``: any."""
    ties: Ties | None = None
    """``None``: nobody signed a tag, or the store is not at hand."""
    isolation_by: str | None = None
    """As ``JudgingIndex`` has it."""

    def versions_in(self, index: str) -> tuple[str, ...]:
        """The other versions of the project in an index."""
        return tuple(version for version, name in self.others if name == index and version != self.version)

    def asked_by(self, station: JudgingIndex) -> JudgedRelease:
        """As one index judges it: evidence that its rules do not take does not count."""
        rules = station.rules
        evidence = taken_by(rules, self.evidence)
        return replace(
            self, index=station.index, rules=rules, evidence=evidence, route=station.route,
            isolation_by=station.isolation_by,
        )  # fmt: skip

    @property
    def is_isolating(self) -> bool:
        """Whether the index takes no build and no success that was found without isolation."""
        return self.rules.isolation == "required"

    def results(self, file: JudgedFile) -> Results:
        """The test results of a file, as far as they count here."""
        return results_of(
            self.evidence, file.sha256, is_isolated=self.is_isolating, route=self.route,
            asked=self.rules.pythons,
        )  # fmt: skip

    def builds(self, file: JudgedFile) -> list[FactsOfBuild]:
        """What a file was built from, as far as builds count here, the earliest first."""
        return builds_of(self.evidence, file.sha256, is_isolated=self.is_isolating)

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
    commits = {facts.commit for facts in release.builds(file)}
    if file in release.sources:
        for wheel in release.wheels:
            built = release.builds(wheel)
            commits |= {facts.commit for facts in built if facts.built_from == file.sha256}
    return frozenset(commits)


def faults_of_builds(release: JudgedRelease) -> Iterator[Finding]:
    """A finding for each file whose builds contradict each other, or were made without isolation only."""
    for file in release.files:
        commits = frozenset(facts.commit for facts in release.builds(file))
        if len(commits) > 1:
            said = {
                f"{one.commit_id} (says {one.signed_by})": one.signed_by
                for one in release.evidence
                if one.kind == "build" and one.sha256 == file.sha256 and one.commit_id in commits
            }
            yield Finding(
                "fail",
                f"{file.filename} was built from {' and from '.join(sorted(said))}",
                "release it under a new version; or, if a worker was wrong, take back all that it ever said: "
                f"conveyor store worker revoke {max(said.values())}",
            )
        elif not commits and builds_of(release.evidence, file.sha256):
            yield Finding(
                "waiting",
                f'{file.filename} was built without isolation, which "{release.index}" does not accept',
                f"release it under a new version from a worker that isolates; {_accepting(release)}",
            )


def degraded_tests(release: JudgedRelease, file: JudgedFile, command: str) -> Finding:
    """The finding about a file whose tests passed without isolation only."""
    return Finding(
        "waiting",
        f'{file.filename} was tested without isolation, which "{release.index}" does not accept',
        f"run the testing job on a worker that isolates: {command} --to {release.index}; "
        + _accepting(release),
    )


def _accepting(release: JudgedRelease) -> str:
    """How an administrator accepts it, where it is asked for: the policy decides before the index."""
    if release.isolation_by is None:
        return f"or let an administrator accept it: conveyor store index set {release.index} --isolation any"
    return (
        f'or let an administrator accept it, by isolation = "any" below {release.isolation_by} in the policy '
        "(conveyor store policy show): conveyor store policy apply policy.toml --reason TEXT"
    )


def tags_of(release: JudgedRelease) -> frozenset[str | None]:
    """The tags that its files were built from, as the build evidence names them; ``None`` for a commit."""
    return frozenset(facts.tag for file in release.files for facts in release.builds(file))


def short(commits: frozenset[str]) -> str:
    """Commits as people write them, abbreviated."""
    return " or ".join(commit[:12] for commit in sorted(commits))


CREDENTIALS = "--credentials worker.toml"
"""The worker's credentials file, which names the store."""
_SIGNED_TAG = "git -c gpg.format=ssh -c user.signingkey=KEY tag"


def job_command(release: JudgedRelease, command: str) -> str:
    """The command with its ref (the commit in the local version, else the tag) and its entry index."""
    _, _, local = release.version.partition("+g")
    ref = local.partition(".")[0] or f"{_stem(release)}{release.version}"
    index = f" --index {release.entry}" if release.entry is not None else ""
    return f"{command} --ref {shlex.quote(ref)}{index} {CREDENTIALS}"


def release_step(release: JudgedRelease) -> str:
    """The command that makes the next release of the project, in a clone of its repository."""
    kind = "rc" if parse_version(release.version).is_prerelease else "patch"
    return f"conveyor release {kind}{_option(release)}"


def signing_step(release: JudgedRelease, commit: str | None) -> str:
    """What to do so that the commit becomes a final release that QA signed.

    ``commit`` is ``None`` if no build evidence says it: then the version, or the tag of that name, does.
    Names of tags and folders come from a repository and are quoted for the shell.
    """
    version = parse_version(release.version)
    final = final_of(version)
    where = commit or _named_commit(version)
    if version.is_devrelease:
        tag = shlex.quote(f"{_stem(release)}{_candidate_after(version)}")
        return (
            "tag the commit as a release candidate and push the tag, which is carried then: "
            f"git tag {tag} {where} && git push origin {tag}; or, on its branch and with a changelog: "
            f"conveyor release rc{_option(release)}"
        )
    tag = shlex.quote(f"{_stem(release)}{final}")
    said = f'-s -m "{release.project} {final}" {tag} {where}'
    if version == final:  # the tag exists, and git would refuse to make it again
        return (
            "let a QA signer make this tag anew, signed, and push it with --force: "
            f"{_SIGNED_TAG} -f {said} && git push --force origin {tag}"
        )
    candidate = _candidate_tag(release)
    if candidate is not None:
        return (
            "let a QA signer release the candidate, in a clone of its repository: "
            f"git checkout -q {shlex.quote(candidate)} && conveyor release final{_option(release)}"
        )
    return (
        "let a QA signer tag that commit as the final and push the tag: "
        f"{_SIGNED_TAG} {said} && git push origin {tag}"
    )


def _named_commit(version: Version) -> str:
    """The commit as git finds it by the version: in the local version, else by the release's tag."""
    named = re.match(r"g([0-9a-f]+)", version.local or "")
    return named[1] if named else f'"v{version}^{{commit}}"'


def _candidate_tag(release: JudgedRelease) -> str | None:
    """The tag from which ``conveyor release final`` makes the final; ``None`` if it makes none of it."""
    version = parse_version(release.version)
    if version.pre is None or version.pre[0] != "rc" or version.is_postrelease or version.local:
        return None
    names = [tag for tag in tags_of(release) if tag is not None and could_be_release(tag)]
    return next((tag for tag in sorted(names) if read_tag_name(tag).version == version), None)


def _folder_of(release: JudgedRelease) -> str:
    """Where the project lies in its repository, as the build evidence says; ``.`` is the top."""
    builds = [facts for file in release.files for facts in builds_of(release.evidence, file.sha256)]
    return next((facts.folder for facts in builds), ".")


def _option(release: JudgedRelease) -> str:
    """The option that names the project's folder in a clone, if it is not the top."""
    folder = _folder_of(release)
    return "" if folder == "." else f" --project {shlex.quote(folder)}"


def _stem(release: JudgedRelease) -> str:
    """What its tags have before the version: ``v``; ``demo/v`` if its tag has it, or it lies in a folder."""
    for tag in sorted(tag for tag in tags_of(release) if tag):
        if could_be_release(tag):
            return read_tag_name(tag).stem
    return "v" if _folder_of(release) == "." else f"{release.project}/v"


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
    opens_at: Annotated[Moment | None, "When time alone will have it pass; null: time does not help."] = None

    @property
    def lets_pass(self) -> bool:
        """Whether the gate passes."""
        return self.outcome in ("pass", "overridden")


def worst_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of several indexes on one gate: that of the strictest; its reason names each once."""
    order = ("fail", "waiting", "overridden", "pass")
    worst_outcome = min((one.outcome for one in verdicts), key=order.index)
    chosen = [one for one in verdicts if one.outcome == worst_outcome]
    reasons = "; ".join(dict.fromkeys(one.reason for one in chosen))
    moments = [one.opens_at for one in chosen]
    opens_at = None if None in moments else max(filter(None, moments))
    return replace(chosen[0], reason=reasons, opens_at=opens_at)
