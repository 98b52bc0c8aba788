"""Every build backend: its hooks build in one environment, and two builds of a commit are the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest

from conveyor.project.build import build_tag
from project.backends_made import COMPILED, MATURIN, PURE, project_of

if TYPE_CHECKING:
    from pathlib import Path


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.partition(".cpython")[0]
            for name in archive.namelist()
            if ".dist-info/" not in name and not name.endswith("/")
        }


@pytest.mark.parametrize("backend", PURE)
def test_project_of_any_backend_builds(tmp_path: Path, backend: str) -> None:
    root = project_of(tmp_path / "demo", PURE[backend])
    built = build_tag(root, "v1.0.0", tmp_path / "out")
    assert built.wheel.name.startswith("demo-1.0.0-py")
    assert members(built.wheel) - {"demo/_version.py"} == {"demo/__init__.py", "demo/data.json"}


@pytest.mark.parametrize("backend", COMPILED)
def test_compiled_modules_of_one_commit_are_the_same_bytes(tmp_path: Path, backend: str) -> None:
    root = project_of(tmp_path / "demo", COMPILED[backend], is_compiled=True)
    first = build_tag(root, "v1.0.0", tmp_path / "first")
    second = build_tag(root, "v1.0.0", tmp_path / "second")
    assert members(first.wheel) - {"demo/fast.c"} == {"demo/__init__.py", "demo/data.json", "demo/_fast"}
    digests = [hashlib.sha256(one.wheel.read_bytes()).hexdigest() for one in (first, second)]
    assert digests[0] == digests[1]


def test_crate_is_built_by_maturin(tmp_path: Path) -> None:
    root = project_of(tmp_path / "demo", MATURIN)
    built = build_tag(root, "v1.0.0", tmp_path / "out")
    assert "demo/__init__.py" in members(built.wheel)
