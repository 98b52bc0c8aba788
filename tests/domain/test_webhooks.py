"""Deliveries of git hosts: which are genuine, and what they say was pushed. Forms as in their documents."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.releases.tags import ref_of_run
from conveyor.domain.runs.webhooks import MAX_REFS, PushedRef, check_delivery, delivery_digest, pushed_refs
from conveyor.errors import Forbidden, InvalidInput

if TYPE_CHECKING:
    from conveyor.domain.runs.webhooks import GitHost

SECRET, NOW = "c2VjcmV0LW9mLXRoZS1ob29r", 1_800_000_000
OLD, NEW, NONE = "a" * 40, "b" * 40, "0" * 40
PUSH = {"ref": "refs/tags/v1.0", "before": NONE, "after": NEW, "repository": {"clone_url": "https://else/x"}}
CHANGES = [
    {"old": None, "new": {"type": "tag", "name": "v1.0", "target": {"hash": NEW}}},
    {"old": {"type": "branch", "name": "main", "target": {"hash": OLD}}, "new": None},
]


def hex_of(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def standard(body: bytes, moment: int = NOW) -> dict[str, str]:
    signed = f"id-1.{moment}.".encode() + body
    signature = base64.b64encode(hmac.new(base64.b64decode(SECRET), signed, hashlib.sha256).digest())
    return {
        "webhook-id": "id-1",
        "webhook-timestamp": str(moment),
        "webhook-signature": f"v1,AAAA v1,{signature.decode()}",
    }


def delivery(host: GitHost) -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"push": {"changes": CHANGES}} if host == "bitbucket" else PUSH).encode()
    return body, {
        "github": {"x-hub-signature-256": f"sha256={hex_of(body)}", "x-github-event": "push"},
        "gitea": {"x-gitea-signature": hex_of(body), "x-gitea-event": "push"},
        "bitbucket": {"x-hub-signature": f"sha256={hex_of(body)}", "x-event-key": "repo:push"},
        "gitlab": {"x-gitlab-token": SECRET, "x-gitlab-event": "Tag Push Hook"},
    }[host]


@pytest.mark.parametrize("host", ["github", "gitea", "bitbucket", "gitlab"])
def test_genuine_delivery_is_accepted_and_no_other(host: GitHost) -> None:
    body, headers = delivery(host)
    check_delivery(host, SECRET, headers, body, now_seconds=NOW)
    assert pushed_refs(host, headers, body)[0] == PushedRef("refs/tags/v1.0", None, NEW)
    (signed,) = (name for name in headers if "signature" in name or "token" in name)
    for others in ({}, {**headers, signed: headers[signed][:-1] + "é"}):
        with pytest.raises(Forbidden, match="not signed with the secret"):
            check_delivery(host, SECRET, others, body, now_seconds=NOW)
    with pytest.raises(Forbidden):
        check_delivery(host, "another", headers, body, now_seconds=NOW)
    if host != "gitlab":  # which sends the secret itself, unless it has a signing token
        with pytest.raises(Forbidden):
            check_delivery(host, SECRET, headers, body + b" ", now_seconds=NOW)


def test_header_of_another_host_is_no_way_in() -> None:
    body, headers = delivery("gitlab")
    with pytest.raises(Forbidden):
        check_delivery("github", SECRET, headers, body, now_seconds=NOW)
    body, headers = delivery("github")
    with pytest.raises(Forbidden):
        check_delivery("bitbucket", SECRET, headers, body, now_seconds=NOW)


def test_standard_webhook_of_gitlab_is_held_to_its_time() -> None:
    body = json.dumps(PUSH).encode()
    for secret in (SECRET, f"whsec_{SECRET}"):
        check_delivery("gitlab", secret, standard(body), body, now_seconds=NOW + 299)
    for headers in (
        standard(body, NOW - 301),
        standard(body, NOW + 301),
        standard(body) | {"webhook-id": "2"},
    ):
        with pytest.raises(Forbidden):
            check_delivery("gitlab", SECRET, headers | {"x-gitlab-token": SECRET}, body, now_seconds=NOW)


def test_pushes_of_each_kind_are_read() -> None:
    body, headers = delivery("bitbucket")
    assert pushed_refs("bitbucket", headers, body)[1] == PushedRef("refs/heads/main", OLD, None)
    assert pushed_refs("gitea", {"x-forgejo-event": "push"}, json.dumps(PUSH).encode())[0].new == NEW
    assert pushed_refs("github", {"x-github-event": "ping"}, b"not even JSON") == []


@pytest.mark.parametrize(
    "told", [[], {"ref": 5, "before": NONE, "after": NEW}, {"ref": "refs/tags/v1.0"}, "text"]
)
def test_push_of_another_form_is_one_clear_error(told: Any) -> None:
    with pytest.raises(InvalidInput, match="is not a push of github"):
        pushed_refs("github", {"x-github-event": "push"}, json.dumps(told).encode())


def test_push_of_too_many_refs_is_left_to_the_poller() -> None:
    body = json.dumps({"push": {"changes": CHANGES * MAX_REFS}}).encode()
    with pytest.raises(InvalidInput, match=f"more than {MAX_REFS}"):
        pushed_refs("bitbucket", {"x-event-key": "repo:push"}, body)
    assert delivery_digest(body) != delivery_digest(body + b" ")


@pytest.mark.parametrize(
    ("ref", "old", "new", "wanted", "reason"),
    [
        ("refs/tags/v1.0", None, NEW, "refs/tags/v1.0", ""),
        ("refs/tags/v1.0", OLD, NEW, None, "moved"),
        ("refs/tags/v1.0", OLD, None, None, "deleted"),
        ("refs/tags/latest", None, NEW, None, "not a release tag"),
        ("refs/heads/main", OLD, NEW, NEW, ""),
        ("refs/notes/x", None, NEW, None, "neither a branch nor a tag"),
    ],
)
def test_ref_of_a_run_follows_from_the_push(
    ref: str, old: str | None, new: str | None, wanted: str | None, reason: str
) -> None:
    found, why = ref_of_run(ref, old, new)
    assert found == wanted
    assert reason in why
