"""Projects that other scaffolding tools make are built as they are, or after what the messages ask for."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ProjectError
from conveyor.project.build import build_tag
from project.checkouts import commit, git

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flows.clients import Client

pytestmark = [pytest.mark.slow]

DATA_SCIENCE = {
    "pyproject.toml": """\
[build-system]
requires = ["flit_core >=3.2,<4"]
build-backend = "flit_core.buildapi"

[project]
name = "project_name"
version = "0.0.1"
description = "A short description of the project."
authors = [
  { name = "Your name (or your organization/company/team)" },
]

readme = "README.md"
classifiers = [
    "Programming Language :: Python :: 3",
    
]
requires-python = "~=3.11.0"
""",  # noqa: W293 - as the tool writes it
    ".gitignore": "/data/\n__pycache__/\nlib/\nbuild/\ndist/\n*.egg-info/\n.env\n",
    "Makefile": "PROJECT_NAME = project_name\n",
    "README.md": "# project_name\n",
    "requirements.txt": "loguru\npython-dotenv\ntqdm\ntyper\n-e .\n",
    "data/raw/.gitkeep": "",
    "models/.gitkeep": "",
    "notebooks/.gitkeep": "",
    "references/.gitkeep": "",
    "project_name/__init__.py": "from project_name import config  # noqa: F401\n",
    "project_name/config.py": "from pathlib import Path\n\nfrom dotenv import load_dotenv\n"
    "from loguru import logger\n\nload_dotenv()\n\ntry:\n    from tqdm import tqdm\n"
    "except ModuleNotFoundError:\n    pass\n",
    "project_name/modeling/__init__.py": "",
    "project_name/modeling/train.py": "from loguru import logger\nfrom tqdm import tqdm\nimport typer\n",
}
"""What cookiecutter-data-science 2.3 makes, shortened. The tool fetches its template from a git host."""


def test_project_of_pyscaffold_is_built_as_it_is(client: Callable[[str], Client], tmp_path: Path) -> None:
    """It has setup.cfg, setup.py and setuptools-scm; its name stands in setup.cfg."""
    (tmp_path / ".gitconfig").write_text("[user]\nname = test\nemail = test@localhost\n")
    client("pyscaffold").call("putup", "scaffolded").succeeded()
    root = tmp_path / "scaffolded"
    git(root, "tag", "v0.1.0")
    built = build_tag(root, "v0.1.0", tmp_path / "out")
    with zipfile.ZipFile(built.wheel) as wheel:
        modules = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert modules == {"scaffolded/__init__.py", "scaffolded/skeleton.py"}
    assert built.notes == ()


def test_project_of_cookiecutter_data_science_is_built_once_it_is_in_git(tmp_path: Path) -> None:
    root = tmp_path / "project_name"
    for path, content in DATA_SCIENCE.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    with pytest.raises(ProjectError, match="git"):
        build_tag(root, "v0.0.1", tmp_path / "out")
    git(root, "init", "-q")
    commit(root)
    git(root, "tag", "v0.0.1")
    built = build_tag(root, "v0.0.1", tmp_path / "out")
    imported = {note.split(" imports ")[1].split(",")[0] for note in built.notes}
    assert imported == {"dotenv", "loguru", "tqdm", "typer"}
