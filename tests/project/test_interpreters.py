"""Which Python a project gets, with the real interpreters of this machine and Debian's PyPy."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from conveyor.errors import MissingTool, ProjectError
from conveyor.project.backend import ask_backend
from conveyor.project.interpreters import (
    Interpreter,
    InterpreterPlace,
    ask,
    judge_places,
    newest_first,
    places,
    python_of,
    pythons_to_test_on,
    requires_python,
    running_interpreter,
)
from conveyor.project.settings import Project, read_project
from project.checkouts import commit, git

MINOR = ".".join(platform.python_version().split(".")[:2])
NAMED = '[project]\nname = "demo"\nversion = "1.0"\n'


def project_with(folder: Path, pyproject: str = "", python_version: str | None = None) -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(NAMED + pyproject)
    if python_version is not None:
        (folder / ".python-version").write_text(python_version)
    return read_project(folder)


def installed(implementation: str = "cpython") -> list[Interpreter]:
    found = [one for place in places() if isinstance(one := ask(place.path), Interpreter)]
    return [one for one in found if one.implementation == implementation]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_interpreter_describes_itself_as_this_process_would() -> None:
    here = running_interpreter()
    assert here.version == platform.python_version()
    assert here in installed()
    assert here.name == here.version


def test_second_interpreter_is_found_and_named_as_evidence_states_it() -> None:
    """Debian's PyPy is on every machine that runs these tests: make test installs it."""
    (pypy,) = {one.path: one for one in installed("pypy") if one.path.is_relative_to("/usr")}.values()
    assert pypy.name == f"pypy{pypy.version}"
    assert pypy.fits("demo-1.0-py3-none-any.whl")
    assert not pypy.fits(f"demo-1.0-cp{MINOR.replace('.', '')}-abi3-linux_x86_64.whl")
    assert pypy.is_called(f"pypy{'.'.join(pypy.version.split('.')[:2])}")
    assert not pypy.is_called(pypy.version)


def test_newest_python_that_is_allowed_is_taken_and_never_a_shim(tmp_path: Path) -> None:
    newest = max(numbers(one.version) for one in installed() if "rc" not in one.version)
    assert numbers(python_of(project_with(tmp_path / "any")).version) == newest
    held = project_with(tmp_path / "held", f'requires-python = "=={MINOR}.*"\n')
    assert python_of(held).version.startswith(f"{MINOR}.")
    assert not [place for place in places() if "shims" in place.path.parts]


def test_shims_are_passed_over_wherever_their_home_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "elsewhere" / "shims" / "python3.11"
    shim.parent.mkdir(parents=True)
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))  # as runners do
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    assert not [place for place in places() if "shims" in place.path.parts]


def test_newest_is_what_interpreters_say_and_not_their_files() -> None:
    def one(version: str, path: str) -> Interpreter:
        return Interpreter(Path(path), "cpython", version, "linux-x86_64", ())

    found = [one("3.12.1", "/a"), one("3.12.10", "/b"), one("3.12.9", "/c"), one("3.13.0rc0", "/d")]
    found += [one("3.13.0", "/e"), one("3.12.10", "/f"), one("3.12.4+", "/g")]
    assert "".join(str(one.path) for one in newest_first(found)) == "/e/d/b/f/c/g/a"
    assert [one.order for one in newest_first(found)] == sorted(one.order for one in found)


@pytest.mark.parametrize("written", [f"{MINOR}\n", f"# ours\ncpython-{MINOR}  # so\n3.8\n"])
def test_file_python_version_is_followed(tmp_path: Path, written: str) -> None:
    assert python_of(project_with(tmp_path, python_version=written)).version.startswith(f"{MINOR}.")


def test_file_python_version_that_contradicts_requires_python_is_an_error(tmp_path: Path) -> None:
    project = project_with(tmp_path, 'requires-python = ">=3.99"\n', f"{MINOR}\n")
    with pytest.raises(ProjectError, match=rf"\.python-version says {MINOR}, which requires-python"):
        python_of(project)
    with pytest.raises(ProjectError, match='says "my-env", which is no version of Python'):
        python_of(project_with(tmp_path, python_version="my-env\n"))


@pytest.mark.parametrize(
    ("pyproject", "python_version", "said"),
    [
        ("", "3.98", "no Python 3.98 that .python-version asks for"),
        ('requires-python = ">=3.98"\n', None, r"no Python that requires-python allows \(>=3.98\)"),
        ('[tool.conveyor.test]\npythons = ["3.97"]\n', None, "no Python 3.97 that pythons asks for"),
    ],
)
def test_missing_python_is_named_with_how_to_get_it(
    tmp_path: Path, pyproject: str, python_version: str | None, said: str
) -> None:
    with pytest.raises(MissingTool, match=said) as missing:
        pythons_to_test_on(project_with(tmp_path, pyproject, python_version))
    assert MINOR in missing.value.message
    assert "uv python install 3.9" in str(missing.value.hint)


