"""The line that states a version: found for every backend, set alone; and tools that take it from us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from conveyor.errors import ProjectError
from conveyor.project.build import build_distributions, build_tag
from conveyor.project.settings import read_project
from conveyor.project.version_lines import set_version, version_line
from project.backends_made import PURE, project_of
from project.checkouts import commit, git, long_rounds

if TYPE_CHECKING:
    from pathlib import Path

MODULE = {"src/demo/__init__.py": '"""A demo."""\n\n__version__: str = "1.0.0"  # the one\n'}


def system(backend: str, *requires: str) -> str:
    return f'[build-system]\nrequires = {list(requires)}\nbuild-backend = "{backend}"\n\n'


NAMED = '[project]\nname = "demo"\nrequires-python = ">=3.9"\ndescription = "A demo"\n'
DYNAMIC = NAMED + 'dynamic = ["version"]\n'
SETUPTOOLS = system("setuptools.build_meta", "setuptools")
CARGO = '[dependencies]\nother = { version = "9.9.9" }\n\n[package]\nname = "demo"\nversion = "1.0.0"\n'

STATED: dict[str, tuple[dict[str, str], str, int]] = {
    # backend: (files, file of the line, its number)
    "project table": (
        {"pyproject.toml": f"{system('uv_build', 'uv_build')}{NAMED}version = '1.0.0' # here\n"},
        "pyproject.toml", 9,
    ),
    "other tables first": (
        {"pyproject.toml": '[tool.x]\nversion = "1.0.0"\n[project]\nname = "demo"\n"version" = "1.0.0"\n'},
        "pyproject.toml", 5,
    ),
    "poetry": (
        {"pyproject.toml": system("poetry.core.masonry.api", "poetry-core")
         + '[tool.poetry]\nname = "demo"\nversion = "1.0.0"\n'},
        "pyproject.toml", 7,
    ),
    "setup.cfg": (
        {"setup.cfg": "[bumpversion]\nversion = 9\n[metadata]\nname = demo\nversion = 1.0.0\n",
         "setup.py": "from setuptools import setup\nsetup()\n"},
        "setup.cfg", 5,
    ),
    "setup.cfg, setuptools-scm for files alone": (
        {"setup.cfg": "[metadata]\nname = demo\nversion=1.0.0\n[options]\ninstall_requires = pbr\n",
         "pyproject.toml": system("setuptools.build_meta", "setuptools", "setuptools-scm")},
        "setup.cfg", 3,
    ),
    "setup.cfg attr": (
        {"setup.cfg": "[metadata]\nname = demo\nversion = attr: demo.__version__\n",
         "pyproject.toml": SETUPTOOLS, **MODULE},
        "src/demo/__init__.py", 3,
    ),
    "setup.py": (
        {"setup.py": 'import setuptools\nsetuptools.setup(\n    name="demo",\n    version="1.0.0",\n)\n'},
        "setup.py", 4,
    ),
    "setup.py variable": (
        {"setup.py": 'import setuptools\nV = "1.0.0"\nsetuptools.setup(name="demo", version=V)\n'},
        "setup.py", 2,
    ),
    "own backend around setuptools": (
        {"pyproject.toml": system("own.hooks", "setuptools") + 'backend-path = ["."]\n',
         "setup.cfg": "[metadata]\nname = demo\nversion = attr: demo.__version__\n", **MODULE},
        "src/demo/__init__.py", 3,
    ),
    "setup.py module": (
        {"setup.py": 'import setuptools, demo\nsetuptools.setup(name="demo", version=demo.__version__)\n',
         **MODULE},
        "src/demo/__init__.py", 3,
    ),
    "setup.py executed file": (
        {"setup.py": 'import setuptools\nexec(open("src/demo/_about.py").read())\n'
         'setuptools.setup(name="demo", version=__version__)\n',
         "src/demo/_about.py": '__version__ = "1.0.0"\n'},
        "src/demo/_about.py", 1,
    ),
    "setup.py file in a dictionary": (
        {"setup.py": 'import os, setuptools\nabout = {}\nplace = os.path.join("src", "demo", "_about.py")\n'
         'exec(open(place).read(), about)\nversion = about["VERSION"]\n'
         'setuptools.setup(name="demo", version=version)\n', "src/demo/_about.py": 'VERSION = "1.0.0"\n'},
        "src/demo/_about.py", 1,
    ),
    "setup.py file that is searched": (
        {"setup.py": 'import re, setuptools\ndef find(path):\n'
         '    return re.search("__version__ = .(.+).", open(path).read())[1]\n'
         'setuptools.setup(name="demo", version=find("src/demo/_about.py"))\n',
         "src/demo/_about.py": '__version__ = "1.0.0"\n'},
        "src/demo/_about.py", 1,
    ),
    "setuptools attr, imported": (
        {"pyproject.toml": SETUPTOOLS + DYNAMIC
         + '[tool.setuptools.dynamic]\nversion = {attr = "demo.__version__"}\n',
         "src/demo/__init__.py": "from .about import VERSION as __version__\n",
         "src/demo/about.py": 'é = "ü"; x = 1\nVERSION = "1.0.0"\n'},
        "src/demo/about.py", 2,
    ),
    "setuptools file": (
        {"pyproject.toml": SETUPTOOLS + DYNAMIC + '[tool.setuptools.dynamic]\nversion = {file = "VERSION"}\n',
         "VERSION": "1.0.0\n"},
        "VERSION", 1,
    ),
    "hatchling": (
        {"pyproject.toml": system("hatchling.build", "hatchling") + DYNAMIC
         + '[tool.hatch.version]\npath = "src/demo/__init__.py"\n', **MODULE},
        "src/demo/__init__.py", 3,
    ),
    "hatchling pattern": (
        {"pyproject.toml": system("hatchling.build", "hatchling") + DYNAMIC
         + '[tool.hatch.version]\npath = "number.txt"\npattern = "release: (?P<version>.+)"\n',
         "number.txt": "demo\nrelease: 1.0.0\n"},
        "number.txt", 2,
    ),
    "flit": (
        {"pyproject.toml": system("flit_core.buildapi", "flit_core") + DYNAMIC,
         "src/demo/__init__.py": '"""A demo."""\n__version__ = "1.0.0"\n'},
        "src/demo/__init__.py", 2,
    ),
    "pdm": (
        {"pyproject.toml": system("pdm.backend", "pdm-backend") + DYNAMIC
         + '[tool.pdm.version]\nsource = "file"\npath = "src/demo/__init__.py"\n',
         "src/demo/__init__.py": '__version__ = "1.0.0"\n'},
        "src/demo/__init__.py", 1,
    ),
    "scikit-build-core": (
        {"pyproject.toml": system("scikit_build_core.build", "scikit-build-core") + DYNAMIC
         + '[tool.scikit-build.metadata.version]\nprovider = "scikit_build_core.metadata.regex"\n'
         'input = "src/demo/__init__.py"\n', **MODULE},
        "src/demo/__init__.py", 3,
    ),
    "meson-python": (
        {"pyproject.toml": system("mesonpy", "meson-python") + DYNAMIC,
         "meson.build": "project('demo', 'c',\n  meson_version: '>=1.0',\n  version: '1.0.0')\n"},
        "meson.build", 3,
    ),
    "maturin": (
        {"pyproject.toml": system("maturin", "maturin") + DYNAMIC, "Cargo.toml": CARGO},
        "Cargo.toml", 6,
    ),
    "maturin workspace": (
        {"pyproject.toml": system("maturin", "maturin") + DYNAMIC,
         "Cargo.toml": '[package]\nname = "demo"\nversion.workspace = true\n'
         '[workspace.package]\nversion = "1.0.0"\n'},
        "Cargo.toml", 5,
    ),
}  # fmt: skip

PBR = {
    "setup.cfg": "[metadata]\nname = demo\n[files]\npackages_root = src\npackages = demo\n",
    "setup.py": 'from setuptools import setup\nsetup(setup_requires=["pbr"], pbr=True)\n',
    "pyproject.toml": system("pbr.build", "pbr>=6", "setuptools"),
    ".gitignore": "/AUTHORS\n/ChangeLog\n",
}
FROM_GIT = {
    "setuptools-scm": SETUPTOOLS.replace("['setuptools']", "['setuptools', 'setuptools-scm>=8']")
    + DYNAMIC
    + "[tool.setuptools_scm]\n",
    "hatch-vcs": system("hatchling.build", "hatchling", "hatch-vcs")
    + DYNAMIC
    + '[tool.hatch.version]\nsource = "vcs"\n[tool.hatch.build.targets.wheel]\npackages = ["src/demo"]\n',
    "pdm": system("pdm.backend", "pdm-backend") + DYNAMIC + '[tool.pdm.version]\nsource = "scm"\n',
    "uv-dynamic-versioning": system("hatchling.build", "hatchling", "uv-dynamic-versioning")
    + DYNAMIC
    + '[tool.hatch.version]\nsource = "uv-dynamic-versioning"\n'
    + '[tool.hatch.build.targets.wheel]\npackages = ["src/demo"]\n',
    "poetry-dynamic-versioning": system(
        "poetry_dynamic_versioning.backend", "poetry-core", "poetry-dynamic-versioning>=1,<2"
    )
    + '[tool.poetry]\nname = "demo"\nversion = "0.0.0"\ndescription = ""\nauthors = []\n'
    + 'packages = [{include = "demo", from = "src"}]\n[tool.poetry-dynamic-versioning]\nenable = true\n',
}


VERSIONEER = {
    "pyproject.toml": system("setuptools.build_meta", "setuptools", "versioneer[toml]")
    + DYNAMIC
    + '[tool.versioneer]\nVCS = "git"\nstyle = "pep440"\nversionfile_source = "src/demo/_version.py"\n'
    + 'tag_prefix = "v"\n',
    "setup.py": "import setuptools, versioneer as v\n"
    "setuptools.setup(version=v.get_version(), cmdclass=v.get_cmdclass())\n",
    "MANIFEST.in": "include src/demo/*.json\n",
}
VERSIONINGIT = {
    "pyproject.toml": system("setuptools.build_meta", "setuptools", "versioningit")
    + DYNAMIC
    + "[tool.versioningit]\n",
    "MANIFEST.in": "include src/demo/*.json\n",
}
GIT_VERSIONING = {
    "pyproject.toml": system("setuptools.build_meta", "setuptools", "setuptools-git-versioning>=2,<3")
    + DYNAMIC
    + "[tool.setuptools-git-versioning]\nenabled = true\n",
    "MANIFEST.in": "include src/demo/*.json\n",
}
GIT_FILES = {tool: {"pyproject.toml": text} for tool, text in FROM_GIT.items()} | {
    "pbr": PBR,
    "versioneer": VERSIONEER,
    "versioningit": VERSIONINGIT,
    "setuptools-git-versioning": GIT_VERSIONING,
}


def written(root: Path, files: dict[str, str]) -> Path:
    for path, content in {"src/demo/__init__.py": "", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


@pytest.mark.parametrize("backend", STATED)
def test_line_is_found_and_set_alone(tmp_path: Path, backend: str) -> None:
    files, path, number = STATED[backend]
    project = read_project(written(tmp_path / "demo", files))
    line = version_line(project)
    assert line is not None
    assert (line.path, line.number, line.version) == (path, number, Version("1.0.0"))
    for version in ("1.0.0rc1", "1.0.1.dev3+ga1b2c3d4e"):
        before = (project.root / path).read_text().splitlines(keepends=True)
        line = set_version(project, line, Version(version))
        after = (project.root / path).read_text().splitlines(keepends=True)
        assert line.version == Version(version)
        assert [index for index, text in enumerate(after, 1) if text != before[index - 1]] == [number]
    set_version(project, line, Version("1.0.0"))
    assert (project.root / path).read_text() == files[path]


def test_lock_of_cargo_names_the_crate_under_its_new_version_and_no_other(tmp_path: Path) -> None:
    files = STATED["maturin"][0] | {
        "Cargo.lock": 'version = 4\n\n[[package]]\nname = "demo"\nversion = "1.0.0"\n\n[[package]]\n'
        'name = "other"\nversion = "1.0.0"\nsource = "registry+index"\n'
    }
    project = read_project(written(tmp_path / "demo", files))
    line = version_line(project)
    assert line is not None
    set_version(project, line, Version("1.0.0rc1"))
    expected = files["Cargo.lock"].replace('"1.0.0"', '"1.0.0-rc.1"', 1)
    assert (project.root / "Cargo.lock").read_text() == expected


@pytest.mark.parametrize("tool", GIT_FILES)
def test_version_from_git_is_stated_nowhere(tmp_path: Path, tool: str) -> None:
    assert version_line(read_project(written(tmp_path / "demo", GIT_FILES[tool]))) is None


@pytest.mark.parametrize(
    "files",
    [
        {"setup.py": 'from setuptools import setup\nsetup(name="demo", version=open("V").read())\n'},
        {"pyproject.toml": system("hatchling.build", "hatchling") + DYNAMIC
         + '[tool.hatch.version]\nsource = "code"\npath = "a.py"\n'},
        {"pyproject.toml": system("flit_core.buildapi", "flit_core") + DYNAMIC,
         "src/demo/__init__.py": "__version__ = '.'.join(['1', '0'])\n"},
        {"pyproject.toml": SETUPTOOLS + DYNAMIC + '[tool.setuptools.dynamic]\nversion = {file = "../V"}\n'},
    ],
)  # fmt: skip
def test_computed_version_has_no_line(tmp_path: Path, files: dict[str, str]) -> None:
    assert version_line(read_project(written(tmp_path / "demo", files))) is None


@pytest.mark.parametrize(
    "backend", ["flit", *long_rounds("setup.py", "setup.cfg", "poetry-core", "uv_build")]
)
def test_candidate_of_a_stated_version_is_built_in_a_clone(tmp_path: Path, backend: str) -> None:
    root = project_of(tmp_path / "demo", PURE[backend])
    for tag in ("v1.0.0rc1", "v1.1.0"):
        git(root, "tag", tag)
    built = build_tag(root, "v1.0.0rc1", tmp_path / "out")
    assert str(built.version) == "1.0.0rc1"
    assert built.line is not None
    assert built.line.version == Version("1.0.0")
    with pytest.raises(ProjectError, match=r"names 1\.1\.0, but the project states .* 1\.0\.0 \(.*line"):
        build_tag(root, "v1.1.0", tmp_path / "out")
    assert git(root, "status", "--porcelain") == ""


def test_development_version_of_a_stated_one_leaves_the_checkout_alone(tmp_path: Path) -> None:
    root = project_of(tmp_path / "demo", PURE["hatchling"])
    last = commit(root)
    built = build_distributions(root, tmp_path / "out")
    assert str(built.version) == f"1.0.1.dev1+g{last[:9]}"
    assert git(root, "status", "--porcelain") == ""


ONE_OF_EACH_KIND = {"hatch-vcs", "pbr", "versioneer"}
"""Told by a variable of the tool, by one of pbr's own, and not by any."""


@pytest.mark.parametrize(
    "tool", [*sorted(ONE_OF_EACH_KIND), *long_rounds(*sorted(GIT_FILES.keys() - ONE_OF_EACH_KIND))]
)
def test_tool_that_asks_git_takes_our_version(tmp_path: Path, tool: str) -> None:
    """An annotated experiment tag on the commit: each of them would take a number from it, or stop."""
    root = project_of(tmp_path / "demo", GIT_FILES[tool])
    last = commit(root)
    git(root, "tag", "-a", "-m", "experiment", "model-churn-7")
    assert str(build_distributions(root, tmp_path / "out").version) == f"1.0.1.dev1+g{last[:9]}"
