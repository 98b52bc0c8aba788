"""What a private index shows, and to whom: nobody without the right learns even that it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.runs.queue import insert_run
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.people.access import NewToken
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.runs.states import NewRun
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.people.tokens import create_token
from conveyor.operations.people.users import add_user
from conveyor.operations.runs.repositories import add_repository
from conveyor.operations.store.store import record_change
from distributions_made import make_wheel
from makers import close_stores, make_store
from releases_made import ADMIN, publish
from running_stores import RunningStore, running_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import urllib3

    from conveyor.domain.people.access import Scope

JSON = "application/vnd.pypi.simple.v1+json"
SECRET, ABSENT = "team/secret", "team/absent"
HIDDEN, OTHER, DEMO = (make_wheel(name) for name in ("hidden", "others", "demo"))
NO_DIGEST = "0" * 64
PATHS = [
    "/INDEX/simple",
    "/INDEX/simple/",
    "/INDEX/simple/PROJECT/",
    "/INDEX/simple/PROJECT",
    "/INDEX/simple/PROJECT/?format=text/nonsense",
    "/INDEX/simple/-/",
    "/INDEX/simple/PROJECT/more",
    "/INDEX/pypi/PROJECT/json",
    "/INDEX/pypi/PROJECT/1.0/json",
    "/INDEX/pypi/PROJECT/1.x/json",
    "/packages/SHA256/PROJECT-1.0-py3-none-any.whl",
    "/packages/SHA256/PROJECT-1.0-py3-none-any.whl.metadata",
    "/packages/SHA256/PROJECT-1.0-py3-none-any.whl.provenance",
    "/api/v1/projects/PROJECT",
    "/api/v1/projects/PROJECT/status",
    "/api/v1/projects/PROJECT/releases/1.0",
    "/api/v1/projects/PROJECT/releases/1.0/verdicts?to=INDEX",
]
REPOSITORY = "https://git.team.example/hidden.git"


@dataclass(frozen=True)
class House:
    """A server with a private index, and tokens for it by what they may do."""

    running: RunningStore
    tokens: dict[str, str]

    def ask(
        self, path: str, who: str | None = None, *, method: str = "GET", **headers: str
    ) -> urllib3.BaseHTTPResponse:
        """One request by the owner of a token; ``None``: by a stranger."""
        known = {} if who is None else {"authorization": f"Bearer {self.tokens[who]}"}
        return self.running.request(method, path, headers={"accept": JSON, **known, **headers})

    def projects(self, who: str) -> list[str]:
        """The projects of the private index."""
        return [one["name"] for one in self.ask(f"/{SECRET}/simple/", who).json()["projects"]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """``hidden`` and ``others`` in the private ``team/secret``, whose base is ``plain`` with ``demo``."""
    folder = tmp_path_factory.mktemp("private") / "store"
    store = make_store(folder)
    create_index(store, ADMIN, NewIndex("plain", mode="uploads"))
    create_index(store, ADMIN, NewIndex(SECRET, mode="uploads", bases=("plain",), is_private=True))
    for made, index in ((HIDDEN, SECRET), (OTHER, SECRET), (DEMO, "plain")):
        publish(store, made, index=index)
    add_user(store, ADMIN, "ada", password=None, scopes=["read", "upload", "run"])

    def token(scope: Scope, **narrowing: tuple[str, ...]) -> str:
        asked = NewToken(
            "ada",
            scopes=(scope,),
            indexes=narrowing.get("indexes"),
            projects=narrowing.get("projects"),
        )
        return create_token(store, ADMIN, asked).secret

    tokens = {
        "reader": token("read"),
        "of hidden": token("read", projects=("hidden",)),
        "of plain": token("read", indexes=("plain",)),
        "uploader": token("upload"),
        "runner": token("run"),
    }
    add_repository(store, ADMIN, NewRepository("hidden", REPOSITORY))
    with record_change(store, actor="admin") as change:  # stores have such runs from before they were refused
        asked = NewRun(REPOSITORY, "main", SECRET)
        insert_run(change.connection, asked, requested_by="admin", requested_at=change.at)
        change.event("request-run", index=SECRET, detail={"run": 1})
    close_stores()
    with running_store(folder) as running:
        there = House(running, tokens)
        for path in PATHS[:3]:  # some of it lies in memory, some does not
            assert there.ask(_existing(path), "reader").status in (200, 301)
        assert there.ask(f"/packages/{HIDDEN.sha256}/{HIDDEN.filename}", "reader").status == 200
        yield there


def _existing(path: str) -> str:
    return path.replace("INDEX", SECRET).replace("PROJECT", "hidden").replace("SHA256", HIDDEN.sha256)


def _absent(path: str) -> str:
    return path.replace("INDEX", ABSENT).replace("PROJECT", "absent").replace("SHA256", NO_DIGEST)


def _told(answer: urllib3.BaseHTTPResponse, path: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body, with the names of the path replaced."""
    body = answer.data.decode()
    for name, of_all in ((SECRET, ABSENT), ("hidden", "absent"), (HIDDEN.sha256, NO_DIGEST)):
        body = body.replace(name, of_all)
    return answer.status, {key: value for key, value in answer.headers.items() if key != "date"}, body


