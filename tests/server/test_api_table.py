"""What holds for every endpoint of the API, asked of a real server, endpoint by endpoint."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.words.records import schema_of
from conveyor.server.api.endpoints import MAX_BODY_BYTES
from conveyor.server.api.routes import ENDPOINTS
from makers import ADMIN_PASSWORD
from running_stores import running_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.server.api.endpoints import Endpoint
    from running_stores import RunningStore


def body_of(endpoint: Endpoint) -> dict[str, Any]:
    """The schema of its body."""
    return schema_of(endpoint.body) if endpoint.body is not None else {}


ADMIN = {"authorization": "Basic " + base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()}
GUARDED = [one for one in ENDPOINTS if one.right not in (None, "read")]
CHANGING = [one for one in GUARDED if one.method != "GET"]
WITH_BODY = [one for one in ENDPOINTS if one.body is not None]
REQUIRING = [one for one in WITH_BODY if body_of(one).get("required")]
REQUIRING_NOTHING = [one for one in WITH_BODY if one not in REQUIRING]
CLOSED = [one for one in WITH_BODY if body_of(one).get("additionalProperties") is False]


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def path_of(endpoint: Endpoint) -> str:
    """The endpoint's path with parameters that nothing has."""
    path = endpoint.path
    for name in re.findall(r"\{([a-z0-9_]+)\}", path):
        path = path.replace(f"{{{name}}}", "999" if name in endpoint.in_path else "1.0")
    query = "&".join(f"{name}=x" for name in endpoint.required_query)
    return f"/api/v1{path}" + (f"?{query}" if query else "")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("api") / "store") as served:
        yield served


@pytest.fixture(scope="module")
def reader(store: RunningStore) -> dict[str, str]:
    """Headers of somebody who may read and nothing else."""
    body = {"user": "admin", "scopes": ["read"]}
    made = store.request("POST", "/api/v1/tokens", json=body, headers=ADMIN)
    return {"authorization": f"Bearer {made.json()['token']}"}


@pytest.fixture(scope="module")
def document(store: RunningStore) -> dict[str, Any]:
    answer = store.get("/api/v1/openapi.json")
    assert answer.status == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("endpoint", GUARDED, ids=name_of)
def test_strangers_are_asked_who_they_are(store: RunningStore, endpoint: Endpoint) -> None:
    answer = store.request(endpoint.method, path_of(endpoint))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="conveyor"'
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["title"] == "Unauthorized"


@pytest.mark.parametrize("endpoint", GUARDED, ids=name_of)
def test_readers_may_change_nothing(store: RunningStore, endpoint: Endpoint, reader: dict[str, str]) -> None:
    answer = store.request(endpoint.method, path_of(endpoint), headers=reader)
    assert answer.status == 403
    assert answer.json()["title"] == "Forbidden"


@pytest.mark.parametrize("endpoint", REQUIRING, ids=name_of)
def test_empty_body_is_told_each_field_that_the_document_requires(
    store: RunningStore, endpoint: Endpoint
) -> None:
    answer = store.request(endpoint.method, path_of(endpoint), json={}, headers=ADMIN)
    assert answer.status == 400
    required = body_of(endpoint)["required"]
    assert {fault.split(" ")[0] for fault in answer.json()["faults"]} >= set(required)


@pytest.mark.parametrize("endpoint", REQUIRING_NOTHING, ids=name_of)
def test_empty_body_is_taken_where_the_document_requires_no_field(
    store: RunningStore, endpoint: Endpoint
) -> None:
    answer = store.request(endpoint.method, path_of(endpoint), json={}, headers=ADMIN)
    assert answer.status == 404  # nothing is wrong with it, but there is nothing of that name


