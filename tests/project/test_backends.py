"""Every build backend: its hooks build in one environment, and two builds of a commit are the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ProjectError
from conveyor.project.backend import BuildSystem, make_backend, read_build_system
from conveyor.project.build import build_tag
from conveyor.project.rooms import build_room
from project.backends_made import COMPILED, MATURIN, PURE, project_of
from project.checkouts import git, long_rounds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from _pytest.mark import ParameterSet


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.partition(".cpython")[0]
            for name in archive.namelist()
            if ".dist-info/" not in name and not name.endswith("/")
        }


PUBLISHED = {
    "setuptools", "setup.py", "setuptools-scm", "hatchling", "flit", "poetry-core", "pdm",
    "meson-python", "scikit-build-core",
}  # fmt: skip
"""Backends of the published projects that ``make test`` builds (``flows/built_projects.csv``)."""


def in_turn(backends: Iterable[str]) -> list[str | ParameterSet]:
    """Those that no published project shows in every round, and then the others, in the long ones."""
    names = set(backends)
    return [*sorted(names - PUBLISHED), *long_rounds(*sorted(names & PUBLISHED))]


@pytest.mark.parametrize("backend", in_turn(PURE))
def test_project_of_any_backend_builds(tmp_path: Path, backend: str) -> None:
    root = project_of(tmp_path / "demo", PURE[backend])
    built = build_tag(root, "v1.0.0", tmp_path / "out")
    assert built.wheel.name.startswith("demo-1.0.0-py")
    assert members(built.wheel) - {"demo/_version.py"} == {"demo/__init__.py", "demo/data.json"}


@pytest.mark.parametrize("backend", ["setuptools", *long_rounds(*sorted(COMPILED.keys() - {"setuptools"}))])
def test_compiled_modules_of_one_commit_are_the_same_bytes(tmp_path: Path, backend: str) -> None:
    root = project_of(tmp_path / "demo", COMPILED[backend], is_compiled=True)
    first = build_tag(root, "v1.0.0", tmp_path / "first")
    second = build_tag(root, "v1.0.0", tmp_path / "second")
    assert members(first.wheel) - {"demo/fast.c"} == {"demo/__init__.py", "demo/data.json", "demo/_fast"}
    digests = [hashlib.sha256(one.wheel.read_bytes()).hexdigest() for one in (first, second)]
    assert digests[0] == digests[1]


def test_variables_that_force_a_version_reach_no_build_requirement(tmp_path: Path) -> None:
    """A build requirement that is built from source would take the project's version for its own."""
    helper = tmp_path / "helper"
    helper.mkdir()
    (helper / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "own"\nbackend-path = ["."]\n'
        '[project]\nname = "helper"\nversion = "1.0"\ndescription = "x"\n'
    )
    (helper / "own.py").write_text(
        "import os\nfrom flit_core.buildapi import *\n"
        "assert 'SETUPTOOLS_SCM_PRETEND_VERSION' not in os.environ, 'leaked'\n"
    )
    (helper / "helper.py").write_text("")
    root = project_of(tmp_path / "demo", PURE["flit"])
    system = BuildSystem((f"helper @ {helper.as_uri()}", "flit_core"), "flit_core.buildapi")
    forced = {"SETUPTOOLS_SCM_PRETEND_VERSION": "9"}
    backend = make_backend(system, tmp_path / "environment", hook_variables=forced)
    assert backend.metadata(root).get("version") == "1.0.0"


def test_backend_that_is_missing_or_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    root = project_of(tmp_path / "demo", PURE["flit"])
    absent = make_backend(BuildSystem((), "nowhere.api"), tmp_path / "absent")
    with pytest.raises(ProjectError, match=r"nowhere\.api cannot be imported") as caught:
        absent.wheel(root, tmp_path)
    assert "requires under [build-system]" in (caught.value.hint or "")
    with pytest.raises(ProjectError, match="no-such-backend-of-ours cannot be installed"):
        make_backend(BuildSystem(("no-such-backend-of-ours",)), tmp_path / "none")


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        ("setuptools", ["is not a table"]),
        ({"requires": "setuptools"}, ["requires is not a list"]),
        (
            {"requires": ["set up tools"], "build-backend": 3, "backend-path": "tools"},
            ['requires holds "set up tools"', "build-backend is not", "backend-path is not"],
        ),
        (
            {"requires": [], "backend-path": ["tools", "../x", "/y"]},
            ['backend-path holds "../x"', 'backend-path holds "/y"'],
        ),
        ({}, ["requires is not a list"]),
    ],
)
def test_all_faults_of_the_build_system_are_named(table: object, faults: list[str]) -> None:
    with pytest.raises(ProjectError) as caught:
        read_build_system({"build-system": table}, where="pyproject.toml")
    assert [fault for fault in faults if fault not in caught.value.message] == []
    assert caught.value.hint


