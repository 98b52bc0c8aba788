"""Pages of the simple API, asked for through the server's handler over a real store."""

from __future__ import annotations

import asyncio
import gzip
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.people.access import NewToken
from conveyor.errors import MethodNotAllowed, NotFound, Unauthorized
from conveyor.operations.indexes.claims import claim_name
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.indexes.pages import find_page
from conveyor.operations.people.tokens import create_token
from conveyor.operations.releases.promotions import promote_release
from distributions_made import make_sdist, make_wheel
from makers import make_store
from readers import ACCEPT_JSON, ADMINISTRATOR, reading, upload

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.indexes.pages import FoundPage

PAGE = "/unstable/simple/demo/"


async def test_own_file_is_on_the_page_of_its_index_and_of_those_above_it(tmp_path: Path) -> None:
    wheel, sdist = make_wheel(), make_sdist()
    store = make_store(tmp_path)
    upload(store, wheel)
    upload(store, sdist)
    async with reading(store) as reader:
        answer = await reader.page("demo")
        below = await reader.page("demo", index="testing")
    files = {file["filename"]: file for file in answer.json["files"]}
    assert set(files) == {wheel.filename, sdist.filename}
    assert files[wheel.filename]["hashes"] == {"sha256": wheel.sha256}
    assert files[wheel.filename]["size"] == len(wheel.content)
    assert set(files[wheel.filename]["core-metadata"]) == {"sha256"}
    assert set(files[sdist.filename]["core-metadata"]) == {"sha256"}
    assert answer.json["meta"]["api-version"] == "1.4"
    assert answer.state["supplied_by"] == "unstable"
    assert isinstance(below.error, NotFound)


