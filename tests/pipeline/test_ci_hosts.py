"""Jobs of CI hosts over TLS, without a stored secret: the files that are written for them, carried out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from certificates import make_certified
from conveyor.client.id_tokens import variable_of
from conveyor.domain.indexes.definitions import NewClaim
from conveyor.domain.people.publishers import NewPublisher
from conveyor.errors import NotFound
from conveyor.project.ci import PACKAGE, TEST, ci_file
from distributions_made import make_wheel
from flows.fronts import running_front
from issuers import Issuer, running_issuer
from pipeline.conftest import Town, settled
from pipeline.installed import offer_installed
from pipeline.projects import git, make_project
from pipeline.runners import Runners, installed_runners, run_jenkinsfile
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


@pytest.fixture
def runners(tmp_path_factory: pytest.TempPathFactory) -> Runners:
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "clients"
    shared.mkdir(exist_ok=True)
    return installed_runners(shared)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a runner."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def checked_in(checkout: Path, name: str, content: str, tag: str) -> str:
    """Put the file of a CI host into the repository of a checkout, under a new tag; its commit."""
    repository = checkout.parent / "repository"
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text(content)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "Let the CI host carry it")
    git(repository, "tag", "-m", tag, tag)
    git(checkout, "pull", "-q", "--no-tags")
    return git(checkout, "rev-parse", "HEAD")


def expect_told(suburb: Suburb, project: str, version: str, **claims: str) -> None:
    """The release is where its jobs put it, with what they told, and with no other evidence."""
    release = suburb.town.client.releases.get(project, version)
    assert release.index == "unstable"
    assert [one.kind for one in release.evidence] == ["build", "build", "tests"]
    for one in release.evidence:
        assert one.job is not None
        assert not one.is_signer_valid
        assert one.job.claims.items() >= claims.items()


def expect_no_secret(output: str) -> None:
    assert not re.search(r"conveyor-[\w-]{43}|eyJ[\w-]+\.", output)


@pytest.mark.torture
def test_act_runs_the_workflow_against_a_store(
    suburb: Suburb, runners: Runners, state: Path, home: Path, tmp_path: Path
) -> None:
    asked = suburb.publisher("alpha", kind="github", workflow="conveyor.yml")
    suburb.town.client.publishers.add(asked)
    checkout = make_checkout(tmp_path, "alpha", "v0.9.0")
    content = ci_file("github", suburb.url)
    checked_in(checkout, ".github/workflows/conveyor.yml", content, "v1.0.0")
    suburb.issuer.told = {
        "repository": "team/alpha",
        "workflow_ref": "team/alpha/.github/workflows/conveyor.yml@refs/tags/v1.0.0",
    }
    given = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{suburb.issuer.url}/id-token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": suburb.issuer.bearer,
        "SSL_CERT_FILE": suburb.authority,
        "CONVEYOR_STATE": str(state),
    }
    ended = runners.act(checkout, {"ref": "refs/tags/v1.0.0"}, given, home=home)
    assert ended.returncode == 0, ended.output
    assert "alpha 1.0.0 waits for a gate of the store" in ended.output
    expect_told(suburb, "alpha", "1.0.0", repository="team/alpha", run_id="1658")
    expect_no_secret(ended.output)
    # A tag that does not name the commit of the job is refused before anything is asked.
    ended = runners.act(checkout, {"ref": "refs/tags/v0.9.0"}, given, home=home)
    assert ended.returncode == 1
    assert "tag v0.9.0 does not name the commit of this job" in ended.output


@pytest.mark.torture
def test_gitlab_ci_local_runs_the_file_against_a_store(
    suburb: Suburb, runners: Runners, state: Path, home: Path, tmp_path: Path
) -> None:
    suburb.town.client.publishers.add(suburb.publisher("beta"))
    checkout = make_checkout(tmp_path, "beta", "v0.9.0")
    checked_in(checkout, ".gitlab-ci.yml", ci_file("gitlab", suburb.url), "v1.0.0")
    git(checkout, "fetch", "-q", "origin", "refs/tags/v1.0.0:refs/tags/v1.0.0")
    # A real GitLab gives each job an ID token of its own; this runner gives both the same, so it has no id.
    claims = suburb.claims("beta")
    del claims["jti"]
    given = {
        "GITLAB_CI": "true", "CI_COMMIT_TAG": "v1.0.0", "CI_COMMIT_REF_NAME": "v1.0.0",
        variable_of(suburb.audience): suburb.issuer.keys[0].sign(claims),
        "SSL_CERT_FILE": suburb.authority, "CONVEYOR_STATE": str(state),
    }  # fmt: skip
    ended = runners.gitlab(checkout, given, home=home)
    assert ended.returncode == 0, ended.output
    assert [f" PASS  {job}" in ended.output for job in ("package", "test")] == [True, True], ended.output
    assert "beta 1.0.0 waits for a gate of the store" in ended.output
    expect_told(suburb, "beta", "1.0.0", repository="team/beta")
    expect_no_secret(ended.output)


@pytest.mark.torture
def test_jenkinsfile_carries_a_tag_with_the_credentials_of_a_worker(
    suburb: Suburb, state: Path, tmp_path: Path
) -> None:
    suburb.town.client.claims.add(NewClaim("gamma"))
    checkout = make_checkout(tmp_path, "gamma", "v1.0.0rc1")
    (checkout / "Jenkinsfile").write_text(ci_file("jenkins", suburb.url))
    told = {"GIT_COMMIT": git(checkout, "rev-parse", "HEAD"), "TAG_NAME": "v1.0.0rc1"}
    secrets = {"conveyor-worker": str(suburb.town.credentials)}
    ended = run_jenkinsfile(checkout / "Jenkinsfile", secrets, suburb.job(state, **told))
    assert ended.returncode == 0, ended.output
    assert "junit junit.xml true" in ended.output
    assert suburb.town.client.releases.get("gamma", "1.0.0rc1").index == "testing"


@pytest.mark.torture
def test_buildbot_calls_the_two_commands_and_tells_waiting_from_failing(
    suburb: Suburb, runners: Runners, state: Path, tmp_path: Path
) -> None:
    # Its jobs have no ID tokens: whoever runs it has an issuer, and gives each step a token as a secret.
    asked = suburb.publisher("delta", kind="other", workflow="release")
    suburb.town.client.publishers.add(asked)
    checkout = make_checkout(tmp_path, "delta", "v1.0.0")
    given = {"CONVEYOR_URL": suburb.url, "SSL_CERT_FILE": suburb.authority, "CONVEYOR_STATE": str(state)}
    secrets = {
        step: suburb.issuer.keys[0].sign(suburb.claims("delta", repository="team/delta", workflow="release"))
        for step in ("package", "test", "again")
    }
    conveyor = [str(Path(sys.executable).with_name("conveyor")), "pipeline"]
    where = ["--repo", str(checkout.parent / "repository"), "--ref", "refs/tags/v1.0.0"]
    steps = {
        "package": [*conveyor, "package", *where],
        "test": [*conveyor, "test", "delta", "1.0.0", *where],
        "again": [*conveyor, "test", "delta", "2.0.0", *where],  # there is no such release
    }
    build = runners.buildbot(tmp_path / "master", steps, given, secrets)
    assert build.results == {"package": "success", "test": "warnings", "again": "failure"}, build.output
    expect_told(suburb, "delta", "1.0.0", repository="team/delta", workflow="release")
    expect_no_secret(build.output)


@pytest.mark.torture
def test_real_issuer_of_another_maker_gives_id_tokens_that_publish(
    suburb: Suburb, runners: Runners, home: Path, tmp_path: Path
) -> None:
    certificate = [str(Path(suburb.authority).parents[1] / name) for name in ("key.pem", "cert.pem")]
    with runners.issuer(certificate, home=home) as (url, ask):
        asked = suburb.publisher("epsilon", kind="other", workflow="release", issuer=url)
        suburb.town.client.publishers.add(asked)
        claims = {"aud": suburb.audience, "repository": "team/epsilon", "workflow": "release"}
        files = {version: make_wheel("epsilon", version).write(tmp_path) for version in ("1.0", "2.0")}
        uv = [str(Path(sys.executable).with_name("uv")), "publish", "--no-config"]
        uv += ["--trusted-publishing", "always", "--publish-url", f"{suburb.url}/unstable/legacy/"]
        for version, changed, expected in (("1.0", {}, 0), ("2.0", {"workflow": "other"}, 2)):
            variables = suburb.job(
                home, GITLAB_CI="true", **{variable_of(suburb.audience): ask(claims | changed)}
            )
            done = subprocess.run([*uv, str(files[version])], env=variables, capture_output=True, text=True)
            assert done.returncode == expected, done.stderr
        assert "this job is not a publisher that is registered here: workflow: wanted" in done.stderr
    assert suburb.town.client.releases.get("epsilon", "1.0").index == "unstable"
    with pytest.raises(NotFound):
        suburb.town.client.releases.get("epsilon", "2.0")


@pytest.mark.torture
def test_files_go_to_devpi_and_their_evidence_comes_here(runners: Runners, tmp_path: Path) -> None:
    with running_upstream() as upstream, runners.devpi(tmp_path, upstream.url) as (devpi, token):
        offer_installed(upstream)
        environment = serve_environment(PIP_INDEX_URL=f"{devpi}+simple/")
        with running_store(tmp_path / "store", environment=environment) as store:
            town = settled(store, tmp_path)
            repository = make_project(tmp_path / "repository", name="omega")
            git(repository, "tag", "v1.0.0")
            words = (
                *("pipeline", "package", "--repo", repository, "--ref", "v1.0.0", "--publish-to", devpi),
                *("--credentials", town.credentials, "--store", town.url, "--state", town.state),
            )

            def publish(password: str, expected: int) -> subprocess.CompletedProcess[str]:
                return town.conveyor(
                    *words,
                    expected=expected,
                    CONVEYOR_PUBLISH_USER="root",
                    CONVEYOR_PUBLISH_PASSWORD=password,
                )

            done = publish("wrong", 9)
            assert "did not take omega-1.0.0-py3-none-any.whl: 40" in done.stderr
            assert "nothing arrived before" in done.stderr
            assert 'omega 1.0.0 is in "pypi"' in publish(token, 0).stdout
            publish(token, 0)  # a job that was cut off is played again: devpi takes the same bytes once more
            # The store mirrors the release, and shows what is known of its files.
            fetched = tmp_path / "fetched"
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(fetched)]
            index = ["--index-url", f"{town.url}/stable/simple/", "omega==1.0.0"]
            deadline = (
                time.monotonic() + 90
            )  # the rehearsal asked for the name: a mirror remembers for a minute
            while subprocess.run([*pip, *index], env=town.variables()).returncode:
                assert time.monotonic() < deadline
                time.sleep(5)
            (file,) = fetched.iterdir()
            told = town.conveyor("store", "evidence", file, "--url", town.url).stdout
            commit = git(repository, "rev-parse", "HEAD")[:12]
            assert f"of commit {commit}, signed by worker-1" in told
            town.conveyor("store", "fsck", "--data", town.data)
