"""Documentation of releases: by the classic form and by the API, checked like a distribution."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from urllib3.filepost import encode_multipart_formdata

from conveyor.cli import run
from conveyor.client.store import connect
from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.documentation import check_documentation
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.errors import Conflict, InvalidDistribution, NotFound
from distributions_made import make_wheel
from makers import ADMIN_PASSWORD, copy_prepared_store
from running_stores import running_store, serve_environment
from server.test_large_uploads import GROWTH_BYTES, peaks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import urllib3

    from conveyor.client.store import StoreClient
    from running_stores import RunningStore

ADMIN = {"authorization": "Basic " + base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()}
MEBIBYTE = 1024 * 1024
LIMIT_BYTES = 36 * MEBIBYTE
PAGES = {"index.html": b"<h1>demo</h1>", "api/core.html": b"core"}


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes], link: str | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link is not None:
            member = tarfile.TarInfo("link.html")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return stream.getvalue()


def check(content: bytes) -> str:
    return check_documentation(io.BytesIO(content), size_bytes=len(content), limits=ArchiveLimits())


@pytest.mark.parametrize(("content", "expected"), [(packed(PAGES), "zip"), (tarred(PAGES), "tar.gz")])
def test_zip_and_tar_are_taken(content: bytes, expected: str) -> None:
    assert check(content) == expected


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "zip"),
        (b"\x1f\x8bno", "gzip"),
        (packed({"html/index.html": b""}), "no index.html at its top"),
        (packed({**PAGES, "../evil.html": b""}), "has '..' in its path"),
        (packed({**PAGES, "/etc/evil": b""}), "has an absolute path"),
        (packed({**PAGES, "zeros": bytes(80_000_000)}), "over 50 times its own"),
        (packed(PAGES)[:-9], ""),
        (tarred(PAGES, "index.html"), "is a link, and documentation has none"),
        (tarred(PAGES, "../../etc/passwd"), "may leave the archive"),
        (gzip.compress(bytes(80_000_000)), ""),
    ],
)
def test_archives_that_are_dangerous_or_useless_are_refused(content: bytes, fault: str) -> None:
    with pytest.raises(InvalidDistribution) as refused:
        check(content)
    assert any(fault in one for one in refused.value.faults), refused.value.faults
    is_wrongly_packed = any("no index.html" in one for one in refused.value.faults)
    assert ("not the folder" in (refused.value.hint or "")) == is_wrongly_packed


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    data = tmp_path_factory.mktemp("docs") / "store"
    copy_prepared_store(data)
    environment = serve_environment(CONVEYOR_DOCS_LIMIT_BYTES=str(LIMIT_BYTES))
    with running_store(data, environment=environment) as served:
        yield served


@pytest.fixture(scope="module")
def admin(store: RunningStore) -> Iterator[StoreClient]:
    answer = store.request("POST", "/api/v1/tokens", json={"user": "admin"}, headers=ADMIN)
    with connect(store.url, token=answer.json()["token"]) as client:
        client.indexes.add(NewIndex("released", mode="promotion-only"))
        client.indexes.add(NewIndex("entry", mode="uploads", bases=("released",)))
        yield client


def released(admin: StoreClient, folder: Path, name: str) -> None:
    admin.files.upload("entry", make_wheel(name).write(folder))


def send(store: RunningStore, content: bytes, **fields: str) -> urllib3.BaseHTTPResponse:
    """As setuptools' upload_docs and devpi send it."""
    form: dict[str, str | tuple[str, bytes]] = {":action": "doc_upload", "content": ("docs.zip", content)}
    form.update(fields)
    body, kind = encode_multipart_formdata(list(form.items()))
    return store.request("POST", "/entry/legacy/", body=body, headers={**ADMIN, "Content-Type": kind})


def test_documentation_comes_by_the_classic_form_and_is_read_again(
    store: RunningStore, admin: StoreClient, tmp_path: Path
) -> None:
    released(admin, tmp_path, "demo")
    content = packed(PAGES)
    answer = send(store, content, name="Demo", version="1.0")
    assert answer.data.decode() == 'the documentation of demo 1.0 is in index "entry"\n'
    assert send(store, content, name="Demo", version="1.0").status == 200
    told = store.get("/api/v1/projects/demo/releases/1.0/docs").json()
    assert (told["format"], told["size"]) == ("zip", len(content))
    archive = store.get(told["url"])
    assert (archive.data, archive.headers["content-type"]) == (content, "application/zip")


