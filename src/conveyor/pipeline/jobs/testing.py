"""The testing job: each file of a release, as the store serves it, against the tests of its commit.

Each wheel is tested on each Python that it fits, of those that the project declares and those that the index
asks for; an sdist too, unless a wheel is known to be built from it. The facts are sent as evidence whatever
they say; the job fails if they are not good enough, except where the index only shows a failure. A file is
not tested again if its newest result for this index, Python and platform is good (``domain.releases.facts``).

Tests are where the build evidence says. A release that was uploaded by hand has none: its tests come from its
sdist, or from a repository and ref that the caller names.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from conveyor.domain.releases.evidence import environment_of, statement
from conveyor.domain.releases.facts import builds_of, faults_of, results_of
from conveyor.domain.releases.gates.rules import NO_RULES
from conveyor.domain.words.records import as_json
from conveyor.errors import StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.suite import (
    Subject,
    Suite,
    checked_out,
    fresh_folder,
    run_tests,
    take_suite,
    telling_of_claims,
)
from conveyor.project.git import resolve_commit
from conveyor.project.interpreters import asked_by, pythons_to_test_on, running_interpreter
from conveyor.project.uv import PYLOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.domain.releases.evidence import Evidence, FactsOfTests
    from conveyor.domain.releases.facts import TestedEnvironment
    from conveyor.domain.releases.standing import Release, ReleaseFile
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.project.interpreters import Interpreter


_BY_HAND = "--python"


def run_testing_job(
    place: Workplace, worker: Keeper, *, project: str, version: str, index: str,
    repository: str | None = None, ref: str | None = None, pythons: Sequence[str] = (),
) -> Done[bool]:  # fmt: skip
    """Test every file that the gates ask about, resolved against ``index``, and send the facts.

    Its value says whether the index asks for the tests of dependants too (``dependants``).

    ``repository`` is where the tests are, ``ref`` the tag, branch or commit there; ``None`` means what the
    build evidence names. ``pythons`` are versions to test on besides those of the project and the index.

    Raises:
        StepFailed: the facts are not good enough (they are sent anyway), no file fits, or nothing says where
            the tests are.
        MissingTool: this machine lacks a Python that the project is tested on.
    """
    release = worker.client.releases.get(project, version)
    release = replace(release, evidence=worker.seen(release.evidence))
    files = files_to_test(release)
    subjects = [(file, subject_of(place, worker, release, file, repository, ref)) for file in files]
    lines: list[str] = []
    first = f"test for {index}"
    counting = [one for one in release.evidence if one.received_at >= (worker.tests_since or "")]
    known = worker.client.policies.rules(project)
    rules = known.get(index, NO_RULES)
    if worker.index is not None:  # what is resolved is built where it has no wheel
        place.open_hosts(known.get(worker.index, NO_RULES).hosts)
    asked = {asked_by(index): rules.pythons, _BY_HAND: tuple(pythons)}
    suite, found, named = _arrange(place, subjects[0][1], first, asked) if subjects else (None, (), ())
    for file, subject in subjects:
        fitting = [python for python in found if file.packagetype == "sdist" or python.fits(file.filename)]
        announced = [environment_on(index, python)[1] for python in fitting if python in named]
        for python in fitting:
            environment = environment_on(index, python)
            facts = earlier_success(counting, file.sha256, environment, is_isolated=place.isolation == "jail")
            if facts is None:
                is_first = (file, python) == (files[0], found[0])
                name = first if is_first else f"{first} {file.filename} {python.name}"
                with telling_of_claims(worker):
                    facts = run_tests(
                        place, subject, index=index, index_url=worker.index_url(index), name=name,
                        interpreter=python, suite=suite if is_first else None,
                    )  # fmt: skip
                facts = replace(facts, made=place.making(), pythons=tuple(announced))
                if worker.job is None:
                    lock = place.report(f"{name} {PYLOCK}").read_bytes()
                    worker.client.releases.add_lock(project, version, lock)
                else:  # a lock has the store keep files, which takes the word of a worker
                    facts = replace(facts, on=replace(facts.on, lock_sha256=None))
                worker.testify(
                    statement("tests", filename=file.filename, sha256=file.sha256, predicate=as_json(facts))
                )
                faults = faults_of(facts)
                if faults and not rules.blocks_on(python.name, python.platform):
                    said = "; ".join(faults)
                    lines.append(f'{said} on Python {facts.on.python}, which "{index}" only shows')
                    continue
                _refuse_bad(place, file, python, faults, name)
            checked = facts.origin.modules_checked
            modules = "1 imported module is" if checked == 1 else f"{checked} imported modules are"
            lines.append(
                f"{facts.passed} passed, {facts.skipped} skipped on Python {facts.on.python}; "
                f"{modules} from the installed file"
            )
    if not lines:
        tried = ", ".join(python.name for python in found)
        raise StepFailed(
            f"no file of {project} {version} fits this machine{f' and Python {tried}' if tried else ''}",
            hint="test it on a worker of that platform, with that Python",
        )
    return Done("dependants" in rules.gates, "; ".join(lines), {"index": index})


def files_to_test(release: Release) -> list[ReleaseFile]:
    """The wheels, and each sdist that no wheel of the release is known to be built from."""
    sources = {
        facts.built_from for file in release.wheels for facts in builds_of(release.evidence, file.sha256)[-1:]
    }
    return [*release.wheels, *(file for file in release.sdists if file.sha256 not in sources)]


def _refuse_bad(
    place: Workplace, file: ReleaseFile, python: Interpreter, faults: Sequence[str], name: str
) -> None:
    if faults:
        raise StepFailed(
            f"{file.filename} failed its tests on Python {python.name}: {'; '.join(faults)}",
            log=place.read_log(name),
            hint="fix it and make a new release: published files never change",
        )


def _arrange(
    place: Workplace, subject: Subject, name: str, asked: Mapping[str, Sequence[str]]
) -> tuple[Suite, tuple[Interpreter, ...], tuple[Interpreter, ...]]:
    """The suite of the first test; the Pythons to test on, the project's own first; those that block.

    What a person asks for besides is tested and shown, and blocks nothing.
    """
    folder = fresh_folder(place, name)
    with checked_out(subject, folder) as (checkout, tracked):
        suite = take_suite(subject, checkout, tracked, folder / "suite")
        named = {who: versions for who, versions in asked.items() if who != _BY_HAND}
        return suite, pythons_to_test_on(suite.project, asked), pythons_to_test_on(suite.project, named)


def earlier_success(
    evidence: Iterable[Evidence], sha256: str, environment: TestedEnvironment, *, is_isolated: bool = False
) -> FactsOfTests | None:
    """The result that counts for these bytes in this environment; ``None`` if it is missing or bad.

    ``is_isolated``: a success without isolation is none, because tests made here would be worth more.
    """
    results = results_of(evidence, sha256, is_isolated=is_isolated)
    aside = {facts.environment: facts for facts in results.aside}
    facts = (aside | dict(results.newest)).get(environment)
    return facts if facts is not None and not faults_of(facts) else None


def environment_on(index: str, python: Interpreter | None = None) -> TestedEnvironment:
    """The environment of tests against ``index`` on an interpreter; ``None``: the one that runs now."""
    python = python or running_interpreter()
    return environment_of(index=index, python=python.name, platform=python.platform)


def subject_of(
    place: Workplace, worker: Keeper, release: Release, file: ReleaseFile, repository: str | None,
    ref: str | None,
) -> Subject:  # fmt: skip
    """A file of a release, and where its tests are: at ``ref``, where it was built from, or in its sdist.

    Raises:
        StepFailed: nothing says where they are.
    """
    built = builds_of(release.evidence, file.sha256)
    subject = Subject(
        project=release.project,
        version=release.version,
        filename=file.filename,
        sha256=file.sha256,
        url=worker.file_url(file.url),
        size_bytes=file.size_bytes,
        requires_python=file.requires_python,
        store=(worker.store_url, worker.told_url),
    )
    if ref is not None:
        where = repository or (built[-1].repository if built else None)
        if where is None:
            raise StepFailed(f"nothing says in which repository {ref} is", hint="name it: --repo URL")
        below = built[-1].folder if built else "."
        found = place.remote(where)
        return replace(
            subject,
            commit=resolve_commit(found, ref),
            repository=found,
            subfolder=below,
            complete=partial(place.complete, name="tests"),
        )
    if built:
        where = repository or built[-1].repository
        if where is None:
            raise StepFailed(
                f"the build evidence on {file.filename} does not say in which repository its commit is",
                hint="name it: --repo URL",
            )
        return replace(
            subject, commit=built[-1].commit, repository=place.remote(where), tag=built[-1].tag,
            subfolder=built[-1].folder, complete=partial(place.complete, name="tests"),
        )  # fmt: skip
    sdist = next(iter(release.sdists), None)
    if sdist is None or not sdist.filename.endswith(".tar.gz"):
        raise StepFailed(
            f"nothing says where the tests of {file.filename} are: it has no build evidence, and no sdist",
            hint="name the repository and the commit: --repo URL --ref v" + release.version,
        )
    folder = place.folder / "sdist"
    if not (folder / sdist.filename).is_file():
        worker.client.files.download(sdist, place.fresh("sdist"))
    return replace(subject, sdist=folder / sdist.filename)
