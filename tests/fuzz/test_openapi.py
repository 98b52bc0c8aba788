"""Every endpoint of the API is asked what its OpenAPI document allows, and what it does not.

Generated requests go to a running store as a stranger, as an uploader and as an administrator. No answer may
be a 5xx, of an undescribed status or type, or of another shape than the document says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
import urllib3
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from conveyor.server.api.openapi import openapi_document
from conveyor.server.api.routes import ENDPOINTS
from makers import ADMIN_PASSWORD
from running_stores import RunningStore, running_store

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("openapi")

EXAMPLES, MANY_EXAMPLES = 2, 100
"""Requests per endpoint and caller beside those that try each limit of each field."""
CALLERS = ("stranger", "uploader", "administrator")
SCHEMA = schemathesis.openapi.from_dict(openapi_document(ENDPOINTS, version="1.0"))
JUDGED_BEYOND_THEIR_FORM = frozenset(
    {
        *("post_evidence", "post_tag", "post_token", "post_signer", "post_worker", "post_index", "post_run"),
        *("put_yank", "put_status_of_project", "put_size_of_project", "post_run_claim", "post_repository"),
        *("post_repository_removal", "post_publication", "post_lock", "post_docs", "put_index_settings"),
        *("post_approval", "post_signed_approval", "post_override", "post_policy", "post_policy_comparison"),
        *("post_advisories", "post_publisher", "post_webhook", "put_settings_of_runs", "post_output"),
        "post_statement",
        "post_receiver",
    }
)
"""A well-formed request to these may be refused with 400: a signature, a key, a time that is past, a
reason that cannot be shown, an address that a worker may not be sent to, a number written as 1.0, Pythons of
an index that nothing is promoted into, a policy, an archive of advisories."""


@schemathesis.serializer("application/toml", "application/zip")
def as_it_is(ctx: schemathesis.SerializationContext, value: object) -> bytes:
    """A body without a schema: whatever was generated, as text."""
    del ctx
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("openapi") / "store") as running:
        yield running


@pytest.fixture(scope="module")
def credentials(store: RunningStore) -> dict[str, dict[str, str]]:
    """The header that each caller sends."""
    admin = urllib3.make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")
    user: dict[str, Any] = {"name": "uploader", "scopes": ["read", "upload"]}
    assert store.request("POST", "/api/v1/users", json=user, headers=admin).status == 201
    answer = store.request("POST", "/api/v1/tokens", json={"user": "uploader"}, headers=admin)
    return {
        "stranger": {},
        "uploader": {"Authorization": f"Bearer {answer.json()['token']}"},
        "administrator": admin,
    }


def check_answer(case: schemathesis.Case[Any], store: RunningStore, headers: dict[str, str]) -> None:
    excluded = [ignored_auth]  # it would leave out a header that is not given here; see test_api_table
    if case.operation.definition.raw["operationId"] in JUDGED_BEYOND_THEIR_FORM:
        excluded.append(positive_data_acceptance)
    case.call_and_validate(base_url=store.url, headers=headers, excluded_checks=excluded)


@pytest.mark.parametrize("caller", CALLERS[1:])  # strangers are refused at nearly all; see test_api_table
@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(
    case: schemathesis.Case[Any], store: RunningStore, credentials: dict[str, dict[str, str]], caller: str
) -> None:
    check_answer(case, store, credentials[caller])


@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("caller", CALLERS)
@SCHEMA.parametrize()
@settings(max_examples=MANY_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_to_many_requests_are_as_described(
    case: schemathesis.Case[Any], store: RunningStore, credentials: dict[str, dict[str, str]], caller: str
) -> None:
    check_answer(case, store, credentials[caller])
