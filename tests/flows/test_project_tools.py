"""Tools that keep a project's environment lock it against a private index of the store, and make it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from flows.clients import installed_in
from flows.stocked_stores import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flows.clients import Client
    from flows.stocked_stores import StockedStore

pytestmark = [pytest.mark.slow]

PROJECT = """\
[project]
name = "consumer"
version = "1.0"
requires-python = ">=3.9,<4"
dependencies = ["hidden", "picky"]
"""
WANTED = {"demo": "1.2", "hidden": "1.0", "lower": "3.0", "picky": "1.0", "source-only": "1.0"}
"""``hidden`` is private, ``picky`` and ``lower`` are mirrored, ``source-only`` is an sdist."""


@dataclass(frozen=True)
class Tool:
    """How a project tool is told which index to use, and called."""

    file: str
    """The file that names the index, with ``URL`` in its place, and ``HOST`` for it without the scheme."""
    settings: str
    variables: dict[str, str]
    """With ``TOKEN`` in the place of the token."""
    lock: tuple[str, ...]
    sync: tuple[str, ...]
    hashes: Callable[[Path], dict[str, set[str]]]
    """Reads project → SHA-256 digests of its files out of the lock file in a folder."""


def _of_uv(folder: Path) -> dict[str, set[str]]:
    def files(package: dict[str, Any]) -> list[dict[str, str]]:
        return [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]

    packages = tomllib.loads((folder / "uv.lock").read_text())["package"]
    return {one["name"]: {each["hash"].removeprefix("sha256:") for each in files(one)} for one in packages}


def _of_poetry(folder: Path) -> dict[str, set[str]]:
    return _of_toml(folder / "poetry.lock")


def _of_pdm(folder: Path) -> dict[str, set[str]]:
    return _of_toml(folder / "pdm.lock")


def _of_toml(path: Path) -> dict[str, set[str]]:
    packages = tomllib.loads(path.read_text())["package"]
    return {one["name"]: {each["hash"].removeprefix("sha256:") for each in one["files"]} for one in packages}


def _of_pipenv(folder: Path) -> dict[str, set[str]]:
    packages = json.loads((folder / "Pipfile.lock").read_text())["default"]
    return {name: {each.removeprefix("sha256:") for each in one["hashes"]} for name, one in packages.items()}


POETRY_SOURCE = """\
[[tool.poetry.source]]
name = "house"
url = "URL"
priority = "primary"
"""
POETRY_VARIABLES = {
    "POETRY_HTTP_BASIC_HOUSE_USERNAME": "__token__",
    "POETRY_HTTP_BASIC_HOUSE_PASSWORD": "TOKEN",
    "POETRY_VIRTUALENVS_IN_PROJECT": "true",
}
TOOLS = {
    "uv": Tool(
        file="pyproject.toml",
        settings=f"""{PROJECT}
[[tool.uv.index]]
name = "house"
url = "URL"
default = true
""",
        variables={"UV_INDEX_HOUSE_USERNAME": "__token__", "UV_INDEX_HOUSE_PASSWORD": "TOKEN"},
        lock=("uv", "lock"),
        sync=("uv", "sync", "--locked"),
        hashes=_of_uv,
    ),
    "poetry": Tool(
        file="pyproject.toml",
        settings=f"""{PROJECT}
[tool.poetry]
package-mode = false
{POETRY_SOURCE}""",
        variables=POETRY_VARIABLES,
        lock=("poetry", "--no-interaction", "lock"),
        sync=("poetry", "--no-interaction", "install"),
        hashes=_of_poetry,
    ),
    "poetry-1": Tool(
        file="pyproject.toml",
        settings=f"""\
[tool.poetry]
package-mode = false
[tool.poetry.dependencies]
python = ">=3.9,<4"
hidden = "*"
picky = "*"
{POETRY_SOURCE}""",
        variables=POETRY_VARIABLES,
        lock=("poetry", "--no-interaction", "lock"),
        sync=("poetry", "--no-interaction", "install"),
        hashes=_of_poetry,
    ),
    "pdm": Tool(
        file="pyproject.toml",
        settings=f"""{PROJECT}
[tool.pdm]
distribution = false
[[tool.pdm.source]]
name = "pypi"
url = "http://__token__:${{HOUSE_TOKEN}}@HOST"
""",
        variables={"HOUSE_TOKEN": "TOKEN", "PDM_CHECK_UPDATE": "false"},
        lock=("pdm", "lock"),
        sync=("pdm", "sync"),
        hashes=_of_pdm,
    ),
    "pipenv": Tool(
        file="Pipfile",
        settings="""\
[[source]]
name = "house"
url = "http://__token__:${HOUSE_TOKEN}@HOST"
verify_ssl = true
[packages]
hidden = "*"
picky = "*"
""",
        variables={"HOUSE_TOKEN": "TOKEN", "PIPENV_VENV_IN_PROJECT": "1"},
        lock=("pipenv", "lock"),
        sync=("pipenv", "sync"),
        hashes=_of_pipenv,
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.torture if each == "poetry-1" else ()) for each in TOOLS]
)
def test_project_is_locked_and_synchronised(
    client: Callable[[str], Client], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    tool = TOOLS[name]
    url = stocked.index(PRIVATE).rstrip("/")
    folder = tmp_path / "consumer"
    folder.mkdir()
    settings = tool.settings.replace("URL", url).replace("HOST", url.partition("://")[2])
    (folder / tool.file).write_text(settings)

    def call(*words: str, token: str) -> Any:
        variables = {key: value.replace("TOKEN", token) for key, value in tool.variables.items()}
        return client(name).call(*words, folder=folder, variables=variables)

    call(*tool.lock, token="wrong").failed()
    with stocked.watched() as seen:
        call(*tool.lock, token=stocked.token).succeeded()
    locked = tool.hashes(folder)
    files = {made.sha256: filename for filename, made in stocked.files.items()}
    for project, version in WANTED.items():
        stem = f"{project.replace('-', '_')}-{version}"
        expected = {
            sha256 for sha256, filename in files.items() if filename.startswith((f"{stem}-", f"{stem}."))
        }
        assert expected <= locked[project], project
    assert [file for file in seen.files() if file.endswith(".whl")] == [], "metadata is enough for locking"

    with stocked.watched() as seen_later:
        call(*tool.sync, token=stocked.token).succeeded()
    assert installed_in(client(name), folder / ".venv") == WANTED
    suppliers = seen.suppliers("") | seen_later.suppliers("")
    assert suppliers["hidden-1.0-py3-none-any.whl"] == PRIVATE
    assert suppliers["demo-1.2-py3-none-any.whl"] == suppliers["source_only-1.0.tar.gz"] == "unstable"
    assert suppliers["lower-3.0-py3-none-any.whl"] == "pypi"
