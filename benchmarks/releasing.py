"""From a commit to "stable", of a tiny package, against a shell script that does the same by bare uv.

Both do the same clones, builds (the rebuild for the proof included), environments, tests and uploads, for a
candidate and for its signed final. The script proves nothing, keeps no evidence, asks no gate and promotes
nothing. Targets, in CPU time: 1.25 times the script's when a running worker does it, 1.5 times for
``conveyor pipeline run``; at most 1.2 seconds more; below 0.4 seconds of CPU where nothing is left to do.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, machine
from benchmarks.load import adopt_orphans, children, cpu_seconds_of_orphans, cpu_seconds_of_trees
from conveyor.project.uv import find_uv
from pipeline.conftest import running_town
from pipeline.projects import git, make_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.conftest import Town

ROUNDS = 7
WORKER_SECONDS = 120

_SCRIPT = """
set -e
package() {  # TAG VERSION: clone, build in a second clone, test the wheel, publish
    git clone -q --depth 1 --branch "$1" "$REPOSITORY" "$1/checkout"
    git clone -q --depth 1 --branch "$1" "$REPOSITORY" "$1/source"
    SETUPTOOLS_SCM_PRETEND_VERSION=$2 SOURCE_DATE_EPOCH=$(git -C "$1/source" log -1 --format=%ct) \\
        uv build -q --python "$PYTHON" --out-dir "$1/dist" "$1/source"
    check "$1" rehearsal "$NAME[test] @ file://$PWD/$(echo "$1"/dist/*.whl)"
    uv publish -q --publish-url "$STORE/unstable/legacy/" -u __token__ -p "$TOKEN" "$1"/dist/*-*
}
check() {  # TAG FOLDER REQUIREMENT: install a file with what its tests need, run its tests
    mkdir -p "$1/$2/suite"
    git clone -q --depth 1 --branch "$1" "$REPOSITORY" "$1/$2/clone"
    cp -r "$1/$2/clone/tests" "$1/$2/suite"
    uv venv -q --python "$PYTHON" "$1/$2/environment"
    uv pip install -q --python "$1/$2/environment" "$3"
    (cd "$1/$2/suite" && ../environment/bin/python -I -m pytest -q -p no:cacheprovider tests)
}
package v1.0.0rc1 1.0.0rc1
check v1.0.0rc1 testing "$NAME[test]==1.0.0rc1"
package v1.0.0 1.0.0
check v1.0.0 testing "$NAME[test]==1.0.0" &
check v1.0.0 stable "$NAME[test]==1.0.0"
wait $!
"""


@dataclass(frozen=True)
class Taken:
    """What one way from commit to "stable" took."""

    seconds: float
    cpu_seconds: float


def measure() -> Iterator[Figure]:
    """The script, ``pipeline run`` and a running worker, in turn; then a run that has nothing to do."""
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as name, running_town(Path(name)) as town:
        folder = Path(name)
        ways: dict[str, list[Taken]] = {"script": [], "run": [], "worker": [], "again": []}
        with _worker(town) as worker:
            for number in range(1 + ROUNDS):
                ways["script"].append(_by_script(town, _project(town, folder, f"script-{number}")))
                repository = _project(town, folder, f"run-{number}")
                ways["run"].append(_by_run(town, repository))
                ways["again"].append(_measured(lambda at=repository: _run(town, at, "v1.0.0")))  # type: ignore[misc]
                ways["worker"].append(_by_worker(town, worker, _project(town, folder, f"worker-{number}")))
    medians = {
        way: Taken(
            statistics.median(one.seconds for one in taken[1:]),
            statistics.median(one.cpu_seconds for one in taken[1:]),
        )
        for way, taken in ways.items()
    }
    on = f"a candidate and its final, median of {ROUNDS} rounds in turn, {machine()}"
    script = medians["script"]
    for way, what in (("run", "conveyor pipeline run"), ("worker", "a running worker")):
        ours = medians[way]
        yield Figure(f"commit to stable, {what}", "CPU s", ours.cpu_seconds, "script", script.cpu_seconds, on)
        yield Figure(f"commit to stable, {what}", "s", ours.seconds, "script", script.seconds, on)
    again = medians["again"]
    what = "a run with nothing left to do"
    yield Figure(what, "CPU s", again.cpu_seconds, "the limit", 0.4, on)
    yield Figure(what, "s", again.seconds, "python -c pass", 0.012, on)


@contextmanager
def _worker(town: Town) -> Iterator[int]:
    """A running worker; its process id."""
    words = ("pipeline", "worker", "--credentials", town.credentials, "--state", town.state / "worker")
    command = [sys.executable, "-m", "conveyor", *map(str, words)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=town.variables(), **quiet) as process:  # type: ignore[call-overload]
        try:
            yield process.pid
        finally:
            process.terminate()


def _project(town: Town, folder: Path, name: str) -> Path:
    """A claimed project with a candidate and a signed final on its one commit."""
    python = {".python-version": f"{sys.version_info.major}.{sys.version_info.minor}\n"}  # the script's too
    repository = make_project(folder / name, name=name.replace("-", "_"), files=python)
    town.conveyor("store", "claim", name, "--data", town.data)
    town.conveyor("store", "repository", "add", name, repository, "--local", "--data", town.data)
    git(repository, "tag", "v1.0.0rc1")
    town.sign(repository, "v1.0.0")
    return repository


def _measured(action: Callable[[], object]) -> Taken:
    """The time of an action and the CPU time of the processes that it starts and waits for."""
    own, before, started = children(), os.times(), time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    cpu_seconds_of_orphans(own)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(seconds, used)


def _by_script(town: Town, repository: Path) -> Taken:
    index = f"{town.url}/unstable/simple/"
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder:
        environment = {
            "HOME": folder,
            "PATH": f"{Path(find_uv()).parent}{os.pathsep}{os.environ['PATH']}",
            "UV_CACHE_DIR": str(town.state / "script-cache"),
            "UV_LINK_MODE": "copy",
            "UV_NO_CONFIG": "1",
            "UV_DEFAULT_INDEX": index,
            "UV_PRERELEASE": "allow",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "REPOSITORY": f"file://{repository}",
            "NAME": repository.name,
            "PYTHON": sys.executable,
            "STORE": town.url,
            "TOKEN": town.token,
        }
        command = ["sh", "-c", _SCRIPT]
        quiet = subprocess.DEVNULL
        return _measured(
            lambda: subprocess.run(
                command, cwd=folder, env=environment, stdout=quiet, stderr=quiet, check=True
            )
        )


def _by_run(town: Town, repository: Path) -> Taken:
    def both() -> None:
        _run(town, repository, "v1.0.0rc1")
        _run(town, repository, "v1.0.0")

    return _measured(both)


def _run(town: Town, repository: Path, ref: str) -> None:
    outcome = town.run(repository, ref)
    if outcome["index"] != ("testing" if "rc" in ref else "stable"):
        raise RuntimeError(f"{ref} ended in {outcome['index']}: {outcome['detail']}")


def _by_worker(town: Town, worker: int, repository: Path) -> Taken:
    own, used, started = children(), cpu_seconds_of_trees((worker,)), time.perf_counter()
    for ref in ("refs/tags/v1.0.0rc1", "refs/tags/v1.0.0"):
        run = town.client.runs.create(str(repository), ref)
        deadline = time.monotonic() + WORKER_SECONDS
        while (now := town.client.runs.get(run.id)).state in ("requested", "running"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not carry {ref} of {repository.name}: {now.state}")
            time.sleep(0.02)
        if now.state != "succeeded":
            raise RuntimeError(f"{ref} of {repository.name} {now.state}: {now.detail}")
    seconds = time.perf_counter() - started
    return Taken(seconds, cpu_seconds_of_trees((worker,)) - used + cpu_seconds_of_orphans(own))
