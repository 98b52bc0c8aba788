"""Tools that keep a project's environment lock it against a private index of the store, and make it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from flows.clients import installed_in
from flows.documented import documented
from flows.stocked_stores import PASSWORD, PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flows.clients import Called, Client
    from flows.stocked_stores import StockedStore

pytestmark = [pytest.mark.slow]

PROJECT = """\
[project]
name = "consumer"
version = "1.0"
requires-python = ">=3.9,<4"
dependencies = ["hidden", "picky"]
"""
POETRY_1_PROJECT = """\
[tool.poetry]
package-mode = false
[tool.poetry.dependencies]
python = ">=3.9,<4"
hidden = "*"
picky = "*"
"""
WANTED = {"demo": "1.2", "hidden": "1.0", "lower": "3.0", "picky": "1.0", "source-only": "1.0"}
"""``hidden`` is private, ``picky`` and ``lower`` are mirrored, ``source-only`` is an sdist."""


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


@dataclass(frozen=True)
class Tool:
    """What a tool wants beside the settings of the index."""

    file: str
    """Where a project's settings stand."""
    project: str
    """The settings of the project itself."""
    digests: Callable[[Path], dict[str, set[str]]]
    """Reads project → SHA-256 digests of its files out of the lock in a folder."""


TOOLS = {
    "uv": Tool("pyproject.toml", PROJECT, _of_uv),
    "poetry": Tool("pyproject.toml", f"{PROJECT}[tool.poetry]\npackage-mode = false\n", _of_poetry),
    "poetry-1": Tool("pyproject.toml", POETRY_1_PROJECT, _of_poetry),
    "pdm": Tool("pyproject.toml", f"{PROJECT}[tool.pdm]\ndistribution = false\n", _of_pdm),
    "pipenv": Tool("Pipfile", '[packages]\nhidden = "*"\npicky = "*"\n', _of_pipenv),
}


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.torture if each == "poetry-1" else ()) for each in TOOLS]
)
def test_project_is_locked_and_synchronised(
    client: Callable[[str], Client], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    tool = TOOLS[name]
    heading = f"Lock with {name.partition('-')[0]}"
    guide = documented(heading, store_url=stocked.running.url, index=PRIVATE)
    *exports, lock, synchronise = guide.commands
    folder = tmp_path / "consumer"
    folder.mkdir()
    (folder / tool.file).write_text(f"{tool.project}\n{guide.settings}")

    def play(command: str, *, token: str) -> Called:
        return client(name).play("\n".join([*exports, command]), folder=folder, variables={"TOKEN": token})

    play(lock, token="wrong").failed()
    with stocked.watched() as seen:
        play(lock, token=stocked.token).succeeded()
    locked = tool.digests(folder)
    files = {made.sha256: filename for filename, made in stocked.files.items()}
    for project, version in WANTED.items():
        stem = f"{project.replace('-', '_')}-{version}"
        expected = {
            sha256 for sha256, filename in files.items() if filename.startswith((f"{stem}-", f"{stem}."))
        }
        assert expected <= locked[project], project
    assert [file for file in seen.files() if file.endswith(".whl")] == [], "metadata is enough for locking"

    with stocked.watched() as seen_later:
        play(synchronise, token=stocked.token).succeeded()
    assert installed_in(client(name), folder / ".venv") == WANTED
    suppliers = seen.suppliers("") | seen_later.suppliers("")
    assert suppliers["hidden-1.0-py3-none-any.whl"] == PRIVATE
    assert suppliers["demo-1.2-py3-none-any.whl"] == suppliers["source_only-1.0.tar.gz"] == "unstable"
    assert suppliers["lower-3.0-py3-none-any.whl"] == "pypi"


def test_pipenv_locks_and_installs_with_a_password_that_no_url_holds_as_it_is(
    client: Callable[[str], Client], stocked: StockedStore, tmp_path: Path
) -> None:
    """Its URL holds the password encoded; it sends it in Latin-1, for pages and files."""
    folder = tmp_path / "consumer"
    folder.mkdir()
    url = stocked.index(PRIVATE).rstrip("/").replace("://", f"://person:{quote(PASSWORD, safe='')}@")
    source = f'[[source]]\nname = "house"\nurl = "{url}"\nverify_ssl = true\n'
    (folder / "Pipfile").write_text(f'{source}\n[packages]\nhidden = "*"\n', encoding="utf-8")
    with stocked.watched() as seen:
        client("pipenv").play("pipenv lock\npipenv sync", folder=folder).succeeded()
    assert "hidden" in _of_pipenv(folder)
    assert installed_in(client("pipenv"), folder / ".venv")["hidden"] == "1.0"
    assert seen.statuses() <= {200, 206, 304, 401}
    assert "hidden-1.0-py3-none-any.whl" in seen.files()
