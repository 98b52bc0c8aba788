"""Gates: the rules of an index that ask for evidence, and their verdicts.

A gate is a pure function of a release, its evidence and the time. It never raises: what it can not judge
(a gate nobody knows, a predicate nobody can read) does not pass. Its reason says what was found, with
values; its next step is what the reader can do now. A command in it stands at its end, whole, so that it can
be copied; ``worker.toml`` is the worker's credentials file, which names the store.

    tests           every wheel was tested as published, by a registered worker, and nothing failed
    qa-signature    a registered signer signed the commit that every wheel was built from
    final-version   the version is a final one: no pre-release, development or local version

``waiting`` is said of what may still come, ``fail`` of what is there and not good enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from conveyor.domain.evidence import Evidence, FactsOfBuild, FactsOfTests, facts_of_build, facts_of_tests
from conveyor.domain.tags import version_of_tag
from conveyor.domain.versions import final_of, is_final, parse_version
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

Facts = TypeVar("Facts")
Outcome = Literal["pass", "fail", "waiting", "overridden"]
_CREDENTIALS = "--credentials worker.toml"


@dataclass(frozen=True)
class Verdict:
    """What one gate says of one release."""

    gate: str
    outcome: Outcome
    reason: str
    """One sentence: what was found, with values."""
    next_step: str | None = None
    """What to do now; ``None`` when nothing is to be done."""

    @property
    def lets_pass(self) -> bool:
        """Whether the gate stands open."""
        return self.outcome in ("pass", "overridden")


@dataclass(frozen=True)
class JudgedFile:
    """One distribution of the release, as far as gates look at it."""

    filename: str
    packagetype: str
    """``bdist_wheel`` or ``sdist``."""
    sha256: str


@dataclass(frozen=True)
class JudgedRelease:
    """What gates are asked about: every distribution of a release and all evidence on it, oldest first."""

    project: str
    version: str
    files: tuple[JudgedFile, ...]
    evidence: tuple[Evidence, ...]

    @property
    def wheels(self) -> tuple[JudgedFile, ...]:
        """The wheels among the files."""
        return tuple(file for file in self.files if file.packagetype == "bdist_wheel")

    @property
    def sources(self) -> tuple[JudgedFile, ...]:
        """The files that are no wheels."""
        return tuple(file for file in self.files if file.packagetype != "bdist_wheel")


@dataclass(frozen=True)
class Finding:
    """What a gate found about one file; a gate's verdict is the worst of its findings."""

    outcome: Outcome
    reason: str
    next_step: str | None = None


def judge(release: JudgedRelease, gates: Iterable[str], *, now: datetime) -> tuple[Verdict, ...]:
    """One verdict per gate, in the order of ``gates``; never raises."""
    return tuple(_judge_one(release, gate, now) for gate in gates)


def _judge_one(release: JudgedRelease, gate: str, now: datetime) -> Verdict:
    judged_by = GATES.get(gate)
    if judged_by is None:
        known = ", ".join(GATES)
        return Verdict(
            gate, "fail", f'this store knows no gate "{gate}"', f"set the index's gates to some of {known}"
        )
    if not release.files:
        return Verdict(gate, "fail", f"{release.project} {release.version} has no files", "upload its files")
    try:
        return judged_by(release, now)
    except Exception as error:  # noqa: BLE001 - a gate that breaks must stay shut, and say so
        return Verdict(
            gate, "fail", f"the gate could not judge this release ({error!r:.300})", "report this to the team"
        )


# --- tests ----------------------------------------------------------------------------------------


def judge_tests(release: JudgedRelease, now: datetime) -> Verdict:
    """Every wheel has passing tests; an sdist too, or there is a tested wheel that was built from it.

    In each environment (index, Python, platform) the newest result counts, and every environment must pass: a
    later failure is not outvoted by an earlier success, and a result for another platform is not hidden.
    """
    del now
    findings = {file: _tests_of(release, file) for file in release.wheels}
    for file in release.sources:
        own = _tests_of(release, file)
        if own.outcome == "waiting":
            own = _tests_of_wheels_from(release, file, findings)
        findings[file] = own
    return _worst("tests", findings.values())


