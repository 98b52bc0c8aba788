"""The gate ``tests``: every wheel was tested as published, by a registered worker, and nothing failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.evidence import facts_of_tests
from conveyor.domain.releases.gates.judged import (
    CREDENTIALS,
    Finding,
    builds_of,
    evidence_about,
    job_command,
    readable,
    worst,
)

if TYPE_CHECKING:
    from conveyor.domain.releases.evidence import FactsOfTests
    from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease, Verdict


def judge_tests(release: JudgedRelease) -> Verdict:
    """Every wheel has passing tests; an sdist too, or there is a tested wheel that was built from it.

    In each environment (index, Python, platform) the newest result counts, and every environment must pass: a
    later failure is not outvoted by an earlier success, and a result for another platform is not hidden.
    """
    findings = {file: _tests_of(release, file) for file in release.wheels}
    for file in release.sources:
        own = _tests_of(release, file)
        if own.outcome == "waiting":
            own = _tests_of_wheels_from(release, file, findings)
        findings[file] = own
    return worst("tests", findings.values())


def _tests_of(release: JudgedRelease, file: JudgedFile) -> Finding:
    newest: dict[tuple[str, str, str], FactsOfTests] = {}
    ignored: set[str] = set()
    for one in evidence_about(release, "tests", file):
        facts = readable(facts_of_tests, one)
        if facts is None or not one.is_signer_valid:
            ignored.add(one.signed_by)
        else:
            newest[facts.environment] = facts
    command = f"conveyor pipeline test {release.project} {release.version} {CREDENTIALS}"
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
    if facts.modules_checked < 1:
        return "the tests imported no module of the installed file"
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
            facts.built_from == source.sha256 for facts in builds_of(release, wheel)
        ):
            return Finding("pass", f"{source.filename}: {wheel.filename} was built from it and tested")
    command = job_command(release, "conveyor pipeline run")
    return Finding(
        "waiting",
        f"no tests evidence for {source.filename}, nor a tested wheel that was built from it",
        f"run the packaging and the testing job in its repository: {command}",
    )


def _place(facts: FactsOfTests) -> str:
    return f"Python {facts.python}, {facts.platform}, resolved against {facts.index}"
