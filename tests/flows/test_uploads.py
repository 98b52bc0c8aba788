"""Real clients upload, and say what the store says: once, again, changed, not allowed, broken.

All sentences of a refusal are in the answer. twine prints it with ``--verbose``, uv and poetry always, flit
of a refused file; pdm and hatch print the status, and pdm the rest into its log.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from attestations_made import make_attestation
from distributions_made import core_metadata, make_sdist, make_wheel
from flows.clients import installed_in, new_installer, versions_of
from flows.projects_made import make_project
from flows.publishers import PUBLISHERS, log_named_in, publish_with
from makers import ADMIN_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distributions_made import Made
    from flows.clients import Called, Client
    from flows.stocked_stores import StockedStore

pytestmark = [pytest.mark.slow]

every_publisher = pytest.mark.parametrize("name", PUBLISHERS)
BACKENDS = {
    "flit": "flit_core.buildapi",
    "hatch": "hatchling.build",
    "pdm": "pdm.backend",
    "poetry": "poetry.core.masonry.api",
}
"""Client → its build backend, which stands in the client's environment."""
BUILD = "import {backend} as backend; backend.build_sdist('dist'); backend.build_wheel('dist')"
FLIT = BACKENDS["flit"]
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def publish(name: str, client: Callable[[str], Client], stocked: StockedStore) -> Callable[..., Called]:
    """Publishes what is in ``dist`` of a project with the client of the test."""

    def publish(project: Path, *, index: str = "unstable", token: str = stocked.token) -> Called:
        url = stocked.running.url
        return publish_with(name, client(name), project, store_url=url, index=index, token=token)

    return publish


def release(project: str) -> list[Made]:
    """A wheel and an sdist whose metadata has something of every kind."""
    metadata = core_metadata(
        project,
        requires_python=">=3.9",
        requires=["packaging>=20; python_version < '4'", 'six!=1.0; extra == "extra-one"'],
        fields=[
            ("Provides-Extra", "extra-one"),
            ("Summary", "Made for  a test"),
            ("Author-email", "Team Ä <team@example.com>, Two <two@example.com>"),
            ("Keywords", "a,b c"),
            ("Project-URL", "Home, https://example.com/x"),
            ("Classifier", "Programming Language :: Python :: 3"),
            ("License-Expression", "MIT"),
        ],
        description="# Title\n\nText with ü.\n",
    )
    return [make_wheel(project, metadata=metadata), make_sdist(project, metadata=metadata)]


def put(project: Path, *files: Made) -> None:
    """Make these the files in the project's ``dist``."""
    shutil.rmtree(project / "dist")
    for made in files:
        made.write(project / "dist")


def uploaded(stocked: StockedStore, project: str) -> list[str]:
    page = stocked.running.get(f"/unstable/simple/{project}/", Accept=JSON)
    return [file["filename"] for file in page.json()["files"]] if page.status == 200 else []


def readable(name: str, called: Called, *, of_file: bool) -> str:
    """What a person gets to read of a refusal with this client: lines joined, escapes undone."""
    said = called.failed()
    shows = PUBLISHERS[name]
    if name == "pdm":
        said += re.sub(r"\s+", " ", log_named_in(called))
    elif shows == "status" or (shows == "refused files" and not of_file):
        return ""
    return said.replace("\\n", " ").replace('\\"', '"').replace("\\'", "'")