def test_option_that_a_backend_asks_for_never_reaches_the_installer(tmp_path: Path) -> None:
    asked = tmp_path / "there"
    (tmp_path / "own.py").write_text(
        f"def get_requires_for_build_sdist(config_settings=None):\n    return ['--target={asked}', 'wheel']\n"
    )
    backend = make_backend(BuildSystem((), "own", (".",)), tmp_path / "environment")
    with pytest.raises(ProjectError, match=r'asks for what is no requirement .*\n- "--target='):
        backend.sdist(tmp_path, tmp_path)
    with pytest.raises(ProjectError, match="Distribution not found"):
        backend.environment.install(f"--target={asked}")
    assert not asked.exists()


def test_project_without_a_build_system_has_the_default_one() -> None:
    assert read_build_system({}, where="pyproject.toml").backend == "setuptools.build_meta:__legacy__"


def test_room_of_a_build_has_one_path_is_emptied_and_belongs_to_one_build_at_a_time() -> None:
    order: list[int] = []

    def use(number: int) -> Path:
        with build_room("a test of rooms") as held:
            room = held.path
            assert list(room.iterdir()) == []
            (room / "left").mkdir()
            (room / "left" / "file").touch()
            order.append(number)
            assert list(room.iterdir()) == [room / "left"]
            return room

    with ThreadPoolExecutor(4) as threads:
        with build_room("a test of rooms") as held:
            first = held.path
            waiting = [threads.submit(use, number) for number in range(4)]
            (first / "link").symlink_to(first.parent)
            assert order == []
        found = {one.result(timeout=60) for one in waiting}
    assert found == {first}
    assert sorted(order) == [0, 1, 2, 3]
    assert not first.exists()


@pytest.mark.torture
@pytest.mark.parametrize("is_stated_by_cargo", [False, True])
def test_candidate_of_a_crate_is_built_with_its_lock(tmp_path: Path, is_stated_by_cargo: bool) -> None:
    """A version in Cargo.toml is compiled in, and Cargo has no ``1.0.0rc1``."""
    lock = 'version = 4\n\n[[package]]\nname = "demo"\nversion = "1.0.0"\n'
    files = {**MATURIN, "pyproject.toml": MATURIN["pyproject.toml"] + "locked = true\n", "Cargo.lock": lock}
    if is_stated_by_cargo:
        files["pyproject.toml"] = files["pyproject.toml"].replace(
            'version = "1.0.0"', 'dynamic = ["version"]'
        )
    root = project_of(tmp_path / "demo", files)
    git(root, "tag", "v1.0.0rc1")
    candidate, final = (build_tag(root, tag, tmp_path / tag) for tag in ("v1.0.0rc1", "v1.0.0"))
    assert (str(candidate.version), str(final.version)) == ("1.0.0rc1", "1.0.0")
    modules = []
    for built in (candidate, final):
        with zipfile.ZipFile(built.wheel) as archive:
            modules.append([archive.read(name) for name in archive.namelist() if name.endswith(".so")])
    assert (modules[0] == modules[1]) is not is_stated_by_cargo
    said = [
        note for note in candidate.notes if "is compiled in, so the final will not be this candidate" in note
    ]
    assert bool(said) is is_stated_by_cargo


def test_crate_is_built_by_maturin(tmp_path: Path) -> None:
    root = project_of(tmp_path / "demo", MATURIN)
    built = build_tag(root, "v1.0.0", tmp_path / "out")
    assert "demo/__init__.py" in members(built.wheel)