def _tests_of(release: JudgedRelease, file: JudgedFile) -> Finding:
    newest: dict[tuple[str, str, str], FactsOfTests] = {}
    ignored: set[str] = set()
    for one in _about(release, "tests", file):
        facts = _readable(facts_of_tests, one)
        if facts is None or not one.is_signer_valid:
            ignored.add(one.signed_by)
        else:
            newest[facts.environment] = facts
    command = f"conveyor pipeline test {release.project} {release.version} {_CREDENTIALS}"
    if not newest:
        because = f" that counts (only by {', '.join(sorted(ignored))})" if ignored else ""
        return Finding(
            "waiting", f"no tests evidence{because} for {file.filename}", f"run the testing job: {command}"
        )
    for facts in newest.values():
        fault = _tests_fault(facts)
        if fault is not None:
            return Finding(
                "fail",
                f"{file.filename}: {fault} ({_place(facts)})",
                f"mend it and release anew, or run the testing job again: {command}",
            )
    said = "; ".join(f"{facts.passed} passed ({_place(facts)})" for facts in newest.values())
    return Finding("pass", f"{file.filename}: {said}")


def _tests_fault(facts: FactsOfTests) -> str | None:
    if facts.failed or facts.errors:
        return f"{facts.failed} tests failed and {facts.errors} broke"
    if facts.passed < 1:
        return "not one test passed"
    if facts.outside:
        return (
            f"the tests did not test the installed file: {', '.join(facts.outside[:3])} came from elsewhere"
        )
    return None


def _tests_of_wheels_from(
    release: JudgedRelease, source: JudgedFile, findings: dict[JudgedFile, Finding]
) -> Finding:
    for wheel, finding in findings.items():
        if finding.outcome == "pass" and any(
            facts.built_from == source.sha256 for facts in _builds_of(release, wheel)
        ):
            return Finding("pass", f"{source.filename}: {wheel.filename} was built from it and tested")
    return Finding(
        "waiting",
        f"no tests evidence for {source.filename}, nor a tested wheel that was built from it",
        f"run the packaging and the testing job in its repository: {_job(release, 'conveyor pipeline run')}",
    )


def _place(facts: FactsOfTests) -> str:
    return f"Python {facts.python}, {facts.platform}, resolved against {facts.index}"


# --- qa-signature ---------------------------------------------------------------------------------


def judge_qa_signature(release: JudgedRelease, now: datetime) -> Verdict:
    """A valid signer signed a tag of this very version on the commit that every file was built from.

    A wheel needs build evidence of its own; an sdist may be known through a wheel that was built from it.
    """
    del now
    gate = "qa-signature"
    missing = [file.filename for file in release.files if not _commits_of(release, file)]
    if missing:
        return Verdict(
            gate,
            "waiting",
            f"no build evidence says which commit {', '.join(missing)} was built from",
            "let the packaging job build it, in its repository: "
            + _job(release, "conveyor pipeline package"),
        )
    commits = frozenset.intersection(*(_commits_of(release, file) for file in release.files))
    if not commits:
        return Verdict(
            gate,
            "fail",
            "its files were built from different commits: "
            + ", ".join(
                f"{file.filename} from {_short(_commits_of(release, file))}" for file in release.files
            ),
            "build the whole release from one commit, under a new version",
        )
    signatures = [one for one in release.evidence if one.kind == "qa-signature"]
    for one in reversed(signatures):
        if one.is_signer_valid and one.commit_id in commits and _names_version(one, release.version):
            return Verdict(gate, "pass", f"{one.signed_by} signed commit {one.commit_id[:12]}")
    return _unsigned(release, commits, signatures)


def _unsigned(release: JudgedRelease, commits: frozenset[str], signatures: list[Evidence]) -> Verdict:
    """Why none of the signatures counts."""
    commit = _short(commits)
    step = _signing(release, min(commits)[:12])
    if not signatures:
        return Verdict("qa-signature", "waiting", f"nobody signed {release.version} at commit {commit}", step)
    newest = signatures[-1]
    if not newest.is_signer_valid:
        reason = f"{newest.signed_by} signed it, but that key does not count any more"
    elif newest.commit_id not in commits:
        signed = (newest.commit_id or "?")[:12]
        reason = f"{newest.signed_by} signed commit {signed}, but the files were built from {commit}"
    else:
        reason = f"{newest.signed_by} signed a tag that does not name {release.version}"
    return Verdict("qa-signature", "fail", reason, step)


