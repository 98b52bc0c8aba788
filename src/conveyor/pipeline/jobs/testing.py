"""The testing job: each wheel of a release, as the store serves it, against the tests of its commit.

The facts are sent as evidence whatever they say; the job fails when they are not good enough. What was tested
against this index with these very bytes is not tested again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from conveyor.domain.releases.evidence import statement
from conveyor.errors import StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.suite import Subject, run_tests

if TYPE_CHECKING:
    from conveyor.client.answers import Release, ReleaseFile
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Worker


def run_testing_job(
    place: Workplace, worker: Worker, *, project: str, version: str, index: str, repository: str | None = None
) -> Done[None]:
    """Test every wheel that fits this machine, resolved against ``index``, and send the facts.

    ``repository`` is where the tests are; ``None``: where the build evidence says.

    Raises:
        StepFailed: the facts are not good enough (they are sent all the same), no wheel fits, or the store
            has no build evidence that names a commit.
    """
    release = worker.client.releases.get(project, version)
    wheels = [file for file in release.files if file.packagetype == "bdist_wheel" and fits(file.filename)]
    if not wheels:
        raise StepFailed(f"no wheel of {project} {version} fits this machine")
    lines: list[str] = []
    for file in wheels:
        facts = tested_before(release, file, index)
        if facts is None:
            subject = _subject(worker, release, file, repository)
            facts = run_tests(place, subject, index_url=worker.index_url(index), name=f"test for {index}")
            facts["index"] = index
            worker.testify(statement("tests", filename=file.filename, sha256=file.sha256, predicate=facts))
        faults = judge(facts)
        if faults:
            raise StepFailed(
                f"{file.filename} failed its tests: {'; '.join(faults)}",
                log=_log(place, index),
                hint="mend it and make a new release: published files never change",
            )
        lines.append(
            f"{facts['passed']} passed, {facts['skipped']} skipped; "
            f"{facts['origin']['modules_checked']} imported modules are the installed ones"
        )
    return Done(None, "; ".join(lines), {"index": index})


def judge(facts: dict[str, Any]) -> list[str]:
    """Why these facts are not good enough, one sentence each; empty when they are."""
    faults = []
    passed, failed, errors = (facts.get(name, 0) for name in ("passed", "failed", "errors"))
    proof = facts.get("origin", {})
    if failed or errors:
        faults.append(f"{failed} tests failed, {errors} could not run")
    elif not passed:
        faults.append("no test ran")
    faults += [f"not the installed code: {sentence}" for sentence in proof.get("outside", ("no proof",))]
    if passed and not proof.get("modules_checked"):
        faults.append("no module of the project was imported, so the tests say nothing about it")
    return faults


def tested_before(release: Release, file: ReleaseFile, index: str) -> dict[str, Any] | None:
    """The facts of an earlier test of these bytes against this index, if they are good."""
    for one in release.evidence:
        counts = one.kind == "tests" and one.sha256 == file.sha256 and one.is_signer_valid
        if counts and one.predicate.get("index") == index and not judge(one.predicate):
            facts: dict[str, Any] = one.predicate
            return facts
    return None


def fits(filename: str) -> bool:
    """Whether a wheel can be installed by the interpreter that runs now."""
    tags = parse_wheel_filename(filename)[3]
    return any(tag in tags for tag in sys_tags())


def _subject(worker: Worker, release: Release, file: ReleaseFile, repository: str | None) -> Subject:
    built = [
        one.predicate
        for one in release.evidence
        if one.kind == "build" and one.sha256 == file.sha256 and one.is_signer_valid
    ]
    if not built:
        raise StepFailed(
            f"nobody testified from which commit {file.filename} was built",
            hint="publish it with a packaging job: conveyor pipeline package",
        )
    return Subject(
        project=release.project,
        version=release.version,
        filename=file.filename,
        sha256=file.sha256,
        url=worker.file_url(file.url),
        commit=built[-1]["commit"],
        repository=repository or built[-1]["repository"],
        tag=built[-1].get("tag"),
    )


def _log(place: Workplace, index: str) -> str:
    path = place.report(f"test for {index}.log")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
