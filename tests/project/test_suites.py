"""The suite of a checkout as its project runs it: where the tests are, pytest's settings, requirements."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from packaging.specifiers import SpecifierSet

from conveyor.errors import ProjectError
from conveyor.project.environment import make_environment, run_in
from conveyor.project.settings import read_project, specifier_of_poetry
from conveyor.project.suites import (
    Requirements,
    command_to_install,
    flatten_requirements,
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
        "constraints.txt": "hypothesis<7\n",
    }
    project = project_with(tmp_path, **files)
    assert requirements_in(project).files == ("requirements-test.txt",)
    found = read_requirements(project.root, "requirements-test.txt")
    assert found.lines == ("hypothesis>=6", "pytest-cov==4.1      --hash=x")
    assert found.constraints == ("hypothesis<7",)
    flat = flatten_requirements(project.root, ["requirements-test.txt"], tmp_path, ["pytest"])
    assert flat is not None
    assert flat.read_text().splitlines() == ["pytest", *found.lines, "-c constraints.txt"]
    assert (tmp_path / "constraints.txt").read_text() == "hypothesis<7\n"
    assert command_to_install(project) == "pip install -e . pytest -r requirements-test.txt"


@pytest.mark.parametrize("path", ["../outside.txt", "absent.txt", "loop.txt"])
def test_requirements_file_that_is_not_sound_is_refused(tmp_path: Path, path: str) -> None:
    project = project_with(tmp_path / "project", **{"loop.txt": "-r loop.txt\n"})
    (tmp_path / "outside.txt").write_text("x\n")
    with pytest.raises(ProjectError, match="does not exist, lies outside or includes itself"):
        read_requirements(project.root, path)


def test_lines_that_no_index_supplies_are_refused_by_name(tmp_path: Path) -> None:
    text = "-e ./libs/helper\n./libs/other\n-e git+https://git.test/a\nb @ git+https://git.test/b\n-e .[x]\n"
    files = {"test.txt": text + "file:.\n--pre\nc @ https://files.test/c-1.0.tar.gz\nd d\n", "libs/x": ""}
    with pytest.raises(ProjectError) as caught:
        read_requirements(project_with(tmp_path, **files).root, "test.txt")
    refused = [line.partition(": ")[2].rpartition(" (")[0] for line in caught.value.message.splitlines()[1:]]
    assert refused[:4] == text.splitlines()[:4]
    assert len(refused) == 5
    assert "publish" in (caught.value.hint or "")


def test_requirements_file_that_is_not_utf_8_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_bytes("# größer\n".encode("latin-1"))
    with pytest.raises(ProjectError, match="not text in UTF-8"):
        read_requirements(tmp_path, "test.txt")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = 5\n"}, "testpaths of pytest"),
        ({"pyproject.toml": "[tool.pytest.ini_options]\npython_files = 5\n"}, "python_files of pytest"),
        ({"pytest.ini": "[pytest]\ntestpaths = 'a\n"}, "No closing quotation"),
        ({"pytest.ini": '[pytest]\nrequired_plugins = "a\n'}, "No closing quotation"),
        ({"pytest.ini": "[pytest]\nrequired_plugins = --index-url=x\n"}, 'holds "--index-url=x"'),
        ({"pytest.toml": "pytest = 5\n"}, "pytest must be a table"),
        ({"pyproject.toml": "[dependency-groups]\ntest = 5\n"}, r'"test" is not a list \(PEP 735\)'),
        ({"pyproject.toml": '[dependency-groups]\ntest = "pytest"\n'}, "is not a list"),
        (
            {"pyproject.toml": '[dependency-groups]\ntest = [5, "x @ git+https://git.example/x", "y"]\n'},
            r'"test" holds what .*:\n- "5" \(.*\n- "x @ git.*x" \(it comes from a repository of sources\)',
        ),
        ({"pyproject.toml": "[tool.pdm.dev-dependencies]\ntest = 5\n"}, "is not a list"),
        ({"pyproject.toml": "[tool.pdm]\ndev-dependencies = 5\n"}, None),
    ],
)
def test_settings_of_tests_of_the_wrong_kind_are_a_clear_error(
    tmp_path: Path, files: dict[str, str], said: str | None
) -> None:
    project = project_with(tmp_path, files.pop("pyproject.toml", ""), **files)

    def read() -> None:
        settings = pytest_settings(project.root)
        requirements_of_tests(project, settings)
        paths_of_tests(project, settings, ("tests/test_a.py",))

    if said is None:  # not a table, so not pdm's
        read()
        return
    with pytest.raises(ProjectError, match=said):
        read()


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ('group = "qa"', 'the dependency group "qa", which demo does not have'),
        ('requirements = ["qa.txt"]', "names qa.txt"),
        ('extra = "qa"\n[project.optional-dependencies]\ntest = []', 'names "qa", which the project'),
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


POETRY = """\
[tool.poetry.dev-dependencies]
black = "*"
[tool.poetry.group.test]
include-groups = ["more"]
[tool.poetry.group.test.dependencies]
"""
CONSTRAINTS = {
    '"^1.2"': "<2,>=1.2", '"^0.2.3"': "<0.3,>=0.2.3", '"^0.0.3"': "<0.0.4,>=0.0.3", '"^0.0"': "<0.1,>=0.0",
    '"^0"': "<1,>=0", '"^1"': "<2,>=1", '"~1.2.3"': "<1.3,>=1.2.3", '"~1.2"': "<1.3,>=1.2", '"~1"': "<2,>=1",
    '"*"': "", '"1.*"': "==1.*", '"1.2.3"': "==1.2.3", '">=1.0,!=1.5 <3"': "!=1.5,<3,>=1.0",
    '"~=1.4"': "~=1.4",
    '{version = "^2.0b1", extras = ["a", "b"]}': "[a,b]<3,>=2.0b1",
    '{version = ">=1", python = "^3.9"}': '>=1; python_full_version >= "3.9" and python_full_version < "4"',
    '{version = "*", markers = "os_name == \'nt\'", platform = "win32"}': (
        '; os_name == "nt" and sys_platform == "win32"'
    ),
}  # fmt: skip


def test_groups_of_poetry_and_pdm_are_test_groups_as_those_of_the_standard_are(tmp_path: Path) -> None:
    more = '[tool.poetry.group.more.dependencies]\nhypothesis = "^6"\n'
    declared = '[tool.conveyor.test]\ngroup = "{}"\n'
    for number, (said, wanted) in enumerate(CONSTRAINTS.items()):
        project = project_with(tmp_path / str(number), f"{POETRY}x = {said}\n{more}{declared.format('test')}")
        assert requirements_in(project).lines == ("pytest", f"x{wanted}", "hypothesis<7,>=6"), said
    dev = project_with(tmp_path / "dev", POETRY + more + declared.format("dev"))
    assert requirements_in(dev).lines == ("pytest", "black")
    first = '[dependency-groups]\ntest = ["standard"]\n'
    assert requirements_in(project_with(tmp_path / "both", first + POETRY + more)).lines[1:] == ("standard",)
    pdm = '[tool.pdm.dev-dependencies]\ntest = ["hypothesis>=6", "-e file:///${PROJECT_ROOT}/sub#egg=sub"]\n'
    found = requirements_in(project_with(tmp_path / "pdm", pdm + declared.format("test")))
    assert found.lines == ("pytest", "hypothesis>=6")


@pytest.mark.parametrize("said", ['{path = "../x"}', '{git = "https://git.team.example/x"}', '"^1 || ^2"'])
def test_entry_of_poetry_that_no_index_supplies_says_how_to_declare_it(tmp_path: Path, said: str) -> None:
    declared = f'{POETRY}x = {said}\n[tool.conveyor.test]\ngroup = "test"\n'
    with pytest.raises(ProjectError, match='dependency group "test" holds x') as refused:
        requirements_in(project_with(tmp_path / "declared", declared))
    assert "write what the tests need as test = […] under [dependency-groups]" in (refused.value.hint or "")
    found = requirements_in(project_with(tmp_path / "found", f"{POETRY}x = {said}\n"))
    assert found.lines == ("pytest",)  # nobody said that the tests need it


def test_environment_of_hatch_is_no_group_and_the_error_says_what_to_write(tmp_path: Path) -> None:
    text = '[tool.hatch.envs.qa]\ndependencies = ["x"]\n[tool.conveyor.test]\ngroup = "qa"\n'
    with pytest.raises(ProjectError, match='the dependency group "qa"') as refused:
        requirements_in(project_with(tmp_path, text))
    assert "qa = […] under [dependency-groups]" in (refused.value.hint or "")


@pytest.mark.torture
def test_constraints_of_poetry_mean_what_poetry_core_makes_of_them(tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "environment")
    environment.install("poetry-core==2.5.0")
    code = "import sys; from poetry.core.constraints.version import parse_constraint as parse\n"
    code += "for word in sys.argv[1:]: print(parse(word))"
    words = [json.loads(said) for said in CONSTRAINTS if said.startswith('"')]
    theirs = run_in(environment, ["python", "-c", code, *words]).output.splitlines()
    numbers = [f"{a}.{b}.{c}" for a in range(4) for b in range(7) for c in (0, 3, 4)]
    for word, constraint in zip(words, theirs, strict=True):
        ours = SpecifierSet(specifier_of_poetry(word) or "")
        exact = constraint if constraint[0] in "<>=!" else f"=={constraint}"
        other = SpecifierSet("" if constraint == "*" else exact)
        assert [one for one in numbers if one in ours] == [one for one in numbers if one in other], word


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
