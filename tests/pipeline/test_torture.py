"""Runs that are killed again and again end with everything done once: the long rounds (``make torture``)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from pipeline.projects import HATCHLING, MODEL, MODEL_TESTS, TRAINING, git, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.conftest import Town

pytestmark = [pytest.mark.torture, pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(1800)]

ROUNDS = 10
MOST_KILLS = 3
"""As often as the engine tries a job again."""


def run_and_kill(town: Town, repository: Path, ref: str, seconds: float) -> None:
    command = [
        *(sys.executable, "-m", "conveyor", "pipeline", "run", "--repo", str(repository), "--ref", ref),
        *("--store", town.url, "--credentials", str(town.credentials), "--state", str(town.state)),
    ]
    with subprocess.Popen(
        command, env=town.variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)


def actions_on(town: Town, project: str, since: int) -> list[tuple[str, str | None]]:
    """(action, version) of every event about the project after a serial."""
    found: list[tuple[str, str | None]] = []
    with urllib3.PoolManager() as pool:
        headers = {"Authorization": f"Bearer {town.token}"}
        while True:
            answer = pool.request("GET", f"{town.url}/api/v1/events?since={since}", headers=headers)
            events: list[dict[str, Any]] = answer.json()["events"]
            if not events:
                return found
            found += [(one["action"], one["version"]) for one in events if one["project"] == project]
            since = events[-1]["serial"]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_run_killed_at_any_time_does_everything_once(town: Town, tmp_path: Path, number: int) -> None:
    chance = random.Random(number)  # noqa: S311 - repeatable, not secret
    name = f"torture{number}"
    began = town.client.status().serial
    town.conveyor("store", "claim", name, "--data", town.data)
    files = {"src/demo/training.py": TRAINING, "tests/test_model.py": MODEL_TESTS}
    repository = make_project(tmp_path / "repository", name=name, pyproject=HATCHLING + MODEL, files=files)
    git(repository, "tag", "v1.0.0rc1")
    town.sign(repository, "v1.0.0")
    for tag, index in (("v1.0.0rc1", "testing"), ("v1.0.0", "stable")):
        for _ in range(MOST_KILLS):
            run_and_kill(town, repository, tag, chance.uniform(0.5, 5.0))
        outcome = town.run(repository, tag)
        assert (outcome["state"], outcome["index"]) == ("succeeded", index)
    happened = actions_on(town, name, began)
    for version, moves in (("1.0.0rc1", 1), ("1.0.0", 2)):
        mine = [action for action, of in happened if of == version]
        assert mine.count("publish") == 1
        assert mine.count("promote") == moves
    payloads = {
        str(one.predicate["payload"])
        for version in ("1.0.0rc1", "1.0.0")
        for one in town.client.releases.get(name, version).evidence
        if one.kind == "build"
    }
    assert len(payloads) == 1
    marked = f"--state {town.state}"
    assert marked not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