def test_documentation_may_be_replaced_until_the_first_promotion(
    store: RunningStore, admin: StoreClient, tmp_path: Path
) -> None:
    released(admin, tmp_path, "replaced")
    for number, content in enumerate((packed(PAGES), tarred(PAGES))):
        path = tmp_path / str(number)
        path.write_bytes(content)
        admin.files.upload_docs("entry", "replaced", "1.0", path)
    assert store.get("/api/v1/projects/replaced/releases/1.0/docs").json()["format"] == "tar.gz"
    token = store.request("POST", "/api/v1/tokens", json={"user": "admin"}, headers=ADMIN).json()["token"]
    again = ["store", "docs", "replaced", "1.0", str(tmp_path / "1"), "--url", store.url, "--token", token]
    assert run(again) == 0
    admin.releases.promote("replaced", "1.0", to="released")
    admin.files.upload_docs("entry", "replaced", "1.0", tmp_path / "1")
    with pytest.raises(Conflict, match="its documentation stays"):
        admin.files.upload_docs("entry", "replaced", "1.0", tmp_path / "0")


def test_documentation_comes_by_the_api(store: RunningStore, admin: StoreClient, tmp_path: Path) -> None:
    released(admin, tmp_path, "byapi")
    path = "/api/v1/projects/byapi/releases/1.0/docs"
    assert store.get(path).status == 404
    answer = store.request("POST", f"{path}?index=entry", body=packed(PAGES), headers=ADMIN)
    assert (answer.status, answer.json()["version"]) == (201, "1.0")
    assert store.get(f"{path}/archive").data == packed(PAGES)


def test_large_documentation_is_taken_and_given_in_constant_memory(
    store: RunningStore, admin: StoreClient, tmp_path: Path
) -> None:
    released(admin, tmp_path, "large")
    content = packed({**PAGES, "zeros": bytes(LIMIT_BYTES - MEBIBYTE)}, zipfile.ZIP_STORED)
    path = "/api/v1/projects/large/releases/1.0/docs"
    before = peaks(store, is_reset=True)
    answer = store.request("POST", f"{path}?index=entry", body=content, headers=ADMIN)
    assert (answer.status, answer.json()["size"]) == (201, len(content))
    assert hashlib.sha256(store.get(f"{path}/archive").data).hexdigest() == answer.json()["sha256"]
    head = store.request("HEAD", f"{path}/archive")
    assert (head.status, head.headers["content-length"], head.data) == (200, str(len(content)), b"")
    now = peaks(store)
    assert max(now[pid] - before[pid] for pid in now) < GROWTH_BYTES


def test_documentation_over_the_limit_is_refused_at_every_door(
    store: RunningStore, admin: StoreClient, tmp_path: Path
) -> None:
    released(admin, tmp_path, "toolarge")
    content = packed({**PAGES, "zeros": bytes(LIMIT_BYTES)}, zipfile.ZIP_STORED)
    path = "/api/v1/projects/toolarge/releases/1.0/docs?index=entry"
    announced = store.request("POST", path, body=content, headers=ADMIN)
    pieces = (content[start : start + MEBIBYTE] for start in range(0, len(content), MEBIBYTE))
    counted = store.request("POST", path, body=pieces, headers=ADMIN, chunked=True)
    by_form = send(store, content, name="toolarge", version="1.0")
    for answer in (announced, counted, by_form):
        assert (answer.status, b"CONVEYOR_DOCS_LIMIT_BYTES" in answer.data) == (413, True)
    assert store.get(path.partition("?")[0]).status == 404


def test_documentation_of_strangers_is_not_read(store: RunningStore, admin: StoreClient) -> None:
    wanted = {"user": "admin", "scopes": ["upload"], "projects": ["other"]}
    token = store.request("POST", "/api/v1/tokens", json=wanted, headers=ADMIN).json()
    refused = store.request(
        "POST",
        "/api/v1/projects/demo/releases/1.0/docs?index=entry",
        body=bytes(LIMIT_BYTES + MEBIBYTE),
        headers={"authorization": f"Bearer {token['token']}"},
    )
    assert refused.status == 403, "the right is asked before the size"


def test_refusals_of_documentation_say_why(store: RunningStore, admin: StoreClient, tmp_path: Path) -> None:
    released(admin, tmp_path, "refused")
    assert b"which version" in send(store, packed(PAGES), name="refused").data
    bad = send(store, packed({"x.html": b""}), name="refused", version="1.0")
    assert (bad.status, b"no index.html" in bad.data) == (400, True)
    with pytest.raises(NotFound, match="no file of unheard"):
        admin.files.upload_docs("entry", "unheard", "1.0", make_path(tmp_path))
    stranger = store.request(
        "POST", "/api/v1/projects/refused/releases/1.0/docs?index=entry", body=packed(PAGES)
    )
    assert stranger.status == 401


def make_path(folder: Path) -> Path:
    path = folder / "docs.zip"
    path.write_bytes(packed(PAGES))
    return path
