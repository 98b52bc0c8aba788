"""Jobs of CI hosts over TLS, without a stored secret: the files that are written for them, carried out."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from certificates import make_certified
from conveyor.client.id_tokens import variable_of
from conveyor.domain.indexes.definitions import NewClaim
from conveyor.domain.people.publishers import NewPublisher
from conveyor.project.ci import PACKAGE, TEST
from flows.fronts import running_front
from issuers import Issuer, running_issuer
from pipeline.conftest import Town, settled
from pipeline.installed import offer_installed
from pipeline.projects import git, make_project
from running_stores import running_store, serve_environment
from upstreams import running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass
class Suburb:
    """A store behind TLS that knows an issuer, and people."""

    town: Town
    url: str
    """Of the front."""
    issuer: Issuer
    authority: str

    @property
    def audience(self) -> str:
        return "localhost"

    def publisher(self, project: str, **changed: Any) -> NewPublisher:
        """Let the jobs of the repository team/PROJECT of GitLab publish it; claims the name first."""
        self.town.client.claims.add(NewClaim(project))
        values = {
            "project": project, "index": "unstable", "kind": "gitlab", "issuer": self.issuer.url,
            "repository": f"team/{project}", "workflow": ".gitlab-ci.yml", **changed,
        }  # fmt: skip
        return NewPublisher(**values)

    def claims(self, project: str, **more: Any) -> dict[str, Any]:
        """The claims of a job of GitLab in the repository team/PROJECT."""
        host = self.issuer.url.removeprefix("https://")
        named = {
            "project_path": f"team/{project}", "project_id": "22", "namespace_id": "72",
            "ci_config_ref_uri": f"{host}/team/{project}//.gitlab-ci.yml@refs/tags/v1.0.0",
        }  # fmt: skip
        return self.issuer.claims(self.audience, **(named | more))

    def job(self, state: Path, **variables: str) -> dict[str, str]:
        """The environment of a job: nothing but its host's variables, and where it finds the programs."""
        return self.town.variables() | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SSL_CERT_FILE": self.authority,
            "CONVEYOR_URL": self.url,
            "CONVEYOR_STATE": str(state),
            **variables,
        }

    def gitlab_job(self, state: Path, project: str, **variables: str) -> dict[str, str]:
        """The environment of a job of GitLab, with an ID token of its own."""
        token = self.issuer.keys[0].sign(self.claims(project))
        return self.job(state, GITLAB_CI="true", **{variable_of(self.audience): token}, **variables)


@contextmanager
def running_suburb(folder: Path) -> Iterator[Suburb]:
    authority, certificate = make_certified(folder / "tls")
    with running_upstream() as upstream, running_issuer(certificate) as issuer:
        offer_installed(upstream)
        environment = serve_environment(
            PIP_INDEX_URL=upstream.url, SSL_CERT_FILE=authority, CONVEYOR_PUBLIC_URL="https://localhost"
        )
        with (
            running_store(folder / "store", environment=environment) as store,
            running_front(store.url, certificate=certificate) as front,
        ):
            yield Suburb(settled(store, folder), front.url, issuer, authority)


@pytest.fixture(scope="module")
def suburb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suburb]:
    with running_suburb(tmp_path_factory.mktemp("suburb")) as suburb:
        yield suburb


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The state of runners: its caches are shared, as on a real one."""
    return tmp_path_factory.getbasetemp() / f"runner-{worker_id}"


def make_checkout(folder: Path, project: str, tag: str) -> Path:
    """A repository of the project with an annotated tag, and a runner's checkout without any tag."""
    repository = make_project(folder / "repository", name=project)
    git(repository, "tag", "-m", tag, tag)
    git(folder, "clone", "-q", "--no-tags", str(repository), str(folder / "checkout"))
    return folder / "checkout"


def play(script: str, checkout: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True
    )


def test_job_packages_and_tests_without_a_secret_and_its_word_opens_no_gate(
    suburb: Suburb, state: Path, tmp_path: Path
) -> None:
    client = suburb.town.client
    client.publishers.add(suburb.publisher("demo"))
    checkout = make_checkout(tmp_path, "demo", "v1.0.0")
    told = {"TAG": "v1.0.0", "COMMIT": git(checkout, "rev-parse", "HEAD")}
    for script in (PACKAGE, PACKAGE, TEST):  # a job that was cut off is played again by its host
        done = play(script, checkout, suburb.gitlab_job(state, "demo", **told))
        assert done.returncode == 0, done.stdout + done.stderr
    assert "demo 1.0.0 waits for a gate of the store" in done.stdout
    assert 'tests="1"' in (checkout / "junit.xml").read_text()
    release = client.releases.get("demo", "1.0.0")
    assert release.index == "unstable"
    assert [one.kind for one in release.evidence] == ["build", "build", "tests"]
    for one in release.evidence:
        assert one.job is not None
        assert (one.job.publisher, one.is_signer_valid) == ("publisher-1", False)
        assert one.job.claims["repository"] == "team/demo"
    why = suburb.town.conveyor("why", "demo", "1.0.0", "--url", suburb.town.url).stdout
    assert "publisher-1 (team/demo, ref v1.0) told tests of demo-1.0.0-py3-none-any.whl: 1 passed" in why
    (used,) = {one.revoked_at is not None for one in client.tokens.all() if one.user == "publisher-1"}
    assert used  # every token was burnt when its job had ended
