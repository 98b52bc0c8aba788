"""What a project declares for its tests, and what of it comes along."""

from __future__ import annotations

import tomllib

import pytest

from conveyor.errors import ProjectError
from conveyor.pipeline.jobs.suite import declared_requirements, pytest_settings
from conveyor.pipeline.jobs.testing import fits, judge

GOOD = {
    "passed": 2,
    "failed": 0,
    "errors": 0,
    "origin": {"modules_checked": 3, "outside": []},
}


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


def test_facts_are_good_only_with_tests_that_ran_on_installed_modules() -> None:
    assert judge(GOOD) == []
    assert judge(GOOD | {"failed": 1}) == ["1 tests failed, 0 could not run"]
    assert judge(GOOD | {"passed": 0}) == ["no test ran"]
    assert judge(GOOD | {"origin": {"modules_checked": 1, "outside": ["demo: elsewhere"]}}) == [
        "not the installed code: demo: elsewhere"
    ]
    assert "no module of the project was imported" in judge(GOOD | {"origin": {"outside": []}})[0]
    assert judge({"passed": 1}) != []


def test_wheels_of_other_machines_do_not_fit() -> None:
    assert fits("demo-1.0-py3-none-any.whl")
    assert not fits("demo-1.0-cp27-cp27m-win32.whl")
