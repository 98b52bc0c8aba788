"""Runs whose workers are killed again and again end with everything done once: the long rounds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from conveyor.cli.pipeline.requests import run_line, step_lines
from conveyor.domain.runs.repositories import NewRepository
from pipeline.conftest import settled
from pipeline.installed import offer_installed
from pipeline.projects import HATCHLING, MODEL, MODEL_TESTS, TRAINING, git, make_project
from postgres_server import running_postgres
from running_stores import RunningStore, ready_url, serve_environment, start_serving, stop
from upstreams import running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.domain.runs.states import Run
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
    town.claim(name)
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


WORKERS = 3
AT_A_TIME = 4
"""Runs that are requested together; with ``KILLING_ROUNDS`` rounds this makes a hundred."""
KILLING_ROUNDS = 25
TAKE_OVER_SECONDS = 2.0


@dataclass
class Crew:
    """A store and three workers, each of its own name; who is killed begins again."""

    town: Town
    name: str
    folder: Path
    commands: list[list[str]]
    environment: dict[str, str]
    """Of the store."""
    store: subprocess.Popen[str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def begin(self, number: int) -> subprocess.Popen[bytes]:
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            return subprocess.Popen(
                self.commands[number], env=self.town.variables(), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def kill(self, number: int) -> None:
        process = self.processes[number]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.processes[number] = self.begin(number)

    def kill_store(self) -> None:
        """The store's first process; the same folder is served again, on the same port."""
        self.store.kill()
        self.store.communicate()
        port = self.town.url.rpartition(":")[2]
        self.store = start_serving(self.town.data, "--port", port, environment=self.environment)
        ready_url(self.store)

    def kill_child(self, chance: random.Random) -> None:
        """Something that a worker has started for a run, such as a jail, a program in it, uv or git."""
        workers = {process.pid for process in self.processes}
        found = [
            pid for pid, line, ancestors in with_children(self.folder)
            if ancestors & workers and pid not in workers and "watchdog" not in line
        ]  # fmt: skip
        if found:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(sorted(found)), signal.SIGKILL)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crew(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """On SQLite they share a state folder; on PostgreSQL, as the store is, each is as on its own machine."""
    folder = tmp_path_factory.mktemp(f"crew-{request.param}")
    with ExitStack() as stack:
        upstream = stack.enter_context(running_upstream())
        offer_installed(upstream)
        environment, database_url = serve_environment(PIP_INDEX_URL=upstream.url), None
        engine: tuple[str, ...] = ()
        if request.param == "postgresql":
            postgres = stack.enter_context(running_postgres(is_durable=True))
            database_url = postgres.new_database()
            environment |= {"CONVEYOR_DATABASE_URL": database_url}
            engine = ("--engine", postgres.new_database())
        store = start_serving(folder / "store", "--port", "0", environment=environment)
        stack.callback(store.kill)  # if it cannot be made ready
        url = ready_url(store)
        running = RunningStore(url, folder / "store", store, folder / "access.log")
        town = settled(running, folder, database_url=database_url)
        commands = []
        for number in range(WORKERS):
            name, credentials = f"{request.param}-{number}", folder / f"worker-{number}.toml"
            town.conveyor("store", "worker", "add", name, "--credentials", credentials, "--data", town.data)
            state = folder / (f"state-{number}" if engine else "state")
            commands.append(
                [*(sys.executable, "-m", "conveyor", "pipeline", "worker", "--store", town.url),
                 *("--credentials", str(credentials), "--state", str(state), "--runs", "2", *engine)]
            )  # fmt: skip
        crew = Crew(town, request.param, folder, commands, environment, store)
        crew.processes = [crew.begin(number) for number in range(WORKERS)]
        try:
            yield crew
        finally:
            for process in crew.processes:
                process.kill()
                process.wait()
            left = orphans(folder, but=[crew.store])
            stop(crew.store)
        assert left == []


@pytest.mark.parametrize("number", range(KILLING_ROUNDS))
def test_killed_workers_leave_every_run_as_if_undisturbed(crew: Crew, tmp_path: Path, number: int) -> None:
    chance, town = random.Random(number), crew.town  # noqa: S311 - repeatable, not secret
    began = town.client.status().serial
    asked = {}
    for one in range(AT_A_TIME):
        name = f"{crew.name}{number}x{one}"
        town.conveyor("store", "claim", name, "--data", town.data)
        repository = make_project(tmp_path / name, name=name)
        git(repository, "tag", "v1.0.0rc1")
        town.client.repositories.add(NewRepository(name, str(repository), is_local=True))
        asked[name] = town.client.runs.create(str(repository), "refs/tags/v1.0.0rc1", project=name).id
    deadline = time.monotonic() + 600
    victims = [chance.choice(["worker", "worker", "store", "child"]) for _ in range(MOST_KILLS)]
    killed: list[str] = []
    while left := [one for one in asked.values() if not town.client.runs.get(one).has_ended]:
        assert time.monotonic() < deadline, [town.client.runs.get(one) for one in left]
        time.sleep(chance.uniform(0.5, 4.0))
        if len(killed) < len(victims):
            killed.append(victims[len(killed)])
            if killed[-1] == "store":
                crew.kill_store()
            elif killed[-1] == "child":
                crew.kill_child(chance)
            else:
                crew.kill(chance.randrange(WORKERS))
    for name, run_id in asked.items():
        run = town.client.runs.get(run_id)
        assert (run.state, run.version) == ("succeeded", "1.0.0rc1"), f"{killed}\n{told(run)}"
        mine = [action for action, _ in actions_on(town, name, began)]
        assert (mine.count("publish"), mine.count("promote")) == (1, 1)
        assert town.client.releases.get(name, "1.0.0rc1").index == "testing"
    assert orphans(crew.folder, but=[crew.store, *crew.processes]) == []


def told(run: Run) -> str:
    """What a run says of itself, for the message of a test that fails."""
    return "\n".join([run_line(run), *(line for step in run.steps for line in step_lines(step))])


def orphans(folder: Path, but: Sequence[subprocess.Popen[Any]] = ()) -> list[str]:
    """Processes that have to do with a folder and were not started, at any remove, by one of these.

    What a worker has left is looked for until it is gone: its watchdog needs a moment.
    """
    for _ in range(100):
        left = [one for one in with_children(folder) if not one[2] & {process.pid for process in but}]
        if not left:
            break
        time.sleep(0.1)
    return [line for _, line, _ in left]


def with_children(folder: Path) -> list[tuple[int, str, set[int]]]:
    """Each process that names the folder in its command line or its variables: that line, its ancestors."""
    found, parents = {}, {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(status[1])
                if bytes(folder) in said and status[0] != "Z":
                    found[int(entry.name)] = said.decode(errors="replace").replace("\0", " ")[:200]
    seen = []
    for pid, line in found.items():
        ancestors, at = {pid}, pid
        while at := parents.get(at, 0):
            ancestors.add(at)
        if os.getpid() != pid:
            seen.append((pid, line, ancestors))
    return seen


def test_run_of_a_killed_worker_goes_on_within_two_seconds(crew: Crew, tmp_path: Path) -> None:
    town, name = crew.town, f"{crew.name}waits"
    town.conveyor("store", "claim", name, "--data", town.data)
    repository = make_project(tmp_path / name, name=name)
    git(repository, "tag", "v1.0.0rc1")
    town.client.repositories.add(NewRepository(name, str(repository), is_local=True))
    asked = town.client.runs.create(str(repository), "refs/tags/v1.0.0rc1", project=name).id
    while not (steps := town.client.runs.get(asked).steps) or steps[-1].name != "build":
        time.sleep(0.05)
    holder = town.client.runs.get(asked).worker
    number = next(at for at in range(WORKERS) if holder == f"{crew.name}-{at}")
    crew.kill(number)
    killed = time.monotonic()
    while town.client.runs.get(asked).worker == holder:
        time.sleep(0.02)
    assert time.monotonic() - killed < TAKE_OVER_SECONDS
