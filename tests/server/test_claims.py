"""``POST /claims`` of a real server with a real upstream, which is asked as for a first upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import urllib3

from distributions_made import make_wheel
from makers import ADMIN_PASSWORD
from running_stores import running_store, serve_environment
from upstreams import Served, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running_stores import RunningStore
    from upstreams import RunningUpstream

ADMIN = urllib3.util.make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        running.add_html("numpy", [make_wheel("numpy")])
        running.paths["/simple/broken/"] = Served(status=500)
        running.paths["/simple/busy/"] = Served(status=429, headers={"Retry-After": "7"})
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, upstream: RunningUpstream) -> Iterator[RunningStore]:
    environment = serve_environment(PIP_INDEX_URL=upstream.url)
    with running_store(tmp_path_factory.mktemp("claims") / "store", environment=environment) as served:
        yield served


@pytest.fixture(scope="module")
def claimer(store: RunningStore) -> dict[str, str]:
    """Headers of somebody who may claim and is no administrator."""
    wanted = {"user": "admin", "scopes": ["claim", "read"]}
    made = store.request("POST", "/api/v1/tokens", json=wanted, headers=ADMIN)
    return {"authorization": f"Bearer {made.json()['token']}"}


def claim(store: RunningStore, headers: dict[str, str], name: str) -> urllib3.BaseHTTPResponse:
    return store.request("POST", "/api/v1/claims", json={"name": name}, headers=headers)


def test_name_that_upstream_has_not_is_claimed_and_then_never_asked_for(
    store: RunningStore, upstream: RunningUpstream, claimer: dict[str, str]
) -> None:
    first = claim(store, claimer, "House.Demo")
    again = claim(store, claimer, "house-demo")
    assert (first.status, again.status) == (201, 200)
    assert first.json()["name"] == "house-demo"
    assert store.get("/unstable/simple/house-demo/").status == 404
    assert upstream.asked("/simple/house-demo/") == 1


def test_name_that_upstream_has_needs_an_administrator(store: RunningStore, claimer: dict[str, str]) -> None:
    refused = claim(store, claimer, "numpy")
    assert refused.status == 403
    assert "upstream has a project of that name" in refused.json()["detail"]
    assert claim(store, ADMIN, "numpy").status == 201


def test_name_is_not_claimed_while_upstream_cannot_be_asked(
    store: RunningStore, claimer: dict[str, str]
) -> None:
    failed = claim(store, claimer, "broken")
    assert failed.status == 502
    assert "cannot be asked for that name" in failed.json()["detail"]


def test_administrator_claims_without_asking_upstream(store: RunningStore, upstream: RunningUpstream) -> None:
    assert claim(store, ADMIN, "admins-own").status == 201
    assert upstream.asked("/simple/admins-own/") == 0


def test_upstream_that_is_busy_is_told_with_the_time_to_wait(store: RunningStore) -> None:
    answer = store.get("/unstable/simple/busy/")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert answer.json()["title"] == "UpstreamBusy"
