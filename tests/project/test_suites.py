"""The suite of a checkout as its project runs it: where the tests are, pytest's settings, requirements."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import ProjectError
from conveyor.project.settings import read_project
from conveyor.project.suites import (
    Requirements,
    command_to_install,
    paths_of_tests,
    pytest_settings,
    read_requirements,
    requirements_of_tests,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.project.settings import Project

NAMED = '[project]\nname = "demo"\nversion = "1.0"\n'


OTHER = 'command = ["x"]\njunit = "y"\n'


def made(folder: Path, **files: str) -> Path:
    """A checkout with these files, by path with ``__`` for a slash; pyproject.toml names the project."""
    for path, content in ({"pyproject.toml": NAMED} | files).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def project_with(folder: Path, pyproject: str = "", **files: str) -> Project:
    return read_project(made(folder, **{"pyproject.toml": NAMED + pyproject}, **files))


def requirements_in(project: Project) -> Requirements:
    return requirements_of_tests(project, pytest_settings(project.root))


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ("", (None, ("pytest",))),
        ('[project.optional-dependencies]\nTest = ["x"]\ndev = ["y"]\n', ("Test", ("pytest",))),
        (
            '[dependency-groups]\ntest = ["pytest>=8", "hypothesis"]\n',
            (None, ("pytest", "pytest>=8", "hypothesis")),
        ),
        (
            '[dependency-groups]\ndev = [{include-group = "Base"}, "b"]\nbase = ["a"]\n',
            (None, ("pytest", "a", "b")),
        ),
        (
            '[project.optional-dependencies]\ntests = []\n[dependency-groups]\ntest = ["a"]\n',
            ("tests", ("pytest",)),
        ),
        ('[tool.pdm.dev-dependencies]\ntest = ["a", "-e file:///x#egg=x"]\n', (None, ("pytest", "a"))),
        (
            '[dependency-groups]\nqa = ["a"]\n[tool.conveyor.test]\ngroup = "qa"\n',
            (None, ("pytest", "a")),
        ),
        (
            '[dependency-groups]\nqa = ["a"]\n[tool.conveyor.test]\ngroup = "qa"\n' + OTHER,
            (None, ("a",)),
        ),
        (
            '[tool.pytest.ini_options]\nrequired_plugins = ["pytest-cov>=4", "pytest-mock"]\n',
            (None, ("pytest", "pytest-cov>=4", "pytest-mock")),
        ),
    ],
)
def test_declared_requirements_come_first_then_an_extra_then_a_group(
    tmp_path: Path, pyproject: str, expected: tuple[str | None, tuple[str, ...]]
) -> None:
    found = requirements_in(project_with(tmp_path, pyproject))
    assert (found.extra, found.lines) == expected
    assert found.files == ()


def test_extra_of_setup_cfg_is_found(tmp_path: Path) -> None:
    files = {"setup.cfg": "[options.extras_require]\ntesting =\n    setuptools\n    pytest-cov\n"}
    assert requirements_in(project_with(tmp_path, **files)).extra == "testing"


def test_requirements_file_of_a_usual_name_is_found_without_the_project_itself(tmp_path: Path) -> None:
    files = {
        "requirements-test.txt": "-e .\n-r requirements/base.txt  # more\npytest-cov==4.1 \\\n    --hash=x\n",
        "requirements/base.txt": "# comment\n.[all]\nhypothesis>=6 # why\n-c ../constraints.txt\n",
    }
    project = project_with(tmp_path, **files)
    assert requirements_in(project).files == ("requirements-test.txt",)
    assert read_requirements(project.root, "requirements-test.txt") == [
        "hypothesis>=6",
        "pytest-cov==4.1      --hash=x",
    ]
    assert command_to_install(project) == "pip install -e . pytest -r requirements-test.txt"


@pytest.mark.parametrize("path", ["../outside.txt", "absent.txt", "loop.txt"])
def test_requirements_file_that_is_not_sound_is_refused(tmp_path: Path, path: str) -> None:
    project = project_with(tmp_path / "project", **{"loop.txt": "-r loop.txt\n"})
    (tmp_path / "outside.txt").write_text("x\n")
    with pytest.raises(ProjectError, match="does not exist, lies outside or includes itself"):
        read_requirements(project.root, path)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ('group = "qa"', 'the dependency group "qa", which demo does not have'),
        ('requirements = ["qa.txt"]', "names qa.txt"),
        ('extra = "qa"\n[project.optional-dependencies]\ntest = []', 'the extra "qa"'),
    ],
)
def test_declared_requirements_that_do_not_exist_are_refused(
    tmp_path: Path, declared: str, said: str
) -> None:
    with pytest.raises(ProjectError, match=said):
        requirements_in(project_with(tmp_path, f"[tool.conveyor.test]\n{declared}\n"))


def test_people_are_told_to_install_what_the_tests_of_this_very_project_require(tmp_path: Path) -> None:
    """The advice after failed unit tests named the extra ``test``, whether there was one or not."""
    tests = project_with(tmp_path / "tests", '[project.optional-dependencies]\ntests = ["x"]\n')
    assert command_to_install(tests) == "pip install -e '.[tests]' pytest"
    group = project_with(tmp_path / "group", '[dependency-groups]\ndev = ["hypothesis>=6"]\n')
    assert command_to_install(group) == "pip install -e . pytest 'hypothesis>=6'"


def test_dependency_group_that_includes_itself_is_refused(tmp_path: Path) -> None:
    project = project_with(tmp_path, '[dependency-groups]\ntest = [{include-group = "test"}]\n')
    with pytest.raises(ProjectError, match="includes itself"):
        requirements_in(project)


INI = "[pytest]\naddopts = -q\n"


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ({"pytest.toml": "[pytest]\n", "pytest.ini": INI, "tox.ini": INI}, "pytest.toml"),
        ({"pytest.ini": "", "pyproject.toml": NAMED + "[tool.pytest.ini_options]\n"}, "pytest.ini"),
        ({".pytest.ini": INI, "tox.ini": INI}, ".pytest.ini"),
        ({"pyproject.toml": NAMED + "[tool.pytest.ini_options]\n", "tox.ini": INI}, "pyproject.toml"),
        ({"tox.ini": "[tox]\n", "setup.cfg": "[tool:pytest]\naddopts = -q\n"}, "setup.cfg"),
        ({"tox.ini": INI, "setup.cfg": "[tool:pytest]\naddopts = -q\n"}, "tox.ini"),
        ({"tox.ini": "[tox]\n"}, None),
    ],
)
def test_settings_are_those_of_the_file_that_pytest_would_choose(
    tmp_path: Path, files: dict[str, str], chosen: str | None
) -> None:
    """The file that pytest itself chooses is compared."""
    root = made(tmp_path, **files)
    assert pytest_settings(root).file == chosen
    asked = pytest.Config.fromdictargs({}, [str(root)]).inipath
    assert asked is not None
    assert asked.name in ({chosen} if chosen else {"tox.ini", "pyproject.toml"})


def test_settings_come_along_but_not_those_given_on_the_command_line(tmp_path: Path) -> None:
    options = (
        'testpaths = ["tests"]\naddopts = ["--strict-markers"]\nmarkers = [\'slow: takes "long"\']\n'
        'xfail_strict = true\ncache_dir = "x"\n'
    )
    expected = {"addopts": ["--strict-markers"], "markers": ['slow: takes "long"'], "xfail_strict": True}

    def as_read(pyproject: str, name: str) -> dict[str, Any]:
        project = project_with(tmp_path / name, pyproject)
        read: dict[str, Any] = tomllib.loads(pytest_settings(project.root).as_toml())
        return read

    assert as_read(f"[tool.pytest.ini_options]\n{options}", "old") == {
        "tool": {"pytest": {"ini_options": expected}}
    }
    assert as_read(f"[tool.pytest]\n{options}", "new") == {"tool": {"pytest": expected}}
    assert as_read("", "none") == {"tool": {"pytest": {"ini_options": {}}}}


@pytest.mark.parametrize(
    ("pyproject", "tracked", "expected"),
    [
        ("", ["tests/test_a.py", "test_b.py"], ("tests",)),
        ("", ["test/a_test.py", "src/demo/x.py"], ("test",)),
        ("", ["test_demo.py", "demo.py"], ("test_demo.py",)),
        ("", ["src/demo/tests/test_a.py", "src/demo/tests/deep/tests/test_b.py"], ("src/demo/tests",)),
        ('[tool.pytest.ini_options]\ntestpaths = "checks more*"\n',
         ["checks/x.py", "more1/test_a.py", "tests/test_b.py"], ("checks", "more1")),
        ('[tool.pytest.ini_options]\ntestpaths = ["gone"]\n', ["tests/test_b.py"], ("tests",)),
        ('[tool.pytest.ini_options]\npython_files = "check_*.py"\n', ["tests/check_a.py"], ("tests",)),
        ('[tool.conveyor.test]\npaths = ["checks/fast"]\n', ["checks/fast/test_a.py"], ("checks/fast",)),
    ],
)  # fmt: skip
def test_tests_are_where_they_are_declared_or_where_pytest_looks(
    tmp_path: Path, pyproject: str, tracked: list[str], expected: tuple[str, ...]
) -> None:
    project = project_with(tmp_path, pyproject)
    assert paths_of_tests(project, pytest_settings(project.root), tracked) == expected


def test_repository_without_tests_is_refused_with_what_to_write(tmp_path: Path) -> None:
    project = project_with(tmp_path)
    with pytest.raises(ProjectError, match="has no tests to run") as refused:
        paths_of_tests(project, pytest_settings(project.root), ["src/demo/__init__.py"])
    assert "[tool.conveyor.test], paths" in str(refused.value.hint)
    declared = project_with(tmp_path / "declared", '[tool.conveyor.test]\npaths = ["a", "b"]\n')
    with pytest.raises(ProjectError, match="has no committed b, which"):
        paths_of_tests(declared, pytest_settings(declared.root), ["a/test_x.py"])