@pytest.mark.parametrize("endpoint", CLOSED, ids=name_of)
def test_fields_that_are_not_described_are_refused(store: RunningStore, endpoint: Endpoint) -> None:
    schema = body_of(endpoint)
    body = {"nonsense": 1}
    answer = store.request(endpoint.method, path_of(endpoint), json=body, headers=ADMIN)
    assert answer.status == 400
    faults = answer.json().get("faults", [])
    assert any(fault.startswith("nonsense is unknown here") for fault in faults)
    known = next(fault for fault in faults if fault.startswith("nonsense")).partition("known: ")[2]
    assert set(known.rstrip(")").split(", ")) == set(schema["properties"])


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=name_of)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b"[" * 5000])
def test_body_that_is_no_json_object_is_refused(store: RunningStore, endpoint: Endpoint, body: bytes) -> None:
    answer = store.request(endpoint.method, path_of(endpoint), body=body, headers=ADMIN)
    assert answer.status == 400
    assert answer.json()["title"] == "InvalidInput"


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=name_of)
def test_body_over_the_limit_is_refused(store: RunningStore, endpoint: Endpoint) -> None:
    body = b'{"name": "' + b"x" * endpoint.max_body_bytes + b'"}'
    answer = store.request(endpoint.method, path_of(endpoint), body=body, headers=ADMIN)
    assert answer.status == 413


def test_body_that_does_not_say_its_length_is_counted(store: RunningStore) -> None:
    chunks = (b"x" * 65_536 for _ in range(MAX_BODY_BYTES // 65_536 + 2))
    answer = store.request("POST", "/api/v1/tokens", body=chunks, headers=ADMIN, chunked=True)
    assert answer.status == 413


@pytest.mark.parametrize("endpoint", CHANGING, ids=name_of)
def test_pages_of_other_sites_change_nothing(store: RunningStore, endpoint: Endpoint) -> None:
    headers = {**ADMIN, "origin": "https://evil.example"}
    answer = store.request(endpoint.method, path_of(endpoint), json={}, headers=headers)
    assert (answer.status, answer.json()["detail"]) == (
        403,
        "a page of another site cannot change anything here",
    )


def test_pages_of_this_store_may(store: RunningStore) -> None:
    headers = {**ADMIN, "origin": store.url}
    answer = store.request("POST", "/api/v1/tokens", json={"user": "admin"}, headers=headers)
    assert answer.status == 201


def test_unknown_paths_and_methods_are_problems_too(store: RunningStore) -> None:
    answer = store.get("/api/v1/nonsense")
    assert (answer.status, answer.json()["title"]) == (404, "NotFound")
    answer = store.request("PATCH", "/api/v1/users")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_answers_are_never_kept_by_caches(store: RunningStore) -> None:
    for path in ("/api/v1/status", "/api/v1/indexes", "/api/v1/projects/nothing"):
        assert store.get(path).headers["Cache-Control"] == "no-store"


def test_head_is_get_without_a_body(store: RunningStore) -> None:
    answer = store.request("HEAD", "/api/v1/status")
    assert (answer.status, answer.data) == (200, b"")


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "x", "9" * 30, "٣"])
def test_odd_numbers_in_paths_find_nothing_and_break_nothing(store: RunningStore, number: str) -> None:
    answer = store.get(f"/api/v1/runs/{number}", **ADMIN)
    assert answer.status in (400, 404)


def test_query_that_no_row_can_hold_is_refused(store: RunningStore) -> None:
    answer = store.get("/api/v1/tokens?user=%00", **ADMIN)
    assert (answer.status, answer.json()["detail"]) == (400, "the query holds a NUL character")


# --- the document ------------------------------------------------------------------------------------------


def test_document_describes_each_endpoint_once(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(one.method, f"/api/v1{one.path}") for one in ENDPOINTS}
    identifiers = [
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    ]
    assert len(identifiers) == len(set(identifiers)) == len(ENDPOINTS)


def test_document_holds_no_dangling_reference(document: dict[str, Any]) -> None:
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert names == set(document["components"]["schemas"])


def test_document_declares_every_parameter(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"].endswith((".", "none waits."))


def test_document_says_which_answers_there_are(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    for methods in document["paths"].values():
        for operation in methods.values():
            assert "default" in operation["responses"]
            assert any(status.startswith("2") for status in operation["responses"])
