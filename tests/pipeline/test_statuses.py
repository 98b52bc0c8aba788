"""Commit statuses: told to real servers in the forms that GitLab, GitHub and Gitea document."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from certificates import make_certificate
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.runs.states import Run
from conveyor.errors import Conflict, InvalidInput, NotFound
from conveyor.pipeline.carrying import statuses as module
from conveyor.pipeline.carrying.statuses import STATUSES, Statuses
from conveyor.pipeline.engine.keyring import (
    FOLDER,
    add_status_account,
    list_status_accounts,
    remove_status_account,
    usual_api,
)
from git_hosts import running_git_over_https
from pipeline.projects import git
from receiving_programs import running_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.pipeline.engine.keyring import StatusHost
    from pipeline.conftest import Town
    from receiving_programs import Program

REPOSITORY = "https://git.example.org/group/sub/lung.git"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
STORE = "https://packages.example"
AT = "2026-11-30T12:00:00.000000Z"
RUN = Run(
    7, REPOSITORY, "refs/tags/v1.0", "unstable", COMMIT, "lung", "1.0", "running", "worker-1",
    "admin", AT, AT, None, None,
)  # fmt: skip
ENDED = replace(RUN, state="failed", detail="2 tests failed\nand 0 broke", finished_at=AT)


@pytest.fixture
def program() -> Iterator[Program]:
    with running_program() as running:
        yield running


@pytest.fixture
def statuses(tmp_path: Path) -> Statuses:
    return Statuses(tmp_path, prefix="store-1-")


def tell(folder: Path, host: StatusHost, program: Program, url: str = REPOSITORY) -> None:
    token = folder / "token"
    token.write_text("secret-of-the-host")
    token.chmod(0o600)
    add_status_account(folder / FOLDER, url, host=host, token_file=token, api=f"{program.url}/api")


def posted(program: Program) -> list[dict[str, Any]]:
    return [json.loads(body) for _, _, body in program.posted]


def test_gitlab_is_told_by_its_commits_api(tmp_path: Path, statuses: Statuses, program: Program) -> None:
    tell(tmp_path, "gitlab", program)
    for run in (RUN, ENDED):
        statuses.note(run, STORE)
        assert statuses.send() == 1
    path, headers, _ = program.posted[0]
    assert path == f"/api/projects/group%2Fsub%2Flung/statuses/{COMMIT}"
    assert headers["private-token"] == "secret-of-the-host"
    assert posted(program) == [
        {
            "state": "running",
            "name": "conveyor/lung/v1.0",
            "target_url": f"{STORE}/api/v1/runs/7",
            "description": "lung 1.0 is on its way",
        },
        {
            "state": "failed",
            "name": "conveyor/lung/v1.0",
            "target_url": f"{STORE}/api/v1/runs/7",
            "description": "2 tests failed and 0 broke",
        },
    ]


@pytest.mark.parametrize(
    ("host", "authorization"),
    [("github", "Bearer secret-of-the-host"), ("gitea", "token secret-of-the-host")],
)
def test_github_and_gitea_are_told_in_their_words(
    tmp_path: Path, statuses: Statuses, program: Program, host: StatusHost, authorization: str
) -> None:
    url = "ssh://git@git.example.org/group/lung"
    tell(tmp_path, host, program, url)
    for run in (RUN, ENDED, replace(RUN, id=8, state="succeeded", ref="main", project=None)):
        statuses.note(replace(run, repository=url), STORE)
        statuses.send()
    path, headers, _ = program.posted[0]
    assert (path, headers["authorization"]) == (f"/api/repos/group/lung/statuses/{COMMIT}", authorization)
    told = [(one["state"], one["context"]) for one in posted(program)]
    assert told == [
        ("pending", "conveyor/lung/v1.0"),
        ("failure", "conveyor/lung/v1.0"),
        ("success", "conveyor"),
    ]
    assert ("x-github-api-version" in headers) is (host == "github")


def test_state_is_told_once_and_nothing_is_left_after_the_end(
    tmp_path: Path, statuses: Statuses, program: Program
) -> None:
    tell(tmp_path, "gitlab", program)
    for _ in range(3):
        statuses.note(RUN, STORE)
        statuses.send()
    assert statuses.unfinished() == [7]
    statuses.note(ENDED, STORE)
    statuses.send()
    assert len(program.posted) == 2
    assert list((tmp_path / STATUSES).iterdir()) == []


def test_what_a_host_does_not_take_is_told_later_by_whoever_works_then(
    tmp_path: Path, statuses: Statuses, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(tmp_path, "github", program)
    place = f"/api/repos/group/sub/lung/statuses/{COMMIT}"
    program.answers = {place: 500}
    statuses.note(RUN, STORE)
    assert (statuses.send(), statuses.send()) == (0, 0)
    assert len(program.posted) == 1, "it is not asked again at once"
    program.answers = {}
    statuses.note(ENDED, STORE)
    after = Statuses(tmp_path, prefix="store-1-")  # of a worker that began after this one was killed
    assert after.send() == 1
    assert [one["state"] for one in posted(program)] == ["pending", "failure"]
    monkeypatch.setattr(module, "GIVEN_UP_AFTER_SECONDS", -1)
    program.answers = {place: 500}
    statuses.note(ENDED, STORE)
    statuses.send()
    assert list((tmp_path / STATUSES).iterdir()) == [], "it is given up"


@pytest.mark.parametrize("status", [404, 422])
def test_host_that_never_will_is_not_asked_again(
    tmp_path: Path, statuses: Statuses, program: Program, status: int
) -> None:
    tell(tmp_path, "github", program)
    program.answers = {f"/api/repos/group/sub/lung/statuses/{COMMIT}": status}
    statuses.note(RUN, STORE)
    statuses.send()
    assert list((tmp_path / STATUSES).iterdir()) == []


def test_redirect_does_not_get_the_token(tmp_path: Path, statuses: Statuses, program: Program) -> None:
    tell(tmp_path, "github", program)
    program.answers = {f"/api/repos/group/sub/lung/statuses/{COMMIT}": 307}
    statuses.note(RUN, STORE)
    assert statuses.send() == 0
    assert len(program.posted) == 1


def test_nobody_is_told_of_repositories_without_an_account_or_runs_without_a_commit(
    tmp_path: Path, statuses: Statuses, program: Program
) -> None:
    assert not statuses.are_told
    tell(tmp_path, "github", program)
    for run in (
        replace(RUN, repository="https://git.example.org/group/other.git"),
        replace(RUN, commit=None),
        replace(RUN, state="requested"),
    ):
        statuses.note(run, STORE)
    assert statuses.send() == 0
    assert statuses.are_told


@pytest.mark.parametrize(
    ("url", "host", "api"),
    [
        ("https://github.com/group/lung", "github", "https://api.github.com"),
        ("git@github.com:group/lung.git", "github", "https://api.github.com"),
        ("https://git.example.org:8443/group/lung", "github", "https://git.example.org:8443/api/v3"),
        ("ssh://git@git.example.org:2222/group/lung", "gitlab", "https://git.example.org/api/v4"),
        ("https://git.example.org/group/lung", "gitea", "https://git.example.org/api/v1"),
    ],
)
def test_api_is_where_such_hosts_have_it(url: str, host: StatusHost, api: str) -> None:
    assert usual_api(url, host) == api


def test_account_is_its_owner_s_alone_and_its_token_goes_over_tls(tmp_path: Path, program: Program) -> None:
    keyring, token = tmp_path / FOLDER, tmp_path / "token"
    token.write_text("secret-of-the-host")
    token.chmod(0o644)
    with pytest.raises(InvalidInput) as refused:
        add_status_account(keyring, REPOSITORY, host="gitlab", token_file=token, api="http://git.example.org")
    assert len(refused.value.faults) == 2
    tell(tmp_path, "gitlab", program)
    with pytest.raises(Conflict):
        tell(tmp_path, "gitlab", program)
    (account,) = list_status_accounts(keyring)
    assert "secret" not in repr(account)
    (folder,) = keyring.with_name("status-accounts").iterdir()
    (folder / "token").chmod(0o640)
    with pytest.raises(InvalidInput, match="0640"):
        list_status_accounts(keyring)
    remove_status_account(keyring, REPOSITORY)
    with pytest.raises(NotFound):
        remove_status_account(keyring, REPOSITORY)
    with pytest.raises(InvalidInput, match="no host"):
        add_status_account(keyring, str(tmp_path), host="gitlab", token_file=token)


def test_worker_tells_the_host_of_a_run_that_it_carries(town: Town, program: Program, tmp_path: Path) -> None:
    """A repository that holds no project: its run fails as soon as its commit is known."""
    (tmp_path / "srv").mkdir()
    made = tmp_path / "made"
    subprocess.run(["git", "init", "-q", "-b", "main", made], check=True)
    git(made, "commit", "-q", "--allow-empty", "-m", "nothing yet")
    commit = git(made, "rev-parse", "HEAD").strip()
    git(tmp_path / "srv", "clone", "-q", "--bare", str(made), "empty")
    certificate = make_certificate(tmp_path / "tls")
    token = tmp_path / "token"
    token.write_text("secret-of-the-host")
    token.chmod(0o600)
    with running_git_over_https(tmp_path / "srv", certificate) as host:
        url, state = f"{host.url}/empty", tmp_path / "state"
        town.claim("empty")
        town.client.repositories.add(NewRepository("empty", url, is_local=True))
        words = (
            "--host",
            "gitlab",
            "--token-file",
            token,
            "--api",
            f"{program.url}/api/v4",
            "--state",
            state,
        )
        town.conveyor("pipeline", "credentials", "status", url, *words)
        assert (
            "commit statuses to gitlab"
            in town.conveyor("pipeline", "credentials", "list", "--state", state).stdout
        )
        run = town.client.runs.create(url, "main")
        worker = ("--credentials", town.credentials, "--store", town.url, "--state", state)
        town.conveyor("pipeline", "worker", "--once", *worker, GIT_SSL_CAINFO=certificate[0])
    assert town.client.runs.get(run.id).state == "failed"
    assert program.posted[-1][0] == f"/api/v4/projects/empty/statuses/{commit}"
    told = posted(program)[-1]
    assert (told["state"], told["target_url"]) == ("failed", f"{town.url}/api/v1/runs/{run.id}")
    assert told["description"]
