"""What real build tools make passes every check: the ones that are installed here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet

from conveyor.domain.archives import ArchiveLimits
from conveyor.domain.distributions import Digests, Distribution, LibraryChecks, UploadForm, read_distribution
from conveyor.operations.attestations import signature_fault
from conveyor.operations.rendering import fault_of
from distributions_made import Made

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """\
[build-system]
requires = []
build-backend = "{backend}"

[project]
name = "Built-Project"
version = "1.0rc1"
description = "Built for  a test"
readme = "README.md"
requires-python = ">=3.9,<4"
license = "MIT"
license-files = ["LICENSE"]
authors = [{{name = "Team Ä", email = "team@example.com"}}, {{name = "Two"}}]
keywords = ["a", "b c"]
classifiers = ["Programming Language :: Python :: 3"]
dependencies = ["packaging>=20; python_version < '4'"]

[project.optional-dependencies]
Extra_One = ["six!=1.0"]

[project.urls]
"Source Code" = "https://example.com/x"

[project.scripts]
built = "built_project:main"
"""
BUILD = "import sys, {backend} as backend; print(backend.build_{kind}('dist'))"
UV = (sys.executable, "-m", "uv", "--no-config")


def project(folder: Path, backend: str) -> Path:
    (folder / "src" / "built_project").mkdir(parents=True)
    (folder / "dist").mkdir()
    (folder / "pyproject.toml").write_text(PROJECT.format(backend=backend), encoding="utf-8")
    (folder / "README.md").write_text("# Title\n\nText with ü.\n", encoding="utf-8")
    (folder / "LICENSE").write_text("MIT")
    (folder / "src" / "built_project" / "__init__.py").write_text("def main(): ...\n")
    if backend == "hatchling.build":
        targets = '\n[tool.hatch.build.targets.wheel]\npackages = ["src/built_project"]\n'
        with (folder / "pyproject.toml").open("a") as file:
            file.write(targets)
    return folder


def checked(path: Path) -> Distribution:
    made = Made(path.name, path.read_bytes())
    blake2 = hashlib.blake2b(made.content, digest_size=32).hexdigest()
    return read_distribution(
        made.stream,
        filename=made.filename,
        size_bytes=len(made.content),
        digests=Digests(sha256=made.sha256, blake2b_256=blake2),
        form=UploadForm(made.form),
        limits=ArchiveLimits(),
        checks=LibraryChecks(fault_of, signature_fault),
    )


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("backend", ["setuptools.build_meta", "hatchling.build", "uv_build"])
def test_what_a_build_tool_makes_is_sound(tmp_path: Path, backend: str, kind: str) -> None:
    folder = project(tmp_path / "project", backend)
    command = [sys.executable, "-c", BUILD.format(backend=backend, kind=kind)]
    if backend == "uv_build":  # inside uv, as long as the project asks for uv's own version
        said = subprocess.run([*UV, "--version"], capture_output=True, text=True, check=True).stdout
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        pinned = text.replace("requires = []", f'requires = ["uv_build=={said.split()[1]}"]')
        (folder / "pyproject.toml").write_text(pinned, encoding="utf-8")
        command = [*UV, "build", "--offline", "-q", "-o", "dist", f"--{kind}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (path for path in (folder / "dist").iterdir() if path.suffix in (".whl", ".gz"))
    found = checked(path)
    assert (found.project, found.display_name, found.version) == ("built-project", "Built-Project", "1.0rc1")
    assert SpecifierSet(found.requires_python or "") == SpecifierSet(">=3.9,<4")
    assert found.core_metadata["license_files"] == ["LICENSE"]
