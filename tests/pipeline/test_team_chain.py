"""Whole runs on a team's own chain of indexes, beside the default chain; this store is on PostgreSQL."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest

from conveyor.pipeline.jobs.promotion import index_on
from pipeline.conftest import Town, settled
from pipeline.installed import offer_installed
from pipeline.projects import git, make_project
from postgres_server import running_postgres
from running_stores import running_store, serve_environment
from upstreams import running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

ENTRY, MIDDLE, END = CHAIN = ("risk/unstable", "risk/testing", "risk/stable")
CHOICES = "name the index where it enters: risk/unstable, unstable"


@pytest.fixture(scope="module")
def team(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A store with a team's chain beside the default one; its worker's caches are those of ``town``."""
    folder = tmp_path_factory.mktemp("team")
    with running_postgres() as postgres, running_upstream() as upstream:
        offer_installed(upstream)
        url = postgres.new_database()
        environment = serve_environment(PIP_INDEX_URL=upstream.url, CONVEYOR_DATABASE_URL=url)
        with running_store(folder / "store", environment=environment) as store:
            made = settled(store, folder, state=town.state, database_url=url)
            house = ("--base", "stable", "--base", "pypi")
            tested = ("--mode", "promotion-only", "--gate", "tests")
            create = ("store", "index", "create", "--data", made.data)
            made.conveyor(*create, END, *tested, "--gate", "qa-signature", *house)
            made.conveyor(*create, MIDDLE, *tested, "--base", END, *house)
            made.conveyor(*create, ENTRY, "--mode", "uploads", "--base", MIDDLE, "--base", END, *house)
            for name in ("alpha", "beta", "gamma"):
                made.claim(name)
            yield made


def steps_of(team: Town, ref: str) -> list[str]:
    run = next(run for run in team.client.runs.newest() if run.ref == ref)
    return [step.name for step in run.steps]


def test_release_goes_along_the_chain_of_its_team(team: Town, tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository", name="alpha")
    git(repository, "tag", "v1.0.0rc1")
    # 1. Two chains: the one that is meant has to be named.
    refused = team.run(repository, "v1.0.0rc1", expected=6)
    assert refused["error"]["detail"] == "releases enter at several indexes of this store"
    assert refused["error"]["hint"] == CHOICES
    # 2. The candidate is published into the team's first index and tested into its second.
    outcome = team.run(repository, "v1.0.0rc1", index=ENTRY)
    assert (outcome["state"], outcome["index"]) == ("succeeded", MIDDLE)
    assert steps_of(team, "v1.0.0rc1")[0] == "way"
    assert {"test for risk/testing", "promote to risk/testing"} <= set(steps_of(team, "v1.0.0rc1"))
    run = team.client.runs.newest()[0]
    assert (run.index, run.project) == (ENTRY, "alpha")
    # 3. The signed final goes on to the team's last index, and not into the default one.
    team.sign(repository, "v1.0.0")
    outcome = team.run(repository, "v1.0.0", index=ENTRY)
    assert (outcome["state"], outcome["index"], outcome["verdicts"]) == ("succeeded", END, [])
    assert team.client.releases.get("alpha", "1.0.0").indexes == (END,)
    # 4. The same call again finds it there; another chain does not take it over.
    assert team.run(repository, "v1.0.0", index=ENTRY)["index"] == END
    refused = team.run(repository, "v1.0.0", index="unstable", expected=6)
    assert refused["error"]["detail"] == (
        'alpha 1.0.0 is in "risk/stable" already, which is not on the way unstable → testing → stable'
    )
    # 5. What the store says of the way: from the second index to the third, and there it ends.
    asked = ("--url", team.url, "--token", team.token)
    said = team.conveyor("why", "alpha", "1.0.0rc1", *asked).stdout.splitlines()
    assert said[0] == 'alpha 1.0.0rc1 is in "risk/testing"; to enter "risk/stable":'
    assert team.conveyor("why", "alpha", "1.0.0", *asked).stdout.startswith(
        'alpha 1.0.0 is in "risk/stable"\n'
    )
    refused_by = team.conveyor(
        *("store", "promote", "alpha", "1.0.0rc1", "--to", "unstable", *asked), expected=6
    ).stderr
    assert 'no index that the release is in leads to "unstable"' in refused_by


@pytest.mark.torture
def test_worker_of_a_team_carries_the_runs_that_enter_its_chain(team: Town, tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository", name="beta")
    git(repository, "tag", "v1.0.0rc1")
    at = ("--data", team.data)
    team.conveyor("store", "repository", "add", "beta", repository, "--local", *at)
    narrowing = [word for name in CHAIN for word in ("--index", name)]
    tokens = {
        user: team.conveyor("store", "token", "create", "--user", user, *narrowing, *at).stdout.strip()
        for user in ("admin", "worker-1")
    }
    ours = tmp_path / "worker.toml"
    known = team.credentials.read_text()
    ours.write_text(known.replace(tomllib.loads(known)["token"], tokens["worker-1"]))
    trigger = ("pipeline", "trigger", "--store", team.url, "--repo", repository, "--ref", "v1.0.0rc1")
    # A token that is narrowed to one chain has no choice to make; the whole store's has.
    refused = team.conveyor(*trigger, expected=6, CONVEYOR_TOKEN=team.token).stderr
    assert refused.splitlines()[-1] == f"hint: {CHOICES}"
    team.conveyor(*trigger, "--index", "unstable", CONVEYOR_TOKEN=team.token)
    team.conveyor(*trigger, CONVEYOR_TOKEN=tokens["admin"])
    words = ("--store", team.url, "--state", team.state, "--once")
    team.conveyor("pipeline", "worker", "--credentials", ours, *words)
    found = {run.index: run for run in team.client.runs.newest() if run.repository == str(repository)}
    assert (found[ENTRY].state, found["unstable"].state) == ("succeeded", "requested")
    assert team.client.releases.get("beta", "1.0.0rc1").indexes == (MIDDLE,)
    # The run that is left enters the default chain, where this release never was.
    team.conveyor("pipeline", "worker", "--credentials", team.credentials, *words)
    left = team.client.runs.get(found["unstable"].id)
    assert left.state == "failed"
    assert 'is in "risk/testing" already, which is not on the way unstable' in (left.detail or "")


@pytest.mark.torture
def test_ci_host_packages_into_a_named_index_and_tests_into_the_one_that_follows(
    team: Town, tmp_path: Path
) -> None:
    repository = make_project(tmp_path / "repository", name="gamma")
    git(repository, "tag", "v1.0.0rc1")
    shared = ("--credentials", team.credentials, "--store", team.url, "--state", team.state, "--json")
    package = ("pipeline", "package", "--repo", repository, "--ref", "v1.0.0rc1", *shared)
    assert "promotion-only" in team.conveyor(*package, "--index", MIDDLE, expected=6).stderr
    packaged = json.loads(team.conveyor(*package, "--index", ENTRY).stdout)
    assert packaged["index"] == ENTRY
    tested = json.loads(team.conveyor("pipeline", "test", "gamma", "1.0.0rc1", *shared).stdout)
    assert tested["index"] == MIDDLE
    assert index_on(CHAIN, team.client.releases.get("gamma", "1.0.0rc1")) == MIDDLE