@every_publisher
def test_release_is_uploaded_and_again_without_harm(
    publish: Callable[..., Called], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    project = make_project(tmp_path, f"twice-{name}", backend=FLIT)
    if name != "flit":
        put(project, *release(project.name))
    for _ in range(2):
        publish(project).succeeded()
    stem = project.name.replace("-", "_")
    assert sorted(uploaded(stocked, project.name)) == [f"{stem}-1.0-py3-none-any.whl", f"{stem}-1.0.tar.gz"]


@every_publisher
def test_other_bytes_under_the_same_name_are_a_conflict(
    publish: Callable[..., Called], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    project = make_project(tmp_path, f"other-{name}", backend=FLIT)
    package = project.name.replace("-", "_")
    put(project, make_wheel(project.name))
    publish(project).succeeded()
    put(project, make_wheel(project.name, extra={"more.py": b""}))
    (project / "src" / package / "__init__.py").write_text('"""Changed."""\n')
    refused = publish(project)
    assert "409" in refused.failed()
    said = readable(name, refused, of_file=False)
    fact = f'{package}-1.0-py3-none-any.whl already exists in index "unstable" with other content'
    assert not said or (fact in said and "hint: published files never change" in said)


@every_publisher
def test_wrong_token_narrow_token_and_closed_index_are_told_apart(
    publish: Callable[..., Called], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    project = make_project(tmp_path, f"wrong-{name}", backend=FLIT)
    put(project, make_wheel(project.name))
    promotion_only = 'index "stable" is promotion-only: it accepts no uploads, not even from administrators'
    for token, index, status, fact in (
        ("conveyor-wrong", "unstable", "401", "this token is not known here, or was revoked"),
        (stocked.reading_token, "unstable", "403", "the token of reader lacks the scope upload"),
        (stocked.token, "stable", "403", promotion_only),
    ):
        refused = publish(project, index=index, token=token)
        assert status in refused.failed()
        said = readable(name, refused, of_file=False)
        assert not said or fact in said
    assert uploaded(stocked, project.name) == []


@every_publisher
def test_every_fault_of_a_refused_file_can_be_read(
    publish: Callable[..., Called], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    stem = f"bad_{name.replace('-', '_')}"
    if name == "flit":  # it builds sound archives only
        project = make_project(
            tmp_path, f"bad-{name}", backend=FLIT, dependencies='"six @ https://example.com/six.whl"'
        )
        faults = ["six @ https://example.com/six.whl"]
    else:
        project = make_project(tmp_path, f"bad-{name}", backend=FLIT)
        changed = {f"{stem}/__init__.py": b"changed", "stray.py": b""}
        put(project, make_wheel(project.name, replace=changed))
        faults = [
            "RECORD does not list stray.py",
            f"RECORD has a hash other than that of {stem}/__init__.py",
        ]
    refused = publish(project)
    assert "400" in refused.failed()
    said = readable(name, refused, of_file=True)
    assert not said or [fault for fault in faults if fault not in said] == []
    assert uploaded(stocked, project.name) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_what_a_backend_builds_is_uploaded_and_installed(
    publish: Callable[..., Called],
    client: Callable[[str], Client],
    stocked: StockedStore,
    tmp_path: Path,
    name: str,
) -> None:
    project = make_project(tmp_path, f"built-{name}", backend=BACKENDS[name], dependencies="")
    if name != "flit":
        script = BUILD.format(backend=BACKENDS[name])
        client(name).call("python", "-c", script, folder=project).succeeded()
    publish(project).succeeded()
    assert len(uploaded(stocked, project.name)) == 2
    pip = new_installer("pip", versions_of("pip")[-1], folder=tmp_path / "environment", home=tmp_path)
    pip.call("pip", "install", "--index-url", stocked.index(), project.name).succeeded()
    assert installed_in(pip) == {project.name: "1.0"}


@pytest.mark.parametrize("name", ["uv"])
def test_uv_asks_the_index_what_is_there_before_it_uploads(
    client: Callable[[str], Client], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    """``--check-url``: files that are there are not sent; the same name with other bytes is an error."""
    project = make_project(tmp_path, "checked", backend=FLIT)
    put(project, *release(project.name))
    upload_url = f"{stocked.running.url}/unstable/legacy/"
    options = f"--publish-url {upload_url} --check-url {stocked.index()}"
    variables = {"UV_PUBLISH_TOKEN": stocked.token}
    for sent in (2, 0):
        with stocked.watched() as seen:
            client(name).play(f"uv publish {options}", folder=project, variables=variables).succeeded()
        assert [line["status"] for line in seen.lines if line["method"] == "POST"] == [200] * sent
    put(project, make_wheel(project.name, extra={"more.py": b""}))
    refused = client(name).play(f"uv publish {options}", folder=project, variables=variables).failed()
    assert "Local file and index file do not match" in refused


@pytest.mark.parametrize("name", ["uv"])
def test_attestations_beside_the_files_are_uploaded_with_them(
    publish: Callable[..., Called], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    """Without being told: what stands in ``FILE.publish.attestation`` is served as its provenance."""
    project = make_project(tmp_path, "attested", backend=FLIT)
    made = make_wheel(project.name)
    put(project, made)
    attestation = make_attestation(made)
    path = project / "dist" / f"{made.filename}.publish.attestation"
    path.write_text(json.dumps(attestation))
    publish(project).succeeded()
    provenance = stocked.running.get(f"/packages/{made.sha256}/{made.filename}.provenance").json()
    assert provenance["attestation_bundles"][0]["attestations"] == [attestation]


@pytest.mark.parametrize("name", ["twine", "flit", "hatch"])
def test_credentials_are_read_from_pypirc(
    client: Callable[[str], Client], stocked: StockedStore, tmp_path: Path, name: str
) -> None:
    """A person's name and password, under the name that the file gives the store."""
    project = make_project(tmp_path, f"pypirc-{name}", backend=FLIT)
    if name != "flit":
        put(project, make_wheel(project.name))
    url = f"{stocked.running.url}/unstable/legacy/"
    account = f"repository = {url}\nusername = admin\npassword = {ADMIN_PASSWORD}\n"
    (tmp_path / ".pypirc").write_text(f"[distutils]\nindex-servers =\n    house\n[house]\n{account}")
    commands = {
        "twine": ("twine", "upload", "--non-interactive", "--repository", "house"),
        "flit": ("flit", "--repository", "house", "publish"),
        "hatch": ("hatch", "publish", "--repo", url),
    }
    files = [str(path) for path in (project / "dist").iterdir()] if name in ("twine", "hatch") else []
    client(name).call(*commands[name], *files, folder=project).succeeded()
    assert uploaded(stocked, project.name)
