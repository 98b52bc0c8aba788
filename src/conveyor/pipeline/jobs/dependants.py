"""The job of dependants: the tests of the releases that require a release, with it installed beside them.

Each dependant is the newest release in the index that the release is to enter, as the store serves it, with
the tests of its own commit. If some fail, they are run again with the release that the index has now: what
fails there too does not count against the new one (``FactsOfDependants.new_failures``). Where not even a test
begins, because both cannot be installed together or for another reason, that is one failure. A dependant
whose tests nobody can find or may read is named; the gate goes on to ask for them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.domain.releases.evidence import FactsOfDependants, ReferenceRun, statement
from conveyor.domain.releases.facts import runs_of_dependants
from conveyor.domain.runs.repositories import Reach
from conveyor.domain.words.names import is_final, parse_version
from conveyor.domain.words.records import as_json
from conveyor.errors import Forbidden, ProjectError, StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.counts import failing_tests
from conveyor.pipeline.jobs.suite import run_tests
from conveyor.pipeline.jobs.testing import files_to_test, subject_of
from conveyor.project.interpreters import running_interpreter

if TYPE_CHECKING:
    from conveyor.domain.releases.dependants import Dependant, Dependants
    from conveyor.domain.releases.evidence import FactsOfTests
    from conveyor.domain.releases.standing import Release, ReleaseFile
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.pipeline.jobs.suite import Subject

_BEGINNING = "the beginning of the tests"
_MOST_FAILURES = 1000
"""Names in one statement, whose size is limited."""


def run_dependants_job(
    place: Workplace, worker: Keeper, *, project: str, version: str, index: str
) -> Done[None]:  # fmt: skip
    """Run the tests of every release in ``index`` that requires this one and accepts it; send the facts.

    One that has passed with these very files is not run again, nor one whose result this run has sent before
    it was killed. What is read is the repositories of the dependants, and nothing is said about them.

    Raises:
        StepFailed: some fail that did not fail before; the facts are sent anyway.
    """
    release = worker.client.releases.get(project, version)
    found = worker.client.releases.dependants(project, version, index=index)
    before = next((one for one in found.remaining if is_final(parse_version(one))), None)
    known = runs_of_dependants(release.evidence, is_isolated=place.isolation == "jail")
    lines, broken = [], []
    for one in found.dependants:
        if not one.accepts:
            continue
        facts = known.get((index, one.project, one.version))
        if facts is None or not (facts.is_good or _is_of(facts, place)):
            there = replace(place, reach=_reach_of(one, found))
            try:
                subject = _subject_at(there, worker, one)
            except (ProjectError, StepFailed, Forbidden) as error:
                lines.append(f"{one.project} {one.version} was not tested: {error.message}")
                continue
            facts = _facts(there, worker, release, one, subject, before=before)
            facts = replace(facts, made=place.making())
            file = _installed_of(release)
            worker.testify(
                statement("dependants", filename=file.filename, sha256=file.sha256, predicate=as_json(facts))
            )
        lines.append(f"{one.project} {one.version}: {facts.passed} passed")
        if not facts.is_good:
            broken.append(f"{one.project} {one.version} ({', '.join(facts.new_failures[:3]) or 'no test'})")
    if broken:
        raise StepFailed(
            f"with {project} {version} others fail that do not fail without it: {'; '.join(broken)}",
            hint="keep what they rely on, or release it as a version that they do not accept",
        )
    return Done(None, "; ".join(lines) or f'no release in "{index}" requires it', {"index": index})


def _is_of(facts: FactsOfDependants, place: Workplace) -> bool:
    """Whether this very run has found it out."""
    return facts.made is not None and facts.made.run is not None and facts.made.run == place.run


def _reach_of(dependant: Dependant, found: Dependants) -> Reach:
    """The repositories of a dependant; folders of this machine, if none is registered."""
    registered = {one.url: one.is_local for one in found.repositories if one.project == dependant.project}
    return Reach(registered, folders=not registered)


def _facts(
    place: Workplace, worker: Keeper, release: Release, dependant: Dependant, subject: Subject, *,
    before: str | None,
) -> FactsOfDependants:  # fmt: skip
    """The facts about one dependant."""
    file = _installed_of(release)
    new = f"{release.project} @ {worker.file_url(file.url)}#sha256={file.sha256}"
    name = f"dependant {dependant.project} in {dependant.index}"
    tested, failures = _run(place, worker, dependant, subject, beside=new, name=name)
    reference = None
    if failures and before is not None:
        beside, name = f"{release.project}=={before}", f"{name} as before"
        again, failing = _run(place, worker, dependant, subject, beside=beside, name=name)
        reference = ReferenceRun(before, again.passed if again is not None else 0, failing)
    return FactsOfDependants(
        release.project, release.version, dependant.index, dependant.project, dependant.version,
        passed=tested.passed if tested is not None else 0, failures=failures, reference=reference,
        on=tested.on if tested is not None else None,
    )  # fmt: skip


def _installed_of(release: Release) -> ReleaseFile:
    """The file that is installed beside dependants, and that the evidence is about."""
    return release.wheels[0] if release.wheels else release.files[0]


def _subject_at(place: Workplace, worker: Keeper, dependant: Dependant) -> Subject:
    """The file of a dependant that is installed, and where its tests are; raises as ``subject_of``."""
    release = worker.client.releases.get(dependant.project, dependant.version)
    return subject_of(place, worker, release, files_to_test(release)[0], None, None)


def _run(
    place: Workplace, worker: Keeper, dependant: Dependant, subject: Subject, *, beside: str, name: str
) -> tuple[FactsOfTests | None, tuple[str, ...]]:
    """How the tests of a dependant end with a release of the project beside it, and those that fail."""
    try:
        found = run_tests(
            place, subject, index=dependant.index, index_url=worker.index_url(dependant.index), name=name,
            interpreter=running_interpreter(), beside=[beside],
        )  # fmt: skip
    except (ProjectError, StepFailed) as error:
        with place.log(f"{name} beginning") as write:
            write(str(error))
        return None, (_BEGINNING,)
    junit = place.report(f"{name} junit.xml")
    return found, failing_tests(junit)[:_MOST_FAILURES] if junit.is_file() else ()
