"""The gates ``tests``, of the release itself, and ``dependants``, of the releases that require it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.facts import builds_of, faults_of, runs_of_dependants
from conveyor.domain.releases.gates.judged import (
    CREDENTIALS,
    Finding,
    degraded_tests,
    faults_of_builds,
    release_step,
    worst,
)
from conveyor.domain.words.names import is_python, minor_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.domain.releases.evidence import FactsOfDependants, FactsOfTests
    from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease, Verdict

_MOST_NAMED = 5


def judge_tests(release: JudgedRelease) -> Verdict:
    """Every wheel has passing tests; an sdist too, or there is a tested wheel that was built from it.

    Each Python and platform that the index asks for has a passing result against that index, of at least one
    file: an installer takes one. Which results count is told in ``facts``: a later failure is not outvoted
    by an earlier success, and a result for another platform is not hidden.
    """
    findings = {file: _tests_of(release, file) for file in release.wheels}
    for file in release.sources:
        own = _tests_of(release, file)
        if own.outcome == "waiting":
            own = _tests_of_wheels_from(release, file, findings)
        findings[file] = own
    return worst("tests", [*findings.values(), *_missing_environments(release), *faults_of_builds(release)])


def _missing_environments(release: JudgedRelease) -> Iterator[Finding]:
    """A finding for Pythons, and one for platforms, on which no file has passed its tests for the index."""
    good = [
        facts
        for file in release.files
        for facts in release.results(file).newest.values()
        if facts.index == release.index and not faults_of(facts)
    ]
    rules = release.rules
    pythons = [one for one in rules.pythons if not any(is_python(facts.on.python, one) for facts in good)]
    platforms = [one for one in rules.platforms if not any(facts.on.platform == one for facts in good)]
    command = f"conveyor pipeline test {release.project} {release.version} {CREDENTIALS}"
    step = f"{command} --to {release.index}{_where_tests_are(release, release.files[0])}"
    if pythons:
        yield Finding(
            "waiting",
            f'no tests evidence on Python {", ".join(pythons)}, which "{release.index}" asks for',
            f"run the testing job where that Python is installed: {step}",
        )
    if platforms:
        yield Finding(
            "waiting",
            f'no tests evidence on {", ".join(platforms)}, which "{release.index}" asks for',
            f"run the testing job on a worker of that platform: {step}",
        )


def _blocks(release: JudgedRelease, facts: FactsOfTests) -> bool:
    return release.rules.blocks_on(facts.on.python, facts.on.platform)


def _tests_of(release: JudgedRelease, file: JudgedFile) -> Finding:
    results = release.results(file)
    command = f"conveyor pipeline test {release.project} {release.version} {CREDENTIALS}"
    if not results.newest and results.degraded:
        return degraded_tests(release, file, command)
    if not results.newest:
        ignored = ", ".join(sorted(results.ignored_signers))
        because = f" that counts (only by {ignored})" if ignored else ""
        return Finding(
            "waiting",
            f"no tests evidence{because} for {file.filename}",
            f"run the testing job: {command}{_where_tests_are(release, file)}",
        )
    for facts in (one for one in results.failing if _blocks(release, one)):
        return Finding(
            "fail",
            f"{file.filename}: {'; '.join(faults_of(facts))} ({_place(facts)})",
            f"fix it and make a new release, or run the testing job again on {facts.on.platform}: "
            f"{command} --to {facts.index} --python {minor_of(facts.on.python)}",
        )
    for index, python, platform in results.missing[:1]:
        return Finding(
            "waiting",
            f"{file.filename} was not tested on Python {python} yet ({platform}, resolved against {index}), "
            "as its testing job was to do",
            f"run the testing job again on {platform}: {command} --to {index}",
        )
    shown = [(facts, _blocks(release, facts)) for facts in results.newest.values()]
    shown += [(facts, False) for facts in results.aside]
    said = "; ".join(
        f"{'; '.join(faults_of(facts)) or f'{facts.passed} passed'} ({_place(facts)})"
        + ("" if is_asked_for else ", which is not asked for")
        for facts, is_asked_for in shown
    )
    return Finding("pass", f"{file.filename}: {said}")


def _tests_of_wheels_from(
    release: JudgedRelease, source: JudgedFile, findings: dict[JudgedFile, Finding]
) -> Finding:
    for wheel, finding in findings.items():
        if finding.outcome == "pass" and any(
            facts.built_from == source.sha256 for facts in release.builds(wheel)
        ):
            return Finding("pass", f"{source.filename}: {wheel.filename} was built from it and tested")
    command = f"conveyor pipeline test {release.project} {release.version} {CREDENTIALS}"
    return Finding(
        "waiting",
        f"no tests evidence for {source.filename}, nor a tested wheel that was built from it",
        f"run the testing job: {command}{_where_tests_are(release, source)}",
    )


def _where_tests_are(release: JudgedRelease, file: JudgedFile) -> str:
    """Options that say where the tests are, if neither build evidence nor an sdist does."""
    if builds_of(release.evidence, file.sha256):
        return ""
    if any(source.filename.endswith(".tar.gz") for source in release.sources):
        return ""
    return f" --repo URL --ref v{release.version}"


def _place(facts: FactsOfTests) -> str:
    return f"Python {facts.on.python}, {facts.on.platform}, resolved against {facts.index}"


def judge_dependants(release: JudgedRelease) -> Verdict:
    """The tests of every release in the index that requires this one pass with it, or failed before too.

    A dependant whose requirement does not accept the version is not asked: it goes on with another.
    """
    runs = runs_of_dependants(release.evidence, is_isolated=release.is_isolating)
    findings = []
    for one in (one for one in release.dependants if one.index == release.index):
        name = f"{one.project} {one.version}"
        facts = runs.get((one.index, one.project, one.version))
        if not one.accepts:
            findings.append(Finding("pass", f"{name} does not accept it ({one.requires})"))
        elif facts is None:
            findings.append(_unasked(release, name, one.requires))
        else:
            findings.append(_finding_of_dependant(release, name, facts))
    return worst("dependants", findings or [Finding("pass", f'no release in "{release.index}" requires it')])


def _unasked(release: JudgedRelease, name: str, requires: str) -> Finding:
    return Finding(
        "waiting",
        f"the tests of {name}, which requires {requires}, were not run with it",
        f"run them: conveyor pipeline test-dependants {release.project} {release.version} {CREDENTIALS} "
        f"--to {release.index}",
    )


def _finding_of_dependant(release: JudgedRelease, name: str, facts: FactsOfDependants) -> Finding:
    """What the tests of a dependant gave."""
    if facts.is_good:
        old = f", {len(facts.failures)} fail as before" if facts.failures else ""
        return Finding("pass", f"{name}: {facts.passed} passed{old}")
    before = f" with {facts.reference.version}" if facts.reference is not None else ""
    failing = facts.new_failures
    more = f" and {len(failing) - _MOST_NAMED} more" if len(failing) > _MOST_NAMED else ""
    said = f"{', '.join(failing[:_MOST_NAMED])}{more} failed, not so{before}" if failing else "no test passed"
    return Finding(
        "fail",
        f"{name}: {said}",
        f"keep what {name} relies on, or release it as a version that it does not accept: "
        + release_step(release),
    )
