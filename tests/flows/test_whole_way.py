"""Published projects go the whole way: built, tested as their authors test them, promoted on evidence.

Each is committed and tagged from its sdist and carried by ``pipeline run``, through a store that mirrors the
index of this machine. What was added to a project stands in the table, and only what our message asked for.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest
import urllib3

from conveyor.operations.releases.verification import verify_release
from conveyor.settings import upstream_of_this_machine
from flows.built_projects import (
    BuiltProject,
    beside_another,
    built_projects,
    checkout_of,
    contents_of,
    declare,
)
from pipeline.conftest import Town, settled
from pipeline.projects import HATCHLING, make_project
from pipeline.test_flow import facts_of
from project.checkouts import commit, git
from running_stores import running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from figures import Figures

pytestmark = [pytest.mark.xdist_group("whole way"), pytest.mark.timeout(1800)]

TRAVELLERS = [one for one in built_projects() if one.way]


def names(*ways: str) -> list[str]:
    return [one.project for one in TRAVELLERS if one.way in ways]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A store that mirrors the index of this machine, with a worker and a signer."""
    folder = tmp_path_factory.mktemp("station")
    machine = upstream_of_this_machine()
    more = {"PIP_CERT": machine.cert, "PIP_PROXY": machine.proxy}
    given = {name: value for name, value in more.items() if value}
    environment = serve_environment(PIP_INDEX_URL=machine.url, **given)
    with running_store(folder / "store", environment=environment) as store:
        yield settled(store, folder)


def test_the_travellers_are_chosen_over_the_backends() -> None:
    assert len(TRAVELLERS) == 12
    assert len({one.backend for one in TRAVELLERS}) >= 9
    final = {one.way: one for one in TRAVELLERS if one.way != "testing"}
    assert set(final) == {"stable: git", "stable: C", "stable: stated", "stable: monorepo"}
    assert final["stable: git"].backend == "setuptools-scm"
    assert final["stable: C"].backend == "setuptools with a C extension"


@pytest.mark.torture
@pytest.mark.parametrize("name", names("testing"))
def test_published_project_is_tested_as_its_authors_do(
    station: Town, tmp_path: Path, figures: Figures, name: str
) -> None:
    one = next(one for one in TRAVELLERS if one.project == name)
    root = checkout_of(one, contents_of([one])[one.sdist.filename], tmp_path / "checkout")
    git(root, "tag", "-d", f"v{one.version}")
    passed = go_to_testing(station, one, root, "v")
    figures(f"{name} {one.version}", tests_passed=passed)


@pytest.mark.torture
@pytest.mark.parametrize("name", names("stable: git", "stable: C", "stable: stated", "stable: monorepo"))
def test_signed_final_of_a_published_project_is_proven_and_reaches_stable(
    station: Town, tmp_path: Path, figures: Figures, name: str
) -> None:
    one = next(one for one in TRAVELLERS if one.project == name)
    contents = contents_of([one])
    folder, prefix = tmp_path / "checkout", "v"
    root = checkout_of(one, contents[one.sdist.filename], folder)
    git(root, "tag", "-d", f"v{one.version}")
    if one.way == "stable: monorepo":
        root, prefix = beside_another(root, tmp_path / "monorepo"), f"{name}/v"
    passed = go_to_testing(station, one, root, prefix)
    tag = f"{prefix}{one.version}"
    station.sign(root, tag)
    outcome = station.run(root, tag)
    assert (outcome["state"], outcome["version"], outcome["index"]) == ("succeeded", one.version, "stable")
    final = station.client.releases.get(name, one.version)
    proofs = {str(fact["rc_filename"])[-4:]: fact["proof"] for fact in facts_of(final, "equivalence")}
    assert proofs == {".whl": "identical", "r.gz": "members-identical"}
    for chain in verify_release(station.client.releases.bundle(name, one.version)):  # without the store
        assert not chain.broken
    figures(f"{name} {one.version}, final", tests_passed=passed)


def go_to_testing(station: Town, one: BuiltProject, root: Path, prefix: str) -> int:
    """Carry the candidate to the index "testing"; how many tests passed.

    What the table declares is declared only when the pipeline has asked for it.
    """
    tag = f"{prefix}{one.version}rc1"
    station.claim(one.project)
    git(root, "tag", tag)
    if one.declared:
        refused = station.run(root, tag, expected=9)
        assert one.declared in refused["error"]["hint"]
        declare(one, root)
        git(root, "tag", "-f", tag)
    outcome = station.run(root, tag)
    assert (outcome["state"], outcome["index"]) == ("succeeded", "testing"), outcome
    release = station.client.releases.get(one.project, f"{one.version}rc1")
    assert release.indexes == ("testing",)
    (tested,) = facts_of(release, "tests")
    assert (tested["failed"], tested["errors"]) == (0, 0)
    passed = tested["passed"]
    assert isinstance(passed, int)
    return passed


SPHINX = {
    "docs/conf.py": 'project = "demo"\n',
    "docs/index.rst": "Demo\n====\n\n.. toctree::\n\n   nowhere\n",
}
MKDOCS = {"mkdocs.yml": "site_name: demo\n", "docs/index.md": "[gone](nowhere.md)\n"}


@pytest.mark.torture
@pytest.mark.parametrize(
    ("name", "tool", "files", "said"),
    [
        ("phoenix", "Sphinx", SPHINX, "nonexisting document 'nowhere'"),
        ("pavo", "MkDocs", MKDOCS, "'nowhere.md'"),
    ],
)
def test_documentation_goes_with_the_release_and_a_warning_stops_it(
    station: Town, tmp_path: Path, name: str, tool: str, files: dict[str, str], said: str
) -> None:
    station.claim(name)
    groups = f'[dependency-groups]\ndocs = ["{tool.lower()}"]\n[tool.conveyor.docs]\n'
    root = make_project(tmp_path / "root", name=name, pyproject=HATCHLING + groups, files=files)
    git(root, "tag", "v1.0.0rc1")
    refused = station.run(root, "v1.0.0rc1", expected=9)["error"]
    assert f"the documentation cannot be built ({tool}, exit code 1)" in refused["detail"]
    assert said in refused["detail"]
    head = git(root, "rev-parse", "HEAD")
    assert station.client.releases.of_commit(name, head) == (), "it used up its version"
    # The hint works.
    assert refused["hint"].endswith('[tool.conveyor.docs], warnings = "ignore"')
    with (root / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write('warnings = "ignore"\n')
    commit(root)
    git(root, "tag", "-f", "v1.0.0rc1")
    assert station.run(root, "v1.0.0rc1")["index"] == "testing"
    assert "index.html" in documentation_of(station, name, "1.0.0rc1")


def documentation_of(station: Town, project: str, version: str) -> set[str]:
    """The names of the pages that the store holds of a release."""
    address = f"{station.url}/api/v1/projects/{project}/releases/{version}/docs/archive"
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", address, headers={"Authorization": f"Bearer {station.token}"})
    assert answer.status == 200, answer.data
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        return set(archive.namelist())
