"""What a project declares for its tests, and what of it comes along."""

from __future__ import annotations

import platform
import sysconfig
import tomllib
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.releases.standing import Release, ReleaseFile
from conveyor.errors import ProjectError
from conveyor.pipeline.jobs.candidates import candidate_of
from conveyor.pipeline.jobs.suite import command_to_install, declared_requirements, pytest_settings
from conveyor.pipeline.jobs.testing import earlier_success, environment_here, fits
from domain.test_gates import SDIST, WHEEL, built, with_tests

if TYPE_CHECKING:
    from conveyor.domain.releases.evidence import Evidence


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ({}, (None, ("pytest",))),
        ({"project": {"optional-dependencies": {"Test": ["x"], "dev": ["y"]}}}, ("Test", ("pytest",))),
        (
            {"dependency-groups": {"test": ["pytest>=8", "hypothesis"]}},
            (None, ("pytest", "pytest>=8", "hypothesis")),
        ),
        (
            {"dependency-groups": {"dev": [{"include-group": "Base"}, "b"], "base": ["a"]}},
            (None, ("pytest", "a", "b")),
        ),
        (
            {"project": {"optional-dependencies": {"tests": []}}, "dependency-groups": {"test": ["a"]}},
            ("tests", ("pytest",)),
        ),
    ],
)
def test_extra_is_taken_before_a_dependency_group(
    pyproject: dict[str, object], expected: tuple[str | None, tuple[str, ...]]
) -> None:
    assert declared_requirements(pyproject) == expected


def test_people_are_told_to_install_what_the_tests_of_this_very_project_require() -> None:
    """The advice after failed unit tests named the extra ``test``, whether there was one or not."""
    tests = {"project": {"optional-dependencies": {"tests": ["x"]}}}
    assert command_to_install(tests) == "pip install -e '.[tests]' pytest"
    group = {"dependency-groups": {"dev": ["hypothesis>=6"]}}
    assert command_to_install(group) == "pip install -e . pytest 'hypothesis>=6'"


def test_dependency_group_that_includes_itself_is_refused() -> None:
    with pytest.raises(ProjectError, match="includes itself"):
        declared_requirements({"dependency-groups": {"test": [{"include-group": "test"}]}})


def test_settings_of_the_suite_come_along_but_not_those_of_the_checkout() -> None:
    options = {
        "pythonpath": ["src"],
        "testpaths": ["tests"],
        "addopts": ["--strict-markers"],
        "markers": ['slow: takes "long"'],
        "xfail_strict": True,
    }
    expected = {key: options[key] for key in ("addopts", "markers", "xfail_strict")}
    old = tomllib.loads(pytest_settings({"tool": {"pytest": {"ini_options": options}}}))
    assert old == {"tool": {"pytest": {"ini_options": expected}}}
    new = tomllib.loads(pytest_settings({"tool": {"pytest": options}}))
    assert new == {"tool": {"pytest": expected}}
    assert tomllib.loads(pytest_settings({})) == {"tool": {"pytest": {"ini_options": {}}}}


def test_wheels_of_other_machines_do_not_fit() -> None:
    assert fits("demo-1.0-py3-none-any.whl")
    assert not fits("demo-1.0-cp27-cp27m-win32.whl")


def test_file_is_tested_again_after_a_failure_and_in_each_environment_for_itself() -> None:
    environment = environment_here("testing")
    python = platform.python_version()

    def result(*, failed: int = 0, python: str = python, index: str = "testing") -> Evidence:
        one = with_tests(WHEEL, failed=failed, python=python, index=index)
        one.predicate["environment"]["platform"] = sysconfig.get_platform()
        return one

    def is_skipped(*evidence: Evidence) -> bool:
        return earlier_success(evidence, WHEEL.sha256, environment) is not None

    assert is_skipped(result())
    assert is_skipped(result(failed=1), result())
    assert not is_skipped(result(), result(failed=1)), "an earlier success hides a later failure"
    assert not is_skipped(result(python="3.9.1")), "a second Python is never tested"
    assert not is_skipped(result(index="stable"))


def test_candidate_that_failed_after_it_had_passed_is_not_a_candidate_of() -> None:
    evidence = (built(WHEEL, source=SDIST), with_tests(WHEEL))
    assert candidate_of(released(*evidence)) is not None
    assert candidate_of(released(*evidence, with_tests(WHEEL, failed=1))) is None
    assert candidate_of(released(*evidence, with_tests(WHEEL, failed=1, python="3.12.0"))) is None


def test_candidate_is_judged_by_its_newest_build_evidence_that_can_be_read() -> None:
    unreadable = built(WHEEL, source=SDIST)
    unreadable.predicate["built_from"] = "an sdist"
    readable = built(WHEEL, source=SDIST)
    readable.predicate["payload"] = [{"path": "weights.bin", "sha256": "a" * 64}]
    candidate = candidate_of(released(readable, with_tests(WHEEL), unreadable))
    assert candidate is not None
    assert candidate.payload == (("weights.bin", "a" * 64),)
    assert candidate_of(released(unreadable, with_tests(WHEEL))) is None


def released(*evidence: Evidence) -> Release:
    """Release 1.0 of demo with a wheel and an sdist, as a client sees it."""
    files = tuple(
        ReleaseFile(
            one.filename,
            "sdist" if one is SDIST else "bdist_wheel",
            one.sha256,
            1,
            f"/files/{one.filename}",
            "",
            "ann",
            None,
        )
        for one in (WHEEL, SDIST)
    )
    return Release("demo", "1.0", "unstable", ("unstable",), is_closed=False, files=files, evidence=evidence)