async def test_upload_is_visible_at_the_next_request_of_every_process(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as one, reading(store) as other:
        await one.page("demo")
        await other.page("demo")
        for minor in range(1, 5):
            upload(store, make_wheel(version=f"1.{minor}"))
            for reader in (one, other):
                versions = (await reader.page("demo")).json["versions"]
                assert versions == [f"1.{number}" for number in range(minor + 1)]


async def test_upload_while_a_page_is_made_leaves_no_form_of_it_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in review: the HTML kept from before the upload was joined to the JSON made after it."""
    store = make_store(tmp_path)
    upload(store, make_wheel(version="1.0"))
    late = [make_wheel(version="2.0")]

    def find_after_upload(*arguments: Any) -> FoundPage:
        if late:
            upload(store, late.pop())
        return find_page(*arguments)

    async with reading(store) as reader:
        await reader.get(PAGE, accept="text/html")
        monkeypatch.setattr("conveyor.server.mirror.mirroring.find_page", find_after_upload)
        made = await reader.page("demo")
        html = await reader.get(PAGE, accept="text/html")
    assert made.json["versions"] == ["1.0", "2.0"]
    assert b"demo-2.0-py3-none-any.whl" in html.body


async def test_page_is_made_once_for_many_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    made: list[str] = []

    def counted(*arguments: Any) -> FoundPage:
        made.append("page")
        return find_page(*arguments)

    monkeypatch.setattr("conveyor.server.mirror.mirroring.find_page", counted)
    async with reading(store) as reader:
        answers = await asyncio.gather(*(reader.page("demo") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert made == ["page"]


async def test_promoted_release_is_on_the_pages_of_both_indexes_at_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMINISTRATOR, NewIndex("open", mode="promotion-only"))
    create_index(store, ADMINISTRATOR, NewIndex("dev", mode="uploads", bases=("open",)))
    upload(store, make_wheel(), index="dev")
    async with reading(store) as reader:
        before = await reader.page("demo", index="dev")
        not_yet = await reader.page("demo", index="open")
        promote_release(store, ADMINISTRATOR, "demo", "1.0", to="open")
        after = await reader.page("demo", index="dev")
        there = await reader.page("demo", index="open")
    assert isinstance(not_yet.error, NotFound)
    assert before.state["supplied_by"] == "dev"
    assert after.state["supplied_by"] == there.state["supplied_by"] == "open"
    assert after.json["files"] == there.json["files"] == before.json["files"]


async def test_page_that_did_not_change_is_answered_304_for_its_etag(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as reader:
        first = await reader.page("demo")
        same = await reader.page("demo", if_none_match=first.headers["etag"])
        create_token(store, ADMINISTRATOR, NewToken("admin"))
        still = await reader.page("demo", if_none_match=first.headers["etag"])
        upload(store, make_wheel(version="2.0"))
        changed = await reader.page("demo", if_none_match=first.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    assert same.headers["cache-control"] == "no-cache"
    assert still.status == 304
    assert changed.status == 200


async def test_every_form_and_coding_has_an_etag_of_its_own(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for minor in range(20):
        upload(store, make_wheel(version=f"1.{minor}"))
    etags = set()
    async with reading(store) as reader:
        for accept in (ACCEPT_JSON, "application/vnd.pypi.simple.v1+html", "text/html"):
            plain = await reader.get(PAGE, accept=accept)
            gzipped = await reader.get(PAGE, accept=accept, accept_encoding="gzip, deflate")
            zstd = await reader.get(PAGE, accept=accept, accept_encoding="gzip, deflate, zstd")
            assert gzip.decompress(gzipped.body) == plain.body
            assert zstandard.decompress(zstd.body) == plain.body
            assert plain.headers["content-type"].startswith(accept)
            assert "content-encoding" not in plain.headers
            assert gzipped.headers["content-encoding"] == "gzip"
            assert zstd.headers["content-encoding"] == "zstd"
            for answer in (plain, gzipped, zstd):
                assert answer.headers["vary"] == "Accept, Accept-Encoding"
                assert answer.headers["content-length"] == str(len(answer.body))
                etags.add(answer.headers["etag"])
    assert len(etags) == 9
    assert all(etag.startswith('"') for etag in etags), "strong"


async def test_client_that_accepts_no_form_gets_406_and_the_forms(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as reader:
        header = await reader.get(PAGE, accept="image/png")
        parameter = await reader.get(f"{PAGE}?format=yaml")
    for answer in (header, parameter):
        assert answer.status == 406
        assert b"application/vnd.pypi.simple.v1+json" in answer.body


async def test_format_parameter_chooses_the_form(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as reader:
        answer = await reader.get(f"{PAGE}?format=application/vnd.pypi.simple.v1%2Bjson", accept="text/html")
    assert answer.headers["content-type"] == ACCEPT_JSON


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/unstable/simple", "simple/"),
        ("/unstable/simple/demo", "demo/"),
        ("/unstable/simple/De_Mo.x", "de-mo-x/"),
        ("/unstable/simple/De_Mo.x/", "../de-mo-x/"),
        ("/unstable/simple/DEMO/?format=a&b=c", "../demo/?format=a&b=c"),
        ("/unstable/simple?x=y", "simple/?x=y"),
    ],
)
async def test_other_spelling_is_sent_on_with_its_query(tmp_path: Path, path: str, location: str) -> None:
    async with reading(make_store(tmp_path)) as reader:
        answer = await reader.get(path)
    assert (answer.status, answer.headers["location"]) == (301, location)


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere/simple/",
        "/nowhere/simple/demo/",
        "/unstable/simple/demo/",
        "/unstable/simple/-demo/",
        "/unstable/simple/demo/more/",
        "/unstable/simple/%2e%2e/",
    ],
)
async def test_what_is_not_here_is_404(tmp_path: Path, path: str) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel("other"))
    claim_name(store, ADMINISTRATOR, "demo", upstream_has=False)
    async with reading(store) as reader:
        answer = await reader.get(path)
    assert isinstance(answer.error, NotFound)


async def test_head_says_what_get_would(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as reader:
        cold = await reader.get(PAGE, method="HEAD")
        get = await reader.get(PAGE)
        hot = await reader.get(PAGE, method="HEAD")
    assert cold.headers == get.headers == hot.headers
    assert cold.body == hot.body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_page_can_only_be_read(tmp_path: Path, method: str) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as reader:
        cold = await reader.get(PAGE, method=method)
        await reader.get(PAGE)
        hot = await reader.get(PAGE, method=method)
    for answer in (cold, hot):
        assert isinstance(answer.error, MethodNotAllowed)
        assert answer.error.allowed == ("GET", "HEAD")


async def test_list_of_projects_grows_with_uploads(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel("b-project"))
    async with reading(store) as reader:
        before = await reader.get("/unstable/simple/", accept=ACCEPT_JSON)
        upload(store, make_wheel("a-project"))
        after = await reader.get("/unstable/simple/", accept=ACCEPT_JSON)
        html = await reader.get("/unstable/simple/")
        empty = await reader.get("/stable/simple/", accept=ACCEPT_JSON)
    assert [project["name"] for project in before.json["projects"]] == ["b-project"]
    assert [project["name"] for project in after.json["projects"]] == ["a-project", "b-project"]
    assert b'<a href="a-project/">a-project</a>' in html.body
    assert empty.json["projects"] == []


async def test_private_index_is_for_those_who_may_read_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMINISTRATOR, NewIndex("risk/dev", mode="uploads", is_private=True))
    wheel = make_wheel()
    upload(store, wheel, index="risk/dev")
    token = create_token(store, ADMINISTRATOR, NewToken("admin", scopes=("read",))).secret
    elsewhere = create_token(
        store, ADMINISTRATOR, NewToken("admin", scopes=("read",), indexes=("unstable",))
    ).secret
    page, file = "/risk/dev/simple/demo/", f"/packages/{wheel.sha256}/{wheel.filename}"
    async with reading(store) as reader:
        for _ in range(2):  # cold, then from memory
            allowed = await reader.get(page, authorization=f"Bearer {token}", accept=ACCEPT_JSON)
            basic = b64encode(f"__token__:{token}".encode()).decode()
            allowed_file = await reader.get(file, authorization=f"Basic {basic}")
            anonymous = await reader.get(page)
            anonymous_file = await reader.get(file)
            other = await reader.get(page, authorization=f"Bearer {elsewhere}")
            other_file = await reader.get(file, authorization=f"Bearer {elsewhere}")
            assert allowed.headers["cache-control"] == "private, no-cache"
            assert allowed.json["files"][0]["url"].startswith("../../../../packages/")
            assert allowed.state["user"] == "admin"
            assert allowed_file.body == wheel.content
            assert allowed_file.headers["cache-control"].startswith("private")
            assert isinstance(anonymous.error, Unauthorized)
            assert isinstance(anonymous_file.error, Unauthorized)
            assert isinstance(other.error, NotFound)
            assert isinstance(other_file.error, NotFound)


async def test_wrong_credentials_are_refused_on_a_public_page_too(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as reader:
        await reader.get(PAGE)
        answer = await reader.get(PAGE, authorization="Bearer no-such-token")
    assert isinstance(answer.error, Unauthorized)


async def test_json_api_describes_our_own_release(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel(version="1.0"))
    upload(store, make_wheel(version="1.1"))
    upload(store, make_sdist(version="1.1"))
    async with reading(store) as reader:
        answer = await reader.get("/unstable/pypi/demo/json", host="store.example")
        release = await reader.get("/unstable/pypi/demo/1.0/json", host="store.example")
        same = await reader.get(
            "/unstable/pypi/demo/1.0/json", host="store.example", if_none_match=release.headers["etag"]
        )
        written = await reader.get("/unstable/pypi/demo/json", method="POST")
        nowhere = await reader.get("/unstable/pypi/demo")
    assert answer.json["info"]["name"] == "demo"
    assert answer.json["info"]["version"] == "1.1"
    assert [file["packagetype"] for file in answer.json["urls"]] == ["bdist_wheel", "sdist"]
    assert sorted(answer.json["releases"]) == ["1.0", "1.1"]
    assert release.json["info"]["version"] == "1.0"
    assert same.status == 304
    assert isinstance(written.error, MethodNotAllowed)
    assert isinstance(nowhere.error, NotFound)


async def test_page_for_browsers_runs_nothing_and_stands_in_no_frame(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    async with reading(store) as reader:
        html = await reader.get(PAGE, accept="text/html")
        names = await reader.get("/unstable/simple/", accept="text/html")
    for answer in (html, names):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
