"""Yanking, deleting and giving a status over HTTP: through the client, and as the document describes it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from urllib3.util import make_headers

from conforming import faults_of
from conveyor.client.store import StoreClient, connect
from conveyor.domain.indexes.projects import StatusOfProject
from conveyor.domain.indexes.withdrawals import Yank, YankedFile
from conveyor.domain.people.access import NewToken
from conveyor.errors import Conflict, Forbidden, Gone, InvalidInput, NotFound, Unauthorized
from distributions_made import make_sdist, make_wheel
from makers import ADMIN_PASSWORD
from running_stores import running_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_stores import RunningStore

ADMIN = make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("own") / "store") as served:
        yield served


@pytest.fixture(scope="module")
def admin(store: RunningStore) -> Iterator[StoreClient]:
    made = store.request("POST", "/api/v1/tokens", json={"user": "admin"}, headers=ADMIN)
    with connect(store.url, token=made.json()["token"]) as client:
        yield client


@pytest.fixture
def project(admin: StoreClient, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A project of this test's own, with a wheel and an sdist in "unstable"."""
    name = "p" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    for made in (make_wheel(name), make_sdist(name)):
        admin.files.upload("unstable", made.write(tmp_path))
    return name


def shown(store: RunningStore, project: str) -> dict[str, Any]:
    page = store.get(f"/unstable/simple/{project}/?format=application/vnd.pypi.simple.v1%2Bjson").json()
    return {file["filename"]: file["yanked"] for file in page["files"]}


def test_client_yanks_and_takes_it_back(store: RunningStore, admin: StoreClient, project: str) -> None:
    wheel, sdist = make_wheel(project).filename, make_sdist(project).filename
    yank = admin.releases.yank(project, "1.0", filename=wheel, reason="no, <this>")
    assert yank == Yank(project, "1.0", True, "no, <this>", (YankedFile("unstable", wheel),))
    assert shown(store, project) == {wheel: "no, <this>", sdist: False}
    undone = admin.releases.unyank(project, "1.0", index="unstable", filename=wheel)
    assert (undone.is_yanked, undone.reason) == (False, None)
    assert not any(shown(store, project).values())
    with pytest.raises(NotFound):
        admin.releases.yank(project, "1.0", index="stable")


def test_client_deletes(store: RunningStore, admin: StoreClient, project: str, tmp_path: Path) -> None:
    wheel, sdist = make_wheel(project), make_sdist(project)
    deletion = admin.projects.delete(project, "1.0", filename=wheel.filename)
    assert [file.filename for file in deletion.files] == [wheel.filename]
    assert list(shown(store, project)) == [sdist.filename]
    assert store.get(f"/packages/{wheel.sha256}/{wheel.filename}").status == Gone.http_status
    with pytest.raises(Conflict, match="was deleted from this store"):
        admin.files.upload("unstable", wheel.write(tmp_path))
    admin.projects.delete(project)
    assert store.get(f"/unstable/simple/{project}/").status == 404
    with pytest.raises(InvalidInput):
        admin.projects.delete(project, filename=sdist.filename)


def test_client_gives_a_status(store: RunningStore, admin: StoreClient, project: str, tmp_path: Path) -> None:
    assert admin.projects.status(project) == StatusOfProject(project, "active", None, is_known=True)
    archived = StatusOfProject(project, "archived", "done", is_known=True)
    assert admin.projects.set_status(project, "archived", reason="done") == archived
    with pytest.raises(Forbidden, match=r"is archived \(done\)"):
        admin.files.upload("unstable", make_wheel(project, "2.0").write(tmp_path))
    assert admin.projects.status(project.upper()) == archived


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("PUT", "/releases/{version}/yank", "", {"reason": "bad"}),
        ("DELETE", "/releases/{version}/yank", "?index=unstable", None),
        ("PUT", "/status", "", {"status": "deprecated", "reason": None}),
        ("GET", "/status", "", None),
        ("DELETE", "/releases/{version}/files/{filename}", "", None),
        ("DELETE", "/releases/{version}", "", None),
        ("DELETE", "", "", None),
    ],
)
def test_answer_is_as_the_document_describes_it(
    store: RunningStore, project: str, method: str, path: str, query: str, body: dict[str, Any] | None
) -> None:
    described = "/api/v1/projects/{project}" + path
    asked = described.format(project=project, version="1.0", filename=make_wheel(project).filename)
    answer = store.request(method, asked + query, json=body, headers=ADMIN)
    assert answer.status == 200, answer.data
    document = store.get("/api/v1/openapi.json").json()
    (found,) = document["paths"][described][method.lower()]["responses"]["200"]["content"].values()
    assert faults_of(answer.json(), found["schema"], document["components"]["schemas"]) == []


def test_strangers_and_readers_yank_nothing(store: RunningStore, admin: StoreClient, project: str) -> None:
    with connect(store.url) as stranger, pytest.raises(Unauthorized):
        stranger.releases.yank(project, "1.0")
    for scopes in (["read"], ["promote"]):
        with connect(
            store.url, token=admin.tokens.add(NewToken("admin", scopes=tuple(scopes))).secret
        ) as reader:
            for act in (reader.releases.yank, reader.releases.unyank):
                with pytest.raises(Forbidden):
                    act(project, "1.0")
    with connect(store.url, token=admin.tokens.add(NewToken("admin", scopes=("upload",))).secret) as uploader:
        assert uploader.releases.yank(project, "1.0").is_yanked
