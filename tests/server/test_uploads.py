"""Uploads over HTTP, to a store that serves."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest
from urllib3.filepost import encode_multipart_formdata

from attestations_made import make_attestation
from distributions_made import Made, core_metadata, make_sdist, make_wheel
from makers import ADMIN_PASSWORD
from running_stores import RunningStore, running_store, serve_environment
from upstreams import running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    import urllib3

    from upstreams import RunningUpstream

FILE_LIMIT_BYTES = 3_000_000


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


ADMIN = basic("admin", ADMIN_PASSWORD)


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, upstream: RunningUpstream) -> Iterator[RunningStore]:
    environment = serve_environment(
        PIP_INDEX_URL=upstream.url, CONVEYOR_FILE_LIMIT_BYTES=str(FILE_LIMIT_BYTES)
    )
    with running_store(tmp_path_factory.mktemp("uploads") / "store", environment=environment) as running:
        yield running


def body_of(made: Made, **form: list[str]) -> tuple[bytes, str]:
    fields = {**made.form, **form}
    pairs: list[tuple[str, Any]] = [(name, value) for name, values in fields.items() for value in values]
    return encode_multipart_formdata([*pairs, ("content", (made.filename, made.content))])


def upload(
    store: RunningStore,
    made: Made,
    *,
    path: str = "/unstable/legacy/",
    headers: dict[str, str] | None = None,
    **form: list[str],
) -> urllib3.BaseHTTPResponse:
    body, content_type = body_of(made, **form)
    sent = {"Content-Type": content_type, **(ADMIN if headers is None else headers)}
    return store.request("POST", path, body=body, headers=sent)


def said(answer: urllib3.BaseHTTPResponse) -> str:
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return answer.data.decode()


def make_user(store: RunningStore, name: str, *scopes: str) -> dict[str, str]:
    body = json.dumps({"name": name, "password": "a long enough password", "scopes": list(scopes)})
    answer = store.request("POST", "/api/v1/users", body=body, headers=ADMIN)
    assert answer.status == 201, answer.data
    return basic(name, "a long enough password")


@pytest.mark.parametrize("path", ["/unstable/legacy/", "/unstable/legacy"])
def test_upload_is_visible_at_once_with_and_without_the_last_slash(store: RunningStore, path: str) -> None:
    made = make_wheel(f"visible{len(path)}")
    answer = upload(store, made, path=path)
    assert (answer.status, said(answer)) == (200, f'{made.filename} is in index "unstable"\n')
    page = store.get(f"/unstable/simple/visible{len(path)}/", Accept="application/vnd.pypi.simple.v1+json")
    (file,) = page.json()["files"]
    assert file["hashes"]["sha256"] == made.sha256
    assert store.get(f"/packages/{made.sha256}/{made.filename}").data == made.content


def test_identical_file_again_is_200_and_other_content_409(store: RunningStore) -> None:
    made = make_wheel("again")
    assert upload(store, made).status == 200
    answer = upload(store, made)
    assert (answer.status, said(answer)) == (200, f'{made.filename} was already in index "unstable"\n')
    refused = upload(store, make_wheel("again", extra={"again/x.py": b"1"}))
    assert refused.status == 409
    assert said(refused).startswith(f'{made.filename} already exists in index "unstable" with other content')


def test_all_faults_are_answered_one_per_line(store: RunningStore) -> None:
    made = make_wheel(
        "faulty",
        metadata=core_metadata("faulty", requires_python="three"),
        replace={"faulty/__init__.py": b"changed"},
    )
    answer = upload(store, made, version=["2.0"])
    assert answer.status == 400
    assert said(answer).splitlines() == [
        "faulty-1.0-py3-none-any.whl is refused for 4 faults",
        "the form field version is '2.0', but the filename says '1.0' [form-filename]",
        "RECORD has a hash other than that of faulty/__init__.py [record-hash]",
        "RECORD has a size other than that of faulty/__init__.py [record-hash]",
        "METADATA: 'three' is invalid for 'requires-python' [metadata-syntax]",
    ]


def test_unknown_fields_and_signatures_break_nothing(store: RunningStore) -> None:
    answer = upload(store, make_wheel("extras"), gpg_signature=["x"], unheard_of=["x"] * 50)
    assert answer.status == 200


def test_attestations_are_checked_and_served_beside_the_file(store: RunningStore) -> None:
    made = make_wheel("attested")
    wrong = upload(store, made, attestations=['[{"version": 1}]'])
    assert (wrong.status, "attestation 1: envelope is missing" in said(wrong)) == (400, True)
    attestation = make_attestation(made)
    assert upload(store, made, attestations=[json.dumps([attestation])]).status == 200
    page = store.get("/unstable/simple/attested/", Accept="application/vnd.pypi.simple.v1+json")
    (file,) = page.json()["files"]
    assert urljoin(f"{store.url}/unstable/simple/attested/", file["provenance"]) == (
        f"{store.url}/packages/{made.sha256}/{made.filename}.provenance"
    )
    provenance = store.get(f"/packages/{made.sha256}/{made.filename}.provenance").json()
    assert provenance["attestation_bundles"][0]["attestations"] == [attestation]


@pytest.mark.parametrize("index", ["stable", "testing", "pypi"])
def test_indexes_without_uploads_say_so_to_the_administrator(store: RunningStore, index: str) -> None:
    answer = upload(store, make_wheel(), path=f"/{index}/legacy/")
    assert answer.status == 403
    assert "accepts no upload" in said(answer)
    assert 'upload to "unstable"' in said(answer)


def test_unknown_index_is_404(store: RunningStore) -> None:
    assert upload(store, make_wheel(), path="/nowhere/legacy/").status == 404
    assert upload(store, make_wheel(), path="/unstable/legacy/more").status == 404


def test_other_methods_than_post_are_405(store: RunningStore) -> None:
    for method in ("GET", "PUT"):
        answer = store.request(method, "/unstable/legacy/", headers=ADMIN)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_strangers_are_401_with_a_challenge_and_the_powerless_403(store: RunningStore) -> None:
    for headers in ({}, basic("admin", "wrong"), basic("__token__", "conveyor-wrong")):
        answer = upload(store, make_wheel(), headers=headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    reader = make_user(store, "reader", "read")
    answer = upload(store, make_wheel(), headers=reader)
    assert (answer.status, "lacks the scope upload" in said(answer)) == (403, True)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://["])
def test_page_of_another_site_uploads_nothing_with_a_browsers_credentials(
    store: RunningStore, origin: str
) -> None:
    made = make_wheel("forged")
    answer = upload(store, made, headers={**ADMIN, "Origin": origin})
    assert (answer.status, said(answer).splitlines()[0]) == (
        403,
        "a page of another site cannot change anything here",
    )
    assert upload(store, made, headers={**ADMIN, "Origin": store.url}).status == 200


def test_name_is_claimed_by_its_first_upload_after_upstream_was_asked(
    store: RunningStore, upstream: RunningUpstream
) -> None:
    claimer = make_user(store, "claimer", "upload", "claim")
    uploader = make_user(store, "uploader", "upload")
    upstream.add_html("popular", [make_wheel("popular", "9.0")])
    refused = upload(store, make_wheel("popular"), headers=claimer)
    assert (refused.status, "upstream has a project of that name" in said(refused)) == (403, True)
    assert upload(store, make_wheel("own"), headers=uploader).status == 403
    assert upload(store, make_wheel("own"), headers=claimer).status == 200
    assert upstream.asked("/simple/own/") == 1
    assert upload(store, make_sdist("own"), headers=uploader).status == 200
    assert upload(store, make_wheel("popular")).status == 200, "an administrator may"
    page = store.get("/unstable/simple/popular/", Accept="application/vnd.pypi.simple.v1+json")
    assert page.json()["versions"] == ["1.0"], "an own name is never mixed with upstream's"


def test_upstream_that_fails_lets_nobody_claim(store: RunningStore, upstream: RunningUpstream) -> None:
    from upstreams import Served

    upstream.paths["/simple/doubtful/"] = Served(status=500)
    claimer = make_user(store, "claimer-2", "upload", "claim")
    answer = upload(store, make_wheel("doubtful"), headers=claimer)
    assert answer.status == 502
    assert "ask an administrator to claim the name" in said(answer)
    del upstream.paths["/simple/doubtful/"]
    assert upload(store, make_wheel("doubtful"), headers=claimer).status == 200


def big_wheel(name: str, size_bytes: int) -> Made:
    """A wheel with a member of so many bytes that do not compress."""
    content = hashlib.shake_128(name.encode()).digest(size_bytes)
    return make_wheel(name, extra={f"{name}/data.bin": content})


def test_file_that_comes_in_many_pieces_is_whole(store: RunningStore) -> None:
    made = big_wheel("big", 2_500_000)
    assert upload(store, made).status == 200
    assert store.get(f"/packages/{made.sha256}/{made.filename}").data == made.content


def test_file_over_the_limit_is_413_by_its_announcement_and_by_its_size(store: RunningStore) -> None:
    made = big_wheel("huge", FILE_LIMIT_BYTES + 100)
    body, content_type = body_of(made)
    answer = upload(store, made)
    assert (answer.status, "more than 3,000,000 bytes" in said(answer)) == (413, True)
    chunks = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    headers = {**ADMIN, "Content-Type": content_type}
    unannounced = store.request("POST", "/unstable/legacy/", body=iter(chunks), headers=headers)
    assert unannounced.status == 413
    assert list((store.data / "blobs" / "temporary").iterdir()) == []


def test_body_that_is_no_form_is_400(store: RunningStore) -> None:
    headers = {**ADMIN, "Content-Type": "application/json"}
    answer = store.request("POST", "/unstable/legacy/", body=b"{}", headers=headers)
    assert (answer.status, "multipart/form-data" in said(answer)) == (400, True)
    body, content_type = body_of(make_wheel())
    cut = store.request(
        "POST", "/unstable/legacy/", body=body[:-20], headers={**ADMIN, "Content-Type": content_type}
    )
    assert (cut.status, "cut off" in said(cut)) == (400, True)


def test_chunked_body_is_accepted(store: RunningStore) -> None:
    body, content_type = body_of(make_wheel("chunked"))
    headers = {**ADMIN, "Content-Type": content_type}
    answer = store.request("POST", "/unstable/legacy/", body=iter([body[:50], body[50:]]), headers=headers)
    assert answer.status == 200


@contextmanager
def connected(store: RunningStore) -> Iterator[socket.socket]:
    parts = urlsplit(store.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        yield connection


def head_of(content_type: str, length: int, **headers: str) -> bytes:
    lines = {
        "Host": "store",
        "Content-Type": content_type,
        "Content-Length": str(length),
        "Connection": "close",
        **headers,
    }
    return (
        "POST /unstable/legacy/ HTTP/1.1\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        + "\r\n"
    ).encode()


def test_client_that_waits_for_permission_is_given_it_or_the_refusal(store: RunningStore) -> None:
    body, content_type = body_of(make_wheel("polite"))
    with connected(store) as connection:
        connection.sendall(head_of(content_type, len(body), Expect="100-continue", **ADMIN))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
    with connected(store) as connection:
        connection.sendall(head_of(content_type, len(body), Expect="100-continue"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_client_that_sends_everything_first_hears_why_it_was_refused(store: RunningStore) -> None:
    made = big_wheel("patient", 2_500_000)
    answer = upload(store, made, headers=basic("admin", "wrong"))
    assert (answer.status, "wrong" in said(answer)) == (401, True)


def test_client_that_goes_away_leaves_nothing(store: RunningStore) -> None:
    made = big_wheel("leaving", 2_500_000)
    body, content_type = body_of(made)
    with connected(store) as connection:
        connection.sendall(head_of(content_type, len(body), **ADMIN) + body[:2_000_000])
    assert upload(store, make_wheel("staying")).status == 200
    assert store.get("/unstable/simple/leaving/").status == 404
    for _ in range(100):
        if not list((store.data / "blobs" / "temporary").iterdir()):
            break
        time.sleep(0.05)
    assert list((store.data / "blobs" / "temporary").iterdir()) == []


def test_uploader_is_in_the_access_log(store: RunningStore) -> None:
    upload(store, make_wheel("logged"))
    line = next(line for line in reversed(store.logged()) if line["method"] == "POST")
    assert (line["path"], line["status"], line["user"]) == ("/unstable/legacy/", 200, "admin")


def test_index_below_a_team_takes_uploads(store: RunningStore) -> None:
    body = json.dumps({"name": "risk/dev", "mode": "uploads", "bases": ["stable"]})
    assert store.request("POST", "/api/v1/indexes", body=body, headers=ADMIN).status == 201
    assert upload(store, make_wheel("teamwork"), path="/risk/dev/legacy/").status == 200
    assert store.get("/risk/dev/simple/teamwork/").status == 200
