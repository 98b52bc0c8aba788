"""Trusted publishing: a real issuer, uv as the client, and what an ID token must not gain."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from certificates import make_certified
from conveyor.client.id_tokens import variable_of
from conveyor.client.store import connect
from conveyor.domain.indexes.definitions import NewClaim
from conveyor.domain.people.publishers import NewPublisher
from conveyor.errors import Conflict, Forbidden, InvalidInput, NotFound
from conveyor.project.foreign import clean_environment_variables
from distributions_made import make_wheel
from flows.fronts import running_front
from issuers import Issuer, ec_key, encoded, rsa_key, running_issuer
from makers import copy_prepared_store
from running_stores import RunningStore, running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.client.store import StoreClient


@dataclass
class House:
    """A store behind TLS, an issuer that it knows, and an administrator."""

    store: RunningStore
    front: str
    issuer: Issuer
    admin: StoreClient
    certificate: str

    def ask(self, word: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """One request to ``/_/oidc/``."""
        method = "GET" if body is None else "POST"
        content = None if body is None else json.dumps(body).encode()
        answer = self.store.request(method, f"/_/oidc/{word}", body=content)
        return answer.status, json.loads(answer.data)

    @property
    def audience(self) -> str:
        """What ID tokens for this store are made out to."""
        return str(self.ask("audience")[1]["audience"])

    def mint(self, token: str) -> tuple[int, str]:
        """The status, and the token or what is said instead."""
        status, told = self.ask("mint-token", {"token": token})
        return status, told.get("token") or told["errors"][0]["description"]

    def claims(self, **more: Any) -> dict[str, Any]:
        return self.issuer.claims(self.audience, **more)

    def job_variables(self, token: str) -> dict[str, str]:
        """The environment of a job of GitLab that has this ID token."""
        return clean_environment_variables() | {
            "GITLAB_CI": "true", variable_of(self.audience): token, "SSL_CERT_FILE": self.certificate,
        }  # fmt: skip


@contextmanager
def running_house(folder: Path) -> Iterator[House]:
    authority, certificate = make_certified(folder / "tls")
    environment = serve_environment(SSL_CERT_FILE=authority)
    copy_prepared_store(folder / "store")
    with (
        running_issuer(certificate) as issuer,
        running_store(folder / "store", environment=environment) as store,
        running_front(store.url, certificate=certificate) as front,
    ):
        create = ("store", "token", "create", "--user", "admin", "--data", str(store.data))
        made = subprocess.run(
            [sys.executable, "-m", "conveyor", *create], capture_output=True, text=True, check=True
        )
        with connect(store.url, token=made.stdout.strip()) as admin:
            yield House(store, front.url, issuer, admin, authority)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("house")) as house:
        # Before the first publisher, clients are told that there is no such thing here.
        assert house.ask("audience")[0] == 404
        for name in ("demo", "other"):
            house.admin.claims.add(NewClaim(name))
        house.admin.publishers.add(publisher(house))
        yield house


def publisher(house: House, **changed: Any) -> NewPublisher:
    values = {
        "project": "demo", "index": "unstable", "kind": "gitlab", "issuer": house.issuer.url,
        "repository": "team/demo", "workflow": ".gitlab-ci.yml", "environment": "release", **changed,
    }  # fmt: skip
    return NewPublisher(**values)


def test_uv_publishes_from_a_job_without_a_secret_and_burns_its_token(house: House, tmp_path: Path) -> None:
    wheel = make_wheel("demo", "1.0").write(tmp_path)
    token = house.issuer.keys[0].sign(house.claims())
    uv = [str(Path(sys.executable).with_name("uv")), "publish", "--no-config"]
    done = subprocess.run(
        [*uv, "--trusted-publishing", "always", "--publish-url", f"{house.front}/unstable/legacy/", wheel],
        env=house.job_variables(token), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    release = house.admin.releases.get("demo", "1.0")
    assert release.index == "unstable"
    (used,) = [one for one in house.admin.tokens.all() if one.user == "publisher-1"]
    assert used.revoked_at is not None
    assert (used.indexes, used.projects, used.scopes) == (("unstable",), ("demo",), ("read", "upload"))


def test_token_of_a_job_reaches_its_project_and_index_and_ends(house: House, tmp_path: Path) -> None:
    # Our own command exchanges it for twine and other tools.
    token = house.issuer.keys[0].sign(house.claims())
    done = subprocess.run(
        [sys.executable, "-m", "conveyor", "store", "publisher", "token", "--url", house.front],
        env=house.job_variables(token), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    secret = done.stdout.strip()
    with connect(house.store.url, token=secret) as job:
        for index, name in (("unstable", "other"), ("testing", "demo")):
            with pytest.raises(Forbidden):
                job.files.upload(index, make_wheel(name, "2.0").write(tmp_path))
        for refused in (job.tokens.all, lambda: job.runs.create("/srv/demo", "main")):
            with pytest.raises(Forbidden):
                refused()
        job.files.upload("unstable", make_wheel("demo", "2.0").write(tmp_path))
        assert house.ask("burn-token", {"token": secret})[0] == 200
        assert house.ask("burn-token", {"token": secret})[0] == 200  # twice is once
        assert house.store.get("/api/v1/status", Authorization=f"Bearer {secret}").status == 401


def test_id_token_is_exchanged_once_and_only_as_it_was_issued(house: House) -> None:
    key, now = house.issuer.keys[0], house.claims()["iat"]
    once = key.sign(house.claims())
    assert house.mint(once)[0] == 200
    status, told = house.mint(once)
    assert (status, told.partition(" (")[0]) == (409, "this ID token was exchanged before")
    stranger = rsa_key("first")
    public = json.dumps(key.jwk).encode()
    head, body, _ = key.sign(house.claims()).split(".")
    by_secret = encoded(json.dumps({"alg": "HS256", "kid": "first"}).encode())
    forged = hmac.new(public, f"{by_secret}.{body}".encode(), hashlib.sha256).digest()
    without = encoded(json.dumps({"alg": "none", "kid": "first"}).encode())
    other_body = encoded(json.dumps(house.claims(project_path="team/other")).encode())
    for token, status, said in (
        (stranger.sign(house.claims()), 403, "signature"),
        (f"{head}.{other_body}.{once.split('.')[2]}", 403, "signature"),
        (f"{by_secret}.{body}.{encoded(forged)}", 400, 'signed by "HS256"'),
        (f"{without}.{body}.", 400, 'signed by "none"'),
        (key.sign(house.claims(), crit=["exp"]), 400, "critical"),
        (key.sign(house.claims(), alg="ES256"), 403, "signature"),
        (key.sign(house.issuer.claims("another-store.example")), 403, 'seen "another-store.example"'),
        (key.sign(house.claims(exp=now - 3600, iat=now - 7200)), 403, "it expired"),
        (key.sign(house.claims(iat=now + 3600, exp=now + 7200)), 403, "seconds from now"),
        (key.sign(house.claims(nbf=now + 3600)), 403, "not valid yet"),
        (key.sign(house.claims(exp=now + 10**6)), 403, "longer than a day"),
        (key.sign(house.claims(exp=None)), 403, "exp and iat"),
        (key.sign(house.claims(iss="https://localhost:1")), 403, "no publisher of the issuer"),
        (key.sign(house.claims(project_path="team/fork")), 403, 'wanted "team/demo", seen "team/fork"'),
        (key.sign(house.claims(environment="test")), 403, 'environment: wanted "release", seen "test"'),
        (key.sign(house.claims(ci_config_ref_uri="x//evil.yml@refs/heads/main")), 403, "ci_config_ref_uri"),
        ("a.b", 400, "three parts"),
        ("e30.e30.!", 400, "signed by"),
    ):
        answered, told = house.mint(token)
        assert (answered, said in told) == (status, True), (said, answered, told)
    assert house.ask("mint-token", {"wrong": 1})[0] == 400
    assert house.ask("nothing", {"token": "x"})[0] == 404


def test_strangers_cannot_make_the_store_ask_an_issuer_again_and_again(house: House) -> None:
    asked = len(house.issuer.asked)
    for number in range(3):
        assert house.mint(rsa_key(f"unknown-{number}").sign(house.claims()))[0] == 403
    assert len(house.issuer.asked) - asked <= 2


def test_keys_of_both_kinds_and_of_other_hosts_count(tmp_path: Path) -> None:
    with running_house(tmp_path) as house:
        house.admin.publishers.add(
            publisher(house, kind="github", workflow="release.yml", project="Other", environment=None)
        )
        house.issuer.keys.append(ec_key("second"))
        release = "team/demo/.github/workflows/release.yml"
        mine = {"repository": "Team/Demo", "workflow_ref": f"{release}@refs/tags/v1"}
        assert house.mint(house.issuer.keys[1].sign(house.claims(**mine)))[0] == 200
        # A workflow whose name only begins alike, and one of another repository, are not it.
        for workflow in (f"{release}.yml@x", f"evil-{release}@x"):
            claims = house.claims(**mine | {"workflow_ref": workflow})
            assert house.mint(house.issuer.keys[0].sign(claims))[0] == 403
        # The index follows from the claims, so one job has one.
        with pytest.raises(Conflict):
            house.admin.publishers.add(
                publisher(house, kind="github", workflow="release.yml", project="other", environment=None)
            )
        for refused, error in (
            ({"index": "stable"}, Forbidden),
            ({"index": "nowhere"}, NotFound),
            ({"issuer": "http://localhost"}, InvalidInput),
            ({"repository": "demo"}, InvalidInput),
        ):
            with pytest.raises(error):
                house.admin.publishers.add(publisher(house, **refused))
        token = house.mint(house.issuer.keys[0].sign(house.claims(**mine)))[1]
        house.admin.publishers.remove(1)
        assert house.store.get("/api/v1/status", Authorization=f"Bearer {token}").status == 401
        assert house.admin.publishers.all() == ()


def test_discovery_names_the_exchange_for_upload_addresses_of_the_store(house: House) -> None:
    key = hashlib.sha256(b"/unstable/legacy/").hexdigest()
    for path in (f"/.well-known/pytp/{key}", f"/.well-known/pytp?discover={key}"):
        told = json.loads(house.store.get(path).data)
        assert told == {
            "audience-endpoint": f"{house.store.url}/_/oidc/audience",
            "mint-token-endpoint": f"{house.store.url}/_/oidc/mint-token",
        }
    assert house.store.get(f"/.well-known/pytp/{hashlib.sha256(b'/legacy/').hexdigest()}").status == 404


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_repository_that_somebody_registers_again_under_its_name_gains_nothing(
    house: House, kind: str
) -> None:
    sign, name = house.issuer.keys[0].sign, f"team/pinned-{kind}"
    host = house.issuer.url.removeprefix("https://")
    asked = publisher(
        house, project="other", kind=kind, repository=name, workflow="pinned.yml", environment="pins"
    )
    known = house.admin.publishers.add(asked)
    named = {
        "github": {
            "repository": name,
            "workflow_ref": f"{name}/.github/workflows/pinned.yml@refs/heads/main",
        },
        "gitlab": {"project_path": name, "ci_config_ref_uri": f"{host}/{name}//pinned.yml@refs/heads/main"},
    }[kind] | {"environment": "pins"}
    first, owner = {
        "github": ("repository_id", "repository_owner_id"), "gitlab": ("project_id", "namespace_id"),
    }[kind]  # fmt: skip
    told = {"github": house.issuer.github_claims, "gitlab": house.issuer.claims}[kind]
    claims = {**named, first: "7", owner: "3"}
    for _ in range(2):
        assert house.mint(sign(told(house.audience, **claims)))[0] == 200
    for changed in ({first: "8"}, {owner: "4"}, {first: None}):
        status, said = house.mint(sign(told(house.audience, **(claims | changed))))
        assert (status, "as at first, seen" in said) == (403, True), said
    pinned = next(one for one in house.admin.publishers.all() if one.id == known.id)
    assert (pinned.repository_id, pinned.owner_id) == ("7", "3")


def test_token_may_last_as_long_as_its_id_token(house: House) -> None:
    sign, until = house.issuer.keys[0].sign, house.claims()["iat"] + 3600
    ends = [
        house.ask("mint-token", {"token": sign(house.claims(exp=until)), "until_expiry": wanted})[1][
            "expires"
        ]
        for wanted in (True, False)
    ]
    assert ends[0] == until
    assert ends[1] < until - 1800
    assert house.ask("mint-token", {"token": sign(house.claims()), "until_expiry": 1})[0] == 400


def test_command_gets_a_token_that_nothing_shows_and_that_ends_with_it(house: House) -> None:
    token = house.issuer.keys[0].sign(house.claims())
    looking = "import os, sys; given = os.environ; "
    looking += "sys.exit(given['TWINE_USERNAME'] + given['TWINE_PASSWORD'][:9])"
    command = ("--url", house.front, "--", sys.executable, "-c", looking)
    done = subprocess.run(
        [sys.executable, "-m", "conveyor", "store", "publisher", "token", *command],
        env=house.job_variables(token), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "__token__conveyor-\n")
    newest = [one for one in house.admin.tokens.all() if one.user == "publisher-1"][-1]
    assert newest.revoked_at is not None
