"""The engine: a step that was done is not done again, whatever killed the process (they are killed here)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from conveyor.pipeline.engine.liveness import LockedNames
from postgres_server import running_postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[str]]

PROGRAM = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from conveyor.pipeline.engine import engine
from conveyor.pipeline.engine.isolation import Workplace, watched
from conveyor.pipeline.engine.watchdog import end_children
from conveyor.project.foreign import Sight, run_foreign

folder, state, database_url = Path(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3:] or [None])[0]
threads = ThreadPoolExecutor(2)

def mark(name):
    with (folder / "steps").open("a") as file:
        file.write(name + "\\n")
    return name

def slow(variables):
    mark("slow")
    if (folder / "let-pass").exists():
        return "slow"
    run_foreign(["sleep", "300"], Sight(variables))
    raise AssertionError("not reached")

@engine.workflow
def story(word):
    place = Workplace(folder / "work", folder / "cache", engine.executor())
    first = engine.step("first", mark, "first")
    begun = [engine.begin(name, partial(mark, name), threads) for name in ("left", "right")]
    both = [one.result() for one in begun]
    third = engine.step("slow", slow, place.variables())
    return [word, first, *both, third, engine.step("last", mark, "last")]

def begin_anew(work_id):
    with running.claimed(work_id) as is_ours:
        assert is_ours
        result = running.run("story-2", story, "again")
        running.cancel(work_id)
        return result

with engine.Engine(state, database_url=database_url) as running, watched(running.executor):
    print("ready", running.executor, flush=True)
    known = running.unfinished("story-")
    if known:
        result = running.follow(known[0].id, end_children)
        print("result", begin_anew(known[0].id) if result is None else result, flush=True)
    else:
        print("result", running.run("story-1", story, "word"), flush=True)
    print("state", *(one.state for one in running.find("story-")), flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    started: list[subprocess.Popen[str]] = []

    def begin(machine: str = "engine", *database: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(program), str(tmp_path), str(tmp_path / machine), *database],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def lines_of(folder: Path) -> list[str]:
    path = folder / "steps"
    return path.read_text().splitlines() if path.exists() else []


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def marked(executor: str) -> list[int]:
    """Processes that carry the executor's mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and f"CONVEYOR_EXECUTOR={executor}".encode() in (entry / "environ").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_killed_workflow_goes_on_at_the_step_it_was_in(tmp_path: Path, start: Start) -> None:
    first = start()
    assert first.stdout is not None
    executor = first.stdout.readline().split()[1]
    wait_until(lambda: "slow" in lines_of(tmp_path) and bool(marked(executor)))

    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    wait_until(lambda: not marked(executor))  # the watchdog ended the child of the killed process

    (tmp_path / "let-pass").touch()
    output, _ = start().communicate(timeout=60)
    assert "result ['word', 'first', 'left', 'right', 'slow', 'last']\nstate succeeded" in output
    steps = lines_of(tmp_path)
    assert sorted(steps) == ["first", "last", "left", "right", "slow", "slow"]
    assert not list((tmp_path / "engine" / "executors").iterdir())


def test_work_of_a_living_executor_is_not_taken_over(tmp_path: Path, start: Start) -> None:
    first = start()
    wait_until(lambda: "slow" in lines_of(tmp_path))
    second = start()
    assert second.stdout is not None
    assert second.stdout.readline().startswith("ready")
    with pytest.raises(subprocess.TimeoutExpired):
        second.communicate(timeout=3)  # it waits for the result that the first still works on
    assert lines_of(tmp_path).count("slow") == 1

    (tmp_path / "let-pass").touch()
    os.kill(first.pid, signal.SIGKILL)
    output, _ = second.communicate(timeout=60)  # whoever follows takes over when the executor dies
    assert "'slow', 'last']" in output
    assert lines_of(tmp_path).count("last") == 1


@pytest.fixture(scope="module")
def database() -> Iterator[Callable[[], str]]:
    with running_postgres() as postgres:
        yield postgres.new_database


def test_work_of_a_machine_that_is_gone_is_begun_anew_elsewhere(
    tmp_path: Path, start: Start, database: Callable[[], str]
) -> None:
    url = database()
    first = start("here", url)
    wait_until(lambda: "slow" in lines_of(tmp_path))
    elsewhere = start("elsewhere", url)
    assert elsewhere.stdout is not None
    assert elsewhere.stdout.readline().startswith("ready")
    at_home = start("here", url)
    assert at_home.stdout is not None
    assert at_home.stdout.readline().startswith("ready")
    os.kill(first.pid, signal.SIGKILL)  # an executor lives at its place: the step is done again there, alone
    wait_until(lambda: lines_of(tmp_path).count("slow") == 2)
    assert lines_of(tmp_path).count("first") == 1

    os.kill(at_home.pid, signal.SIGKILL)  # nobody is left there
    wait_until(lambda: lines_of(tmp_path).count("first") == 2)
    (tmp_path / "let-pass").touch()
    output, _ = elsewhere.communicate(timeout=60)
    assert output == (
        "result ['again', 'first', 'left', 'right', 'slow', 'last']\nstate cancelled succeeded\n"
    )
    assert lines_of(tmp_path).count("last") == 1


def test_executor_that_loses_its_database_session_keeps_its_lock(database: Callable[[], str]) -> None:
    url = database().replace("+psycopg", "")
    mine, other = LockedNames(url, "mine", "a"), LockedNames(url, "other", "b")
    mine.enter()
    other.enter()
    try:
        assert other.is_alive("mine")
        assert other.is_inhabited("a")
        with psycopg.connect(url, autocommit=True) as admin:
            sessions = "from pg_stat_activity where application_name = 'conveyor mine'"
            admin.execute(f"select pg_terminate_backend(pid) {sessions}".encode())
        wait_until(lambda: other.is_alive("mine"))
        with other.claimed("work") as is_ours, mine.claimed("work") as is_theirs:
            assert (is_ours, is_theirs) == (True, False)
    finally:
        mine.leave()
    wait_until(lambda: not other.is_alive("mine"))  # the server needs a moment to end the session
    assert not other.is_inhabited("a")
    other.leave()


def test_state_that_finds_no_room_is_one_clear_error(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from conveyor.errors import StorageFailed\n"
        "from conveyor.pipeline.engine.engine import Engine\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n"
        "    Engine(Path(sys.argv[1])).__enter__()\n"
        "except StorageFailed as error:\n"
        "    sys.exit(f'{error.message}; {error.hint}')"
    )
    called = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    lines = called.stderr.splitlines()
    assert len(lines) == 1, called.stderr
    assert lines[0].startswith(f"the engine's state in {tmp_path} cannot be opened: ")
    assert lines[0].endswith("; check the folder's permissions and its disk, then try again")
    assert not any((tmp_path / "executors").iterdir())
