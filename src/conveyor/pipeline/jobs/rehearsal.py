"""The rehearsal: the packaging job tests the file that it built exactly as the testing job will.

The same code runs with the same suite, for each index that the release is to enter and on each Python; only
the file comes from its folder and not from the store. So a version is not used up by a failure that could be
known before anything is published. Where an index resolves to packages among which the file has passed
already, it is not tested again (decision 0039). A failure that the index would only show is only shown.

When tests fail here, they run once more in a whole checkout, against the same installed file. If more of them
pass there, what they opened outside of the tests, or handed to a program that they started, is named: it must
be declared (``files``). What such a program opens by itself is not seen, and not what C code opens.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.releases.evidence import environment_of
from conveyor.domain.releases.facts import faults_of, results_of
from conveyor.errors import ConveyorError, StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.sources import read_clone
from conveyor.pipeline.jobs.suite import (
    Subject,
    Suite,
    checked_out,
    export_suite,
    fresh_folder,
    lock_suite,
    run_suite,
    run_tests,
    telling_of_claims,
)
from conveyor.project.archives import sha256_of_file
from conveyor.project.environment import Environment
from conveyor.project.interpreters import asked_by, pythons_to_test_on
from conveyor.project.suites import below, command_to_install, command_to_test

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.domain.releases.evidence import FactsOfTests
    from conveyor.domain.releases.gates.rules import Rules
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.pipeline.jobs.candidates import Candidate
    from conveyor.pipeline.jobs.distributions import BuiltRelease
    from conveyor.pipeline.jobs.sources import Source
    from conveyor.project.interpreters import Interpreter
    from conveyor.project.settings import Project

_SETTINGS_FILES = {
    "pyproject.toml", "setup.cfg", "tox.ini", ".coveragerc", "pytest.ini", ".pytest.ini", "pytest.toml",
}  # fmt: skip
"""Tools look for their settings in these wherever they run; a test that fails seldom misses them."""
MOST_NAMED = 8


@dataclass(frozen=True)
class KnownResult:
    """Tests that passed, and the packages among which they did."""

    environment: tuple[str, str]
    """(Python without its patch number, platform)."""
    packages: Mapping[str, str]
    """Normalized name → version, without the subject."""
    said: str
    """What passed them: ``1.0.0rc1``, ``the test for testing``."""


def rehearse(
    place: Workplace, worker: Keeper, source: Source, goals: Mapping[str, Rules],
    built: BuiltRelease, candidate: Candidate | None = None,
) -> Done[None]:  # fmt: skip
    """Test the built wheel as the testing job will, for each index and on each Python.

    What would meet the very packages with which it has passed is not tested again: the same wheel for another
    index, or a final that is proven to be its ``candidate``.

    Args:
        place: where to work.
        worker: the worker.
        source: what was built.
        goals: the indexes that the release is to enter, in order, each with what it asks.
        built: the files.
        candidate: the tested candidate of a final; ``None`` if there is none.

    Raises:
        StepFailed: it would fail there, for these reasons; carries the log.
        ProjectError: the tests cannot be found or installed.
    """
    project = read_clone(place, source)
    wheel = place.folder / "dist" / built.wheel
    subject = Subject(
        built.project, built.version, built.wheel, sha256_of_file(wheel), wheel.as_uri(),
        wheel.stat().st_size,
        commit=source.commit, repository=place.remote(source.repository), tag=source.tag,
        subfolder=source.folder, complete=partial(place.complete, name="tests"),
    )  # fmt: skip
    asked = [
        (goal, interpreter)
        for goal, rules in goals.items()
        for interpreter in pythons_to_test_on(project, {asked_by(goal): rules.pythons})
    ]
    _must_fit(built.wheel, asked)
    known = _results_of(worker, subject.project, candidate) if candidate is not None else []
    stage = _Stage(place, worker, project, subject, known, first=asked[0][0])
    places: dict[str, list[str]] = {}
    for goal, interpreter in asked:
        with telling_of_claims(worker):
            result, on = stage.rehearse_for(goal, interpreter, goals[goal])
        places.setdefault(result, []).append(on)
    return Done(None, "; ".join(f"{result} on {' and '.join(on)}" for result, on in places.items()))


def _must_fit(wheel: str, asked: Iterable[tuple[str, Interpreter]]) -> None:
    """Raise StepFailed if a Python that is asked for cannot install the wheel; names each of them."""
    others = dict.fromkeys(f"{one.name} (for {goal})" for goal, one in asked if not one.fits(wheel))
    if others:
        raise StepFailed(
            f"{wheel} does not fit Python {', '.join(others)}, which it is to be tested on",
            hint="name only Pythons of its kind under [tool.conveyor.test] pythons and in the settings of "
            "indexes (conveyor store index list)",
        )


@dataclass
class _Stage:
    """One wheel under rehearsal, and what is known about it so far."""

    place: Workplace
    worker: Keeper
    project: Project
    subject: Subject
    known: list[KnownResult]
    first: str
    """The first index, which messages need not name."""
    suite: Suite | None = None
    """The suite that is resolved but not run, once it was needed."""

    def rehearse_for(self, goal: str, interpreter: Interpreter, rules: Rules) -> tuple[str, str]:
        """Test for an index on one Python, unless that is known; return (the result, where) for people."""
        more = "" if goal == self.first else f" for {goal}"
        name, on = f"rehearse{more} {interpreter.name}", f"Python {interpreter.name}{more}"
        before = self._before(goal, interpreter, name)
        if before is not None:
            return f"{before.said} passed with the same packages", on
        facts = run_tests(
            self.place,
            self.subject,
            index=goal,
            index_url=self.worker.index_url(goal),
            name=name,
            interpreter=interpreter,
        )
        faults = faults_of(facts)
        if faults and rules.blocks_on(interpreter.name, interpreter.platform):
            raise self._failure(facts, name=name, on=on)
        if faults:
            return f'{"; ".join(faults)}, which "{goal}" only shows,', on
        self.known.append(_result(facts, said="the same wheel"))
        return f"{facts.passed} passed, {facts.skipped} skipped", on

    def _before(self, goal: str, interpreter: Interpreter, name: str) -> KnownResult | None:
        """The known result among the packages that would be installed now; ``None`` if there is none."""
        _, *environment = environment_of(index=goal, python=interpreter.name, platform=interpreter.platform)
        alike = [one for one in self.known if one.environment == tuple(environment)]
        if not alike:
            return None
        if self.suite is None:
            self.suite = export_suite(self.subject, fresh_folder(self.place, "rehearse") / "suite")
        lock = lock_suite(
            self.place, self.subject, self.suite,
            index_url=self.worker.index_url(goal), name=name, interpreter=interpreter,
        )  # fmt: skip
        now = {one.name: one.version or "" for one in lock.packages}
        now.pop(canonicalize_name(self.subject.project), None)
        return next((one for one in alike if one.packages == now), None)

    def _failure(self, facts: FactsOfTests, *, name: str, on: str) -> StepFailed:
        """The failure with its log, which names what the tests lack outside of a checkout."""
        faults, log = "; ".join(faults_of(facts)), self.place.read_log(name)
        missing = missing_files(self.place, self.subject, facts, name=name)
        project = self.project
        return StepFailed(
            f"{self.subject.filename} fails its tests on {on}: {faults}{_said_of(missing)}",
            log=log,
            hint=declaration_of(project.declared.test.files, missing)
            if missing is not None
            else f"run them in the project: {command_to_install(project)} && {command_to_test(project)}",
        )


def _results_of(worker: Keeper, project: str, candidate: Candidate) -> list[KnownResult]:
    """The newest result of the candidate's wheel in each environment, where it is good."""
    evidence = worker.client.releases.get(project, candidate.version).evidence
    newest = results_of(evidence, candidate.wheel_sha256).newest
    return [_result(facts, said=candidate.version) for facts in newest.values() if not faults_of(facts)]