def test_declared_pythons_are_added_each_once(tmp_path: Path) -> None:
    pypy = next(one for one in installed("pypy") if one.path.is_relative_to("/usr"))
    short = ".".join(pypy.version.split(".")[:2])
    declared = f'[tool.conveyor.test]\npythons = ["pypy{short}", "{MINOR}"]\n'
    found = pythons_to_test_on(project_with(tmp_path, declared, MINOR), {"--python": [f"pypy{short}"]})
    assert [one.implementation for one in found] == ["cpython", "pypy"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pyproject.toml": NAMED + 'requires-python = ">=3.9"\n'}, ">=3.9"),
        (
            {
                "pyproject.toml": '[tool.poetry]\nname = "demo"\nversion = "1"\n[tool.poetry.dependencies]\n'
                'python = "^3.9"\n'
            },
            "<4,>=3.9",
        ),
        (
            {
                "setup.py": "import setuptools\nsetuptools.setup()\n",
                "setup.cfg": "[metadata]\nname = demo\n[options]\npython_requires = >=3.7\n",
            },
            ">=3.7",
        ),
        ({"setup.py": "import setuptools as s\ns.setup(name='demo', python_requires='>=3.6')\n"}, ">=3.6"),
        ({"pyproject.toml": NAMED}, ""),
    ],
)  # fmt: skip
def test_requires_python_is_read_where_the_backend_keeps_it(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert str(requires_python(read_project(tmp_path))) == expected


COMPUTED = """\
import sys
from setuptools import setup
assert sys.version_info[:2] == {version}, sys.version  # .python-version holds for the question too
OLDEST = ">=3.{minor}"
setup(name="demo", version="1.0.0", packages=["demo"], python_requires=OLDEST)
"""


def test_backend_is_asked_once_for_a_requires_python_that_only_it_knows(tmp_path: Path) -> None:
    """It is asked with the Python that the project names, for which nothing else may be needed."""
    version = sys.version_info[:2]
    files = {
        "setup.py": COMPUTED.format(version=version, minor=version[1]),
        ".python-version": MINOR,
        "demo/__init__.py": "",
    }
    git(tmp_path, "init", "-q")
    commit(tmp_path, files)
    assert str(requires_python(read_project(tmp_path))) == ""
    read_project(tmp_path, ask=ask_backend)
    assert str(requires_python(read_project(tmp_path, ask=lambda _root: {}))) == f">={MINOR}"
    assert str(requires_python(read_project(tmp_path))) == f">={MINOR}"
    changed = files["setup.py"].replace('name="demo"', 'name="de" + "mo2"')
    (tmp_path / "setup.py").write_text(changed)
    project = read_project(tmp_path, ask=ask_backend)
    assert project.name == "demo2", "what was said of the commit does not hold for an edited tree"
    with pytest.raises(ProjectError, match="does not name a project"):
        read_project(tmp_path)
    assert str(requires_python(read_project(tmp_path, known=project.known))) == f">={MINOR}"


def test_what_a_caller_says_of_a_project_is_never_kept(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    commit(tmp_path, {"setup.py": "from setuptools import setup\nsetup(name='de' + 'mo')\n"})
    assert read_project(tmp_path, known={"name": "one"}).name == "one"
    assert read_project(tmp_path, ask=lambda _root: {"name": "two"}).name == "two"
    with pytest.raises(ProjectError, match="does not name a project"):
        read_project(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        NAMED + 'dynamic = ["requires-python"]\n',
        '[tool.poetry]\nname = "demo"\n[tool.poetry.dependencies]\npython = "^3.9 || ^3.11"\n',
    ],
)
def test_dynamic_requires_python_is_what_the_backend_says(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    project = read_project(tmp_path, ask=lambda _root: {"name": "demo", "requires_python": ">=3.9,!=3.10.*"})
    assert str(requires_python(project)) == "!=3.10.*,>=3.9"


def test_each_interpreter_that_is_passed_over_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "python3.98"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'no such version' >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:/usr/bin")
    project = project_with(tmp_path / "project", f'requires-python = "=={MINOR}.*"\n')
    judged = {one.place.path: one for one in judge_places(project)}
    assert judged[broken].passed_over == "it ended with code 127: no such version"
    chosen = [one for one in judged.values() if one.passed_over is None]
    assert [one.interpreter for one in chosen] == [python_of(project)]
    others = {str(one.passed_over) for one in judged.values() if one.interpreter and one.passed_over}
    assert all(
        reason.endswith(("does not allow it", "is the same version", "only when it is asked for"))
        or "is newer" in reason
        for reason in others
    ), others
    assert Path(sys.executable).resolve() in judged


@pytest.mark.parametrize(
    ("name", "wanted", "may_be"),
    [
        ("python3.12", "3.12.4", True),
        ("python3.12", "cpython-3.12", True),
        ("python3.12", "3", True),
        ("python3", "3.12", True),
        ("python3.11", "3.12", False),
        ("python3.1", "3.12", False),
        ("pypy3.9", "pypy3.9.16", True),
        ("pypy3.9", "3.9", False),
        ("python3.9", "pypy3.9", False),
    ],
)
def test_interpreter_is_not_asked_when_its_name_says_that_it_is_another(
    name: str, wanted: str, may_be: bool
) -> None:
    """To ask all interpreters of a machine took most of a second of each run."""
    assert InterpreterPlace(Path("/opt/bin", name), "PATH").may_be(wanted) is may_be
