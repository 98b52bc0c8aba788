"""The engine: a step that was done is not done again, whatever killed the process (they are killed here)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from conveyor.pipeline.engine import engine
from conveyor.pipeline.engine.isolation import Workplace, watched
from conveyor.pipeline.engine.watchdog import end_children
from conveyor.project.foreign import Sight, run_foreign

folder = Path(sys.argv[1])
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

with engine.Engine(folder / "engine") as running, watched(running.executor):
    print("ready", running.executor, flush=True)
    known = running.find("story-")
    if known:
        print("result", running.follow(known[0].id, end_children), flush=True)
    else:
        print("result", running.run("story-1", story, "word"), flush=True)
    print("state", running.find("story-")[0].state, flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(program), str(tmp_path)],
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


def test_killed_workflow_goes_on_at_the_step_it_was_in(
    tmp_path: Path, start: Callable[[], subprocess.Popen[str]]
) -> None:
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


def test_work_of_a_living_executor_is_not_taken_over(
    tmp_path: Path, start: Callable[[], subprocess.Popen[str]]
) -> None:
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
