"""The rehearsal: the packaging job tests the file that it built exactly as the testing job will.

The same code runs with the same suite, Pythons and index; only the file comes from its folder and not from
the store. So a version is not used up by a failure that could be known before anything is published.

When tests fail here, they run once more in a whole checkout, against the same installed file. If more of them
pass there, what they opened outside of the tests is named: it must be declared (``files``). Only what the
process of the tests itself opens is seen, not its children, and not what C code opens.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from conveyor.domain.releases.evidence import environment_of, facts_of_tests
from conveyor.domain.releases.facts import faults_of
from conveyor.errors import ConveyorError, StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.sources import read_clone
from conveyor.pipeline.jobs.suite import (
    Subject,
    Suite,
    checked_out,
    export_suite,
    packages_to_install,
    run_suite,
    run_tests,
)
from conveyor.project.environment import Environment
from conveyor.project.interpreters import pythons_to_test_on
from conveyor.project.model import sha256_of_file
from conveyor.project.suites import below, command_to_install, command_to_test

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.pipeline.jobs.candidates import Candidate
    from conveyor.pipeline.jobs.distributions import BuiltRelease
    from conveyor.pipeline.jobs.sources import Source
    from conveyor.project.interpreters import Interpreter

_SETTINGS_FILES = {
    "pyproject.toml", "setup.cfg", "tox.ini", ".coveragerc", "pytest.ini", ".pytest.ini", "pytest.toml",
}  # fmt: skip
"""Tools look for their settings in these wherever they run; a test that fails seldom misses them."""
MOST_NAMED = 8


def rehearse(
    place: Workplace, worker: Keeper, source: Source, goal: str, built: BuiltRelease,
    candidate: Candidate | None = None,
) -> Done[None]:  # fmt: skip
    """Test the built wheel on every Python that the testing job will use, resolved against ``goal``.

    A final that is proven to be its ``candidate`` is not tested again where it would meet the very packages
    that the candidate was tested with.

    Raises:
        StepFailed: it would fail there, for these reasons; carries the log.
        ProjectError: the tests cannot be found or installed.
    """
    project = read_clone(place, source)
    wheel = place.folder / "dist" / built.wheel
    subject = Subject(
        built.project, built.version, built.wheel, sha256_of_file(wheel), wheel.as_uri(),
        wheel.stat().st_size,
        commit=source.commit, repository=source.repository, tag=source.tag, subfolder=source.folder,
    )  # fmt: skip
    lines = []
    for interpreter in pythons_to_test_on(project):
        if not interpreter.fits(built.wheel):
            raise StepFailed(
                f"{built.wheel} does not fit Python {interpreter.name}, which it is to be tested on",
                hint="name Pythons of that kind only under [tool.conveyor.test] pythons",
            )
        name = f"rehearse {interpreter.name}"
        if candidate is not None and _is_known(
            place, worker, subject, candidate, goal=goal, interpreter=interpreter, name=name
        ):
            lines.append(f"{candidate.version} passed with the same packages on Python {interpreter.name}")
            continue
        predicate = run_tests(
            place, subject, index_url=worker.index_url(goal), name=name, interpreter=interpreter
        )
        facts = facts_of_tests(predicate | {"index": goal})
        faults = faults_of(facts)
        if faults:
            log = place.read_log(name)
            missing = missing_files(place, subject, predicate, name=name)
            raise StepFailed(
                f"{built.wheel} fails its tests on Python {interpreter.name}: {'; '.join(faults)}"
                + _said_of(missing),
                log=log,
                hint=declaration_of(project.declared.test.files, missing)
                if missing
                else f"run them in the project: {command_to_install(project)} && {command_to_test(project)}",
            )
        lines.append(f"{facts.passed} passed, {facts.skipped} skipped on Python {interpreter.name}")
    return Done(None, "; ".join(lines))


def _is_known(
    place: Workplace, worker: Keeper, subject: Subject, candidate: Candidate, *, goal: str,
    interpreter: Interpreter, name: str,
) -> bool:  # fmt: skip
    """Whether the candidate passed its tests among the packages that the subject would be installed with."""
    environment = environment_of(index=goal, python=interpreter.name, platform=interpreter.platform)
    release = worker.client.releases.get(subject.project, candidate.version)
    tested = [
        one.predicate
        for one in release.evidence
        if one.kind == "tests" and one.sha256 == candidate.wheel_sha256 and one.is_signer_valid
        and facts_of_tests(one.predicate).environment == environment
    ]  # fmt: skip
    if not tested or faults_of(facts_of_tests(tested[-1])):
        return False
    before = {one["name"]: one["version"] for one in tested[-1]["environment"].get("packages", ())}
    before.pop(subject.project, None)
    now = packages_to_install(
        place, subject, index_url=worker.index_url(goal), name=name, interpreter=interpreter
    )
    now.pop(subject.project, None)
    return before == now


def _said_of(missing: Sequence[str]) -> str:
    if not missing:
        return ""
    listed = ", ".join(missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return f". The tests read {listed}{more} of the repository, which only a checkout has"


def declaration_of(declared: Sequence[str], missing: Sequence[str]) -> str:
    """The line to write into ``pyproject.toml`` so that these files come along."""
    listed = ", ".join(f'"{path}"' for path in (*declared, *missing))
    return f"declare what they read, under [tool.conveyor.test]: files = [{listed}]"


def missing_files(
    place: Workplace, subject: Subject, before: dict[str, Any], *, name: str
) -> tuple[str, ...]:
    """What the tests read in a whole checkout and lack without it; empty if they fail there as well."""
    folder = place.folder / name.replace(" ", "-")
    shutil.rmtree(folder / "suite", ignore_errors=True)
    again = f"{name} in a checkout"
    try:
        suite = export_suite(subject, folder / "suite")
        if suite.project.declared.test.command:
            return ()  # what another command opens is not seen
        with checked_out(subject, folder) as (checkout, _):
            whole = replace(suite, folder=checkout)
            settings = checkout.parent / suite.settings.name
            shutil.copyfile(suite.settings, settings)
            report, _ = run_suite(
                place, Environment(folder / "environment"), subject, replace(whole, settings=settings),
                name=again, watch=checkout,
            )  # fmt: skip
    except ConveyorError:  # the first failure is the one to tell
        return ()
    counts = report["counts"]
    if counts["failed"] + counts["errors"] >= before["failed"] + before["errors"]:
        return ()
    return files_to_declare(report["opened"], suite)


def files_to_declare(opened: Iterable[str], suite: Suite) -> tuple[str, ...]:
    """The fewest paths of the checkout that hold what was opened and was not taken along."""
    taken = set(suite.taken)
    package = suite.project.package_folder
    found = set()
    for path in opened:
        for one in [path] if path in suite.tracked else below(suite.tracked, path)[:1]:
            if one not in taken and not _is_code(one, package):
                found.add(path)
    real = {path for path in found if path not in _SETTINGS_FILES} or found
    return _gathered(real, taken, package)


def _is_code(path: str, package: str) -> bool:
    return path.endswith((".py", ".pyc")) and PurePosixPath(path).is_relative_to(package)


def _gathered(paths: set[str], taken: set[str], package: str) -> tuple[str, ...]:
    """Folders in place of several files in them; never the package itself, nor what holds it or a test."""
    holders = {".", *(str(parent) for one in (package, *taken) for parent in PurePosixPath(one).parents)}
    holders.add(package)
    by_folder: dict[str, set[str]] = {}
    for path in paths - holders:
        above = [str(parent) for parent in PurePosixPath(path).parents]
        outermost = [folder for folder in above if folder not in holders]
        by_folder.setdefault(outermost[-1] if outermost else path, set()).add(path)
    named = {folder if len(inside) > 1 else next(iter(inside)) for folder, inside in by_folder.items()}
    return tuple(sorted(named))
