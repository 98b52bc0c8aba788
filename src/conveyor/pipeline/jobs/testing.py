"""The testing job: each wheel of a release, as the store serves it, against the tests of its commit.

The facts are sent as evidence whatever they say; the job fails if they are not good enough. A file is not
tested again if its newest result for this index, Python and platform is good (``domain.releases.facts``).
"""

from __future__ import annotations

import platform
import sysconfig
from typing import TYPE_CHECKING

from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from conveyor.domain.releases.evidence import environment_of, facts_of_tests, statement
from conveyor.domain.releases.facts import builds_of, faults_of, results_of
from conveyor.domain.releases.gates.judged import job_command
from conveyor.errors import StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.suite import Subject, run_tests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.releases.evidence import Evidence, FactsOfTests
    from conveyor.domain.releases.facts import TestedEnvironment
    from conveyor.domain.releases.standing import Release, ReleaseFile
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper


def run_testing_job(
    place: Workplace, worker: Keeper, *, project: str, version: str, index: str, repository: str | None = None
) -> Done[None]:
    """Test every wheel that fits this machine, resolved against ``index``, and send the facts.

    ``repository`` is where the tests are; ``None`` means the repository that the build evidence names.

    Raises:
        StepFailed: the facts are not good enough (they are sent anyway), no wheel fits, or the store has no
            build evidence that names a commit.
    """
    release = worker.client.releases.get(project, version)
    wheels = [file for file in release.files if file.packagetype == "bdist_wheel" and fits(file.filename)]
    if not wheels:
        raise StepFailed(f"no wheel of {project} {version} fits this machine")
    lines: list[str] = []
    for file in wheels:
        facts = earlier_success(release.evidence, file.sha256, environment_here(index))
        if facts is None:
            subject = _subject(worker, release, file, repository)
            predicate = run_tests(place, subject, index_url=worker.index_url(index), name=f"test for {index}")
            predicate["index"] = index
            worker.testify(
                statement("tests", filename=file.filename, sha256=file.sha256, predicate=predicate)
            )
            facts = facts_of_tests(predicate)
        faults = faults_of(facts)
        if faults:
            raise StepFailed(
                f"{file.filename} failed its tests: {'; '.join(faults)}",
                log=_log(place, index),
                hint="fix it and make a new release: published files never change",
            )
        lines.append(
            f"{facts.passed} passed, {facts.skipped} skipped; "
            f"{facts.origin.modules_checked} imported modules are the installed ones"
        )
    return Done(None, "; ".join(lines), {"index": index})


def earlier_success(
    evidence: Iterable[Evidence], sha256: str, environment: TestedEnvironment
) -> FactsOfTests | None:
    """The result that counts for these bytes in this environment; ``None`` if it is missing or bad."""
    facts = results_of(evidence, sha256).newest.get(environment)
    return facts if facts is not None and not faults_of(facts) else None


def environment_here(index: str) -> TestedEnvironment:
    """The environment in which this process tests against ``index``."""
    return environment_of(index=index, python=platform.python_version(), platform=sysconfig.get_platform())


def fits(filename: str) -> bool:
    """Whether a wheel can be installed by the interpreter that runs now."""
    tags = parse_wheel_filename(filename)[3]
    return any(tag in tags for tag in sys_tags())


def _subject(worker: Keeper, release: Release, file: ReleaseFile, repository: str | None) -> Subject:
    built = builds_of(release.evidence, file.sha256)
    if not built:
        raise StepFailed(
            f"no build evidence says from which commit {file.filename} was built",
            hint="publish it with a packaging job, in its repository, under a new version unless that builds "
            "the same bytes: "
            + job_command(release.version, "conveyor pipeline package", entry=release.index),
        )
    where = repository or built[-1].repository
    if where is None:
        raise StepFailed(
            f"the build evidence on {file.filename} does not say in which repository its commit is",
            hint="name it: --repo URL",
        )
    return Subject(
        project=release.project,
        version=release.version,
        filename=file.filename,
        sha256=file.sha256,
        url=worker.file_url(file.url),
        commit=built[-1].commit,
        repository=where,
        tag=built[-1].tag,
    )


def _log(place: Workplace, index: str) -> str:
    path = place.report(f"test for {index}.log")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