def _result(facts: FactsOfTests, *, said: str) -> KnownResult:
    """A result as it is looked up."""
    packages: dict[str, str] = {canonicalize_name(one.name): one.version for one in facts.on.packages}
    packages.pop(canonicalize_name(facts.project), None)
    _, python, platform = facts.environment
    return KnownResult((python, platform), packages, said)


def _said_of(missing: Sequence[str] | None) -> str:
    if missing is None:
        return ""
    if not missing:
        return ". More of them pass in a checkout, which has files that neither wheel nor test folders hold"
    listed = ", ".join(missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return f". The tests read {listed}{more} of the repository, which only a checkout has"


def declaration_of(declared: Sequence[str], missing: Sequence[str]) -> str:
    """The line to write into ``pyproject.toml`` so that these files come along."""
    listed = ", ".join(f'"{path}"' for path in (*declared, *(missing or ("…",))))
    return f"declare what they read, under [tool.conveyor.test]: files = [{listed}]"


def missing_files(
    place: Workplace, subject: Subject, before: FactsOfTests, *, name: str
) -> tuple[str, ...] | None:
    """What the tests read in a whole checkout and lack without it; ``None`` if they fail there as well.

    Empty if more of them pass there, and what they read was not seen.
    """
    folder = place.folder / name.replace(" ", "-")
    shutil.rmtree(folder / "suite", ignore_errors=True)
    again = f"{name} in a checkout"
    try:
        suite = export_suite(subject, folder / "suite")
        if suite.project.declared.test.command:
            return None  # what another command opens is not seen
        with checked_out(subject, folder) as (checkout, _):
            whole = replace(suite, folder=checkout)
            settings = checkout.parent / suite.settings.name
            shutil.copyfile(suite.settings, settings)
            environment = Environment(folder / "environment", place.around())
            whole = replace(whole, settings=settings)
            report, _ = run_suite(place, environment, subject, whole, name=again, watch=checkout)
    except ConveyorError:  # the first failure is the one to tell
        return None
    counts = report["counts"]
    if counts["failed"] + counts["errors"] >= before.failed + before.errors:
        return None
    return files_to_declare(report["opened"], report["started"], suite)


def files_to_declare(opened: Iterable[str], started: Iterable[str], suite: Suite) -> tuple[str, ...]:
    """The fewest paths of the checkout that hold what was opened or started and was not taken along.

    Code of the package counts only where it was handed to a program: a checkout's is imported by chance.
    """
    taken = set(suite.taken)
    package = suite.project.package_folder
    found = set()
    for path in opened:
        for one in [path] if path in suite.tracked else below(suite.tracked, path)[:1]:
            if one not in taken and not _is_code(one, package):
                found.add(path)
    found |= set(started) & set(suite.tracked) - taken
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
