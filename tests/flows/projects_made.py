"""Makers of small projects that build: metadata of every kind, one module, one script."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """\
[build-system]
requires = []
build-backend = "{backend}"

[project]
name = "{name}"
version = "{version}"
description = "Made for  a test"
readme = "README.md"
requires-python = ">=3.9,<4"
license = "MIT"
license-files = ["LICENSE"]
authors = [{{name = "Team Ä", email = "team@example.com"}}, {{name = "Two"}}]
keywords = ["a", "b c"]
classifiers = ["Programming Language :: Python :: 3"]
dependencies = [{dependencies}]

[project.optional-dependencies]
Extra_One = ["six!=1.0"]

[project.urls]
"Source Code" = "https://example.com/x"

[project.scripts]
{package} = "{package}:main"
"""
OF_ALL_BACKENDS = """
[tool.hatch.build.targets.wheel]
packages = ["src/{package}"]

[tool.poetry]
packages = [{{include = "{package}", from = "src"}}]
"""


def make_project(
    folder: Path,
    name: str,
    *,
    backend: str,
    version: str = "1.0",
    dependencies: str = "\"packaging>=20; python_version < '4'\"",
) -> Path:
    """A project in ``folder/NAME``, which is returned; ``dependencies`` are TOML strings with commas."""
    project, package = folder / name, name.lower().replace("-", "_")
    (project / "src" / package).mkdir(parents=True)
    (project / "dist").mkdir()
    filled = PROJECT.format(
        name=name, package=package, backend=backend, version=version, dependencies=dependencies
    )
    filled += OF_ALL_BACKENDS.format(package=package)
    (project / "pyproject.toml").write_text(filled, encoding="utf-8")
    (project / "README.md").write_text("# Title\n\nText with ü.\n", encoding="utf-8")
    (project / "LICENSE").write_text("MIT")
    (project / "src" / package / "__init__.py").write_text('"""Made for a test."""\n\n\ndef main(): ...\n')
    return project
