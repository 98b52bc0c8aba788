"""A real store with a real upstream, people and a worker; one for all tests of the pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.client.store import StoreClient, connect
from conveyor.domain.indexes.definitions import IndexSettings, NewClaim
from conveyor.pipeline.engine.worker import Keeper, open_worker
from conveyor.project.foreign import clean_environment_variables
from pipeline.installed import offer_installed
from pipeline.projects import git
from running_stores import running_store, serve_environment
from upstreams import running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from running_stores import RunningStore

SIGNER = "qa@localhost"


@dataclass(frozen=True)
class Town:
    """The store and who is known to it."""

    url: str
    data: Path
    credentials: Path
    key: Path
    """The QA person's SSH key."""
    token: str
    """An administrator's."""
    state: Path
    """The worker's state folder, with its caches; shared by the tests."""
    database_url: str | None = None
    """``None``: SQLite, in the folder ``data``."""

    @property
    def client(self) -> StoreClient:
        """As an administrator."""
        return connect(self.url, token=self.token)

    def conveyor(
        self, *words: str | Path, expected: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in a clean environment and look at its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "conveyor", *map(str, words)],
            env=self.variables() | variables, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == expected, done.stdout + done.stderr
        return done

    def variables(self) -> dict[str, str]:
        """A clean environment."""
        elsewhere = {"CONVEYOR_DATABASE_URL": self.database_url} if self.database_url else {}
        return clean_environment_variables() | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **elsewhere,
        }

    def run(
        self,
        repository: Path,
        ref: str,
        *,
        index: str | None = None,
        expected: int = 0,
        state: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """``conveyor pipeline run``, with further environment variables; its outcome."""
        entry = () if index is None else ("--index", index)
        done = self.conveyor(
            *("pipeline", "run", "--json", "--repo", repository, "--ref", ref, *entry, "--store", self.url),
            *("--credentials", self.credentials, "--state", state or self.state),
            expected=expected,
            **(variables or {}),
        )
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    def in_a_run(self, project: str) -> Keeper:
        """The worker as it carries a run of the project, which has no end."""
        worker = open_worker(self.credentials, store_url=self.url)
        run = worker.client.runs.create("/srv/demo.git", "v1.0.0rc1", project=project, claim=True)
        return worker.for_run(run.id)

    def claim(self, name: str) -> None:
        """Claim a name for the store, as an administrator."""
        self.client.claims.add(NewClaim(name))

    @contextmanager
    def pythons(self, index: str, *pythons: str) -> Iterator[None]:
        """The index asks for these Pythons meanwhile; other tests have the same store."""
        self.client.indexes.set(IndexSettings(index, pythons=pythons))
        try:
            yield
        finally:
            self.client.indexes.set(IndexSettings(index))

    def sign(self, repository: Path, tag: str, commit: str = "HEAD") -> None:
        """Tag a commit with QA's signature."""
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key}")
        git(repository, *signing, "tag", "-s", "-m", tag, tag, commit)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with running_town(tmp_path_factory.mktemp("town")) as town:
        yield town


@contextmanager
def running_town(folder: Path) -> Iterator[Town]:
    """A store on SQLite below a folder, whose upstream offers what is installed here."""
    with running_upstream() as upstream:
        offer_installed(upstream)
        environment = serve_environment(PIP_INDEX_URL=upstream.url)
        with running_store(folder / "store", environment=environment) as store:
            yield settled(store, folder)


def settled(
    store: RunningStore, folder: Path, *, state: Path | None = None, database_url: str | None = None
) -> Town:
    """People and a worker are registered with a store that runs."""
    key, at = folder / "qa", ("--data", str(store.data))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    credentials, state = folder / "worker.toml", state or folder / "state"
    town = Town(store.url, store.data, credentials, key, "", state, database_url)
    town.conveyor("store", "worker", "add", "worker-1", "--credentials", credentials, *at)
    town.conveyor("store", "signer", "add", SIGNER, "--key", f"{key}.pub", *at)
    token = town.conveyor("store", "token", "create", "--user", "admin", *at).stdout.strip()
    return replace(town, token=token)
