"""Commits of a tiny package that wait in the queue, carried by one worker, by two and by four on one machine.

The workers share a state folder, as on one machine, and each carries one run at a time. The store answers
from the same machine. Two workers are to be at least 1.5 times as fast as one, and four must lose nothing:
every commit is published once, promoted once, and ends in "testing". One worker and two get fewer commits
than four, and figures are per commit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, machine
from benchmarks.load import cpu_seconds_of_trees
from conveyor.domain.runs.repositories import NewRepository
from pipeline.conftest import running_town
from pipeline.projects import git, make_project
from pipeline.test_torture import actions_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.conftest import Town

COMMITS = {1: 30, 2: 30, 4: 100}
"""Workers → how many commits wait for them."""
SECONDS_OF_A_COMMIT = 60


@dataclass(frozen=True)
class Carried:
    """What a commit took, on average."""

    seconds: float
    cpu_seconds: float
    """Of the workers and all that they started."""


def measure() -> Iterator[Figure]:
    """One worker after another number of them; first each number of workers carries one commit unmeasured."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as name, running_town(Path(name)) as town:
        found = {number: _carried(town, Path(name), number) for number in COMMITS}
    alone = found[1]
    for number in (2, 4):
        on = f"{COMMITS[number]} queued commits of a tiny package, {machine()}"
        baseline = f"one worker, {COMMITS[1]} commits"
        what = f"a queued commit, {number} workers"
        yield Figure(what, "s", found[number].seconds, baseline, alone.seconds, on)
        yield Figure(what, "CPU s", found[number].cpu_seconds, baseline, alone.cpu_seconds, on)


def _carried(town: Town, folder: Path, number: int) -> Carried:
    """What a commit takes when so many workers share the queue; raises RuntimeError if one is lost."""
    project = f"queued{number}"
    town.claim(project)
    began = town.client.status().serial
    repository = make_project(folder / project, name=project)
    town.client.repositories.add(NewRepository(project, str(repository), is_local=True))
    commits = [git(repository, "rev-parse", "HEAD")]
    for _ in range(COMMITS[number]):
        git(repository, "commit", "-q", "--allow-empty", "-m", "More")
        commits.append(git(repository, "rev-parse", "HEAD"))
    with ExitStack() as stack:
        workers = tuple(stack.enter_context(_worker(town)) for _ in range(number))
        _carry(town, repository, commits[:1])  # warms the caches, and waits until a worker is there
        time.sleep(2)  # the others begin as well
        used, started = cpu_seconds_of_trees(workers), time.perf_counter()
        _carry(town, repository, commits[1:])
        seconds = time.perf_counter() - started
        cpu_seconds = cpu_seconds_of_trees(workers) - used
    happened = actions_on(town, project, began)
    for action in ("publish", "promote"):
        versions = [version for what, version in happened if what == action]
        if len(versions) != len(commits) or len(set(versions)) != len(commits):
            raise RuntimeError(f"{len(commits)} commits, {action} {len(versions)} times: {versions}")
    return Carried(seconds / COMMITS[number], cpu_seconds / COMMITS[number])


@contextmanager
def _worker(town: Town) -> Iterator[int]:
    """A running worker; its process id."""
    words = ("pipeline", "worker", "--credentials", town.credentials, "--state", town.state / "worker")
    command = [sys.executable, "-m", "conveyor", *map(str, words), "--store", town.url]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=town.variables(), **quiet) as process:  # type: ignore[call-overload]
        try:
            yield process.pid
        finally:
            process.terminate()


def _carry(town: Town, repository: Path, commits: list[str]) -> None:
    """Request a run of each commit at once, and wait until all have succeeded."""
    waiting = {town.client.runs.create(str(repository), commit).id for commit in commits}
    deadline = time.monotonic() + SECONDS_OF_A_COMMIT * len(commits)
    while waiting:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(waiting)} runs were never carried: {sorted(waiting)}")
        time.sleep(0.1)
        for run in town.client.runs.newest(limit=200):
            if run.id in waiting and run.has_ended:
                if run.state != "succeeded":
                    raise RuntimeError(f"run {run.id} {run.state}: {run.detail}")
                waiting.discard(run.id)