@pytest.mark.parametrize("path", PATHS)
def test_strangers_are_asked_who_they_are_whether_it_is_there_or_not(house: House, path: str) -> None:
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"range": "bytes=0-9"})):
        there = house.ask(_existing(path), method=method, **headers)
        absent = house.ask(_absent(path), method=method, **headers)
        assert there.status == 401
        assert there.headers["www-authenticate"] == 'Basic realm="conveyor"'
        assert _told(there, path) == _told(absent, path)


@pytest.mark.parametrize("who", ["uploader", "of plain"])
@pytest.mark.parametrize("path", PATHS)
def test_callers_without_the_right_are_told_the_same_of_what_is_there_and_what_is_not(
    house: House, path: str, who: str
) -> None:
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"range": "bytes=0-9"})):
        there = house.ask(_existing(path), who, method=method, **headers)
        absent = house.ask(_absent(path), who, method=method, **headers)
        assert there.status == 404
        assert _told(there, path) == _told(absent, path)


@pytest.mark.parametrize("who", [None, "of plain", "reader"])
def test_upload_tells_those_without_the_right_nothing_of_the_index(house: House, who: str | None) -> None:
    there, absent = (house.ask(f"/{index}/legacy/", who, method="POST") for index in (SECRET, ABSENT))
    assert there.status == (401 if who is None else 403)
    assert _told(there, "") == _told(absent, "")


def test_public_index_is_open_to_strangers_as_before(house: House) -> None:
    page = house.ask("/plain/simple/demo/")
    assert (page.status, page.headers["cache-control"]) == (200, "no-cache")
    assert house.ask(f"/packages/{DEMO.sha256}/{DEMO.filename}").status == 200
    for path in ("/plain/simple/absent/", f"/packages/{DEMO.sha256}/{DEMO.filename}.provenance"):
        assert house.ask(path).status == 404


def test_strangers_are_not_asked_who_they_are_where_everything_is_public(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as running:
        public = House(running, {})
        assert {public.ask(_absent(path)).status for path in PATHS} == {404}


def test_token_narrowed_to_a_project_reads_no_other_of_a_private_index(house: House) -> None:
    def statuses(who: str, project: str, sha256: str) -> set[int]:
        odd = ("more", "1.x", "provenance", "nonsense")
        asked = [
            path.replace("INDEX", SECRET).replace("PROJECT", project).replace("SHA256", sha256)
            for path in PATHS
            if "PROJECT" in path and not path.endswith("PROJECT") and not any(word in path for word in odd)
        ]
        asked.append(f"/api/v1/projects/{project}")
        return {house.ask(path.replace(f"to={SECRET}", "to=plain"), who).status for path in asked}

    assert statuses("of hidden", "others", OTHER.sha256) == {404}
    assert statuses("of hidden", "hidden", HIDDEN.sha256) <= {200, 301, 409}
    assert statuses("reader", "others", OTHER.sha256) <= {200, 301, 409}
    assert statuses("of hidden", "others", OTHER.sha256) == {404}
    assert house.projects("reader") == ["demo", "hidden", "others"]
    assert house.projects("of hidden") == ["demo", "hidden"]
    assert house.projects("reader") == ["demo", "hidden", "others"]


def test_narrowed_token_installs_what_is_public_through_the_private_index_too(house: House) -> None:
    for _ in range(2):
        files = house.ask(f"/{SECRET}/simple/demo/", "of hidden").json()["files"]
        assert [file["filename"] for file in files] == [DEMO.filename]


def test_runs_of_a_private_project_are_seen_by_those_who_read_it_or_start_runs(house: House) -> None:
    for who, is_seen in (("reader", True), ("of hidden", True), ("runner", True), ("of plain", False)):
        listed = house.ask("/api/v1/runs", who).json()["runs"]
        assert [run["repository"] for run in listed] == ([REPOSITORY] if is_seen else [])
        assert house.ask("/api/v1/runs/1", who).status == (200 if is_seen else 404)
    there, absent = house.ask("/api/v1/runs/1", "of plain"), house.ask("/api/v1/runs/2", "of plain")
    assert there.data.replace(b"run 1", b"run 2") == absent.data
    assert house.ask("/api/v1/runs").status == house.ask("/api/v1/runs/2").status == 401