def _names_version(signature: Evidence, version: str) -> bool:
    try:
        return signature.version == version == str(version_of_tag(str(signature.predicate.get("tag", ""))))
    except InvalidInput:
        return False


def _commits_of(release: JudgedRelease, file: JudgedFile) -> frozenset[str]:
    """The commits that the file was built from; of an sdist also through the wheels built from it."""
    commits = {facts.commit for facts in _builds_of(release, file)}
    if file in release.sources:
        for wheel in release.wheels:
            commits |= {
                facts.commit for facts in _builds_of(release, wheel) if facts.built_from == file.sha256
            }
    return frozenset(commits)


# --- final-version --------------------------------------------------------------------------------


def judge_final_version(release: JudgedRelease, now: datetime) -> Verdict:
    """A final or post release (PEP 440): what a user without ``--pre`` would be given."""
    del now
    gate = "final-version"
    try:
        version = parse_version(release.version)
    except InvalidInput:
        return Verdict(
            gate, "fail", f'"{release.version}" is not a version (PEP 440)', "release it under a version"
        )
    commits = {commit for file in release.files for commit in _commits_of(release, file)}
    step = _signing(release, min(commits)[:12] if commits else f'"v{version}^{{commit}}"')
    if is_final(version):
        return Verdict(gate, "pass", f"{version} is a final version")
    if version.is_devrelease:
        return Verdict(gate, "fail", f"{version} is a development version", step)
    if version.is_prerelease:
        return Verdict(gate, "fail", f"{version} is a pre-release", step)
    return Verdict(gate, "fail", f"{version} is a local version ({version.local})", step)


# --- what several gates need ----------------------------------------------------------------------


def _job(release: JudgedRelease, command: str) -> str:
    """The command, told what to build: the release's tag or, by its local version, its commit."""
    _, _, local = release.version.partition("+g")
    ref = local.partition(".")[0] or f"v{release.version}"
    return f"{command} --ref {ref} {_CREDENTIALS}"


def _signing(release: JudgedRelease, commit: str) -> str:
    """What to do so that the commit becomes a final release that QA signed."""
    version = parse_version(release.version)
    final = final_of(version)
    if version.is_devrelease:
        return (
            "tag the commit as a release candidate and carry that tag through the pipeline: "
            f"git tag v{final}rc1 {commit}"
        )
    said = f'-s -m "{release.project} {final}" v{final} {commit}'
    if version == final:  # so the tag is there, and git would refuse to make it again
        return (
            "let a QA signer make this tag anew, signed, and push it with --force: "
            f"git -c gpg.format=ssh tag -f {said}"
        )
    return f"let a QA signer tag that commit as the final and push the tag: git -c gpg.format=ssh tag {said}"


def _about(release: JudgedRelease, kind: str, file: JudgedFile) -> list[Evidence]:
    return [one for one in release.evidence if one.kind == kind and one.sha256 == file.sha256]


def _builds_of(release: JudgedRelease, file: JudgedFile) -> list[FactsOfBuild]:
    """What workers that count say the file was built from."""
    found = []
    for one in _about(release, "build", file):
        facts = _readable(facts_of_build, one) if one.is_signer_valid else None
        if facts is not None:
            found.append(facts)
    return found


def _readable(read: Callable[[dict[str, Any]], Facts], one: Evidence) -> Facts | None:
    """The facts of the evidence; ``None`` when they can not be read: such evidence counts for nothing."""
    try:
        return read(one.predicate)
    except InvalidInput:
        return None


def _worst(gate: str, findings: Iterable[Finding]) -> Verdict:
    """One verdict of many findings: of what failed, else of what is missing, else of what passed."""
    found = list(findings)
    for outcome in ("fail", "waiting", "pass"):
        chosen = [finding for finding in found if finding.outcome == outcome]
        if chosen:
            break
    reasons = "; ".join(dict.fromkeys(finding.reason for finding in chosen))
    return Verdict(gate, chosen[0].outcome, reasons, chosen[0].next_step)


def _short(commits: frozenset[str]) -> str:
    return " or ".join(commit[:12] for commit in sorted(commits))


GATES: dict[str, Callable[[JudgedRelease, datetime], Verdict]] = {
    "tests": judge_tests,
    "qa-signature": judge_qa_signature,
    "final-version": judge_final_version,
}
"""Every gate this store knows."""
