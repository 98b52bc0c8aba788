"""``conveyor demo`` as a viewer runs it: the whole story, and what is left behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "conveyor", "demo"]
WHOLE_STORY_SECONDS = 600


def processes_naming(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = os.readlink(process / "cwd")  # noqa: PTH115 - Path.readlink resolves nothing here either
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in words or place.startswith(str(folder)):
            found.append(words)
    return found


def wait_until_gone(folder: Path, *, seconds: float = 20) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := processes_naming(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.mark.slow
@pytest.mark.xdist_group("heavy")
def test_demo_carries_a_model_from_commit_to_pip_install_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*DEMO, "--folder", str(folder)], capture_output=True, text=True, timeout=WHOLE_STORY_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"promote to testing +succeeded", done.stdout)
    assert re.search(r"promote to stable +succeeded", done.stdout)
    assert "a rebuild has the same bytes" in done.stdout
    assert "1 file from stable" in done.stdout
    assert re.search(r"predicted (benign|malignant) .*diagnosed", done.stdout)
    assert "qa-signature: waiting" in done.stdout
    assert wait_until_gone(folder) == []


def test_demo_fails_at_the_first_station_that_fails_and_ends_its_processes(tmp_path: Path) -> None:
    """The name tumor cannot become a project: a file stands where its folder has to be."""
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [*DEMO, "--folder", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (folder / "store").exists() and process.poll() is None:
            time.sleep(0.01)
        (folder / "tumor").write_text("in the way")
        output, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "FAILED" in output
    assert "tumor" in errors
    assert "Traceback" not in errors
    assert wait_until_gone(folder) == []


def test_demo_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    done = subprocess.run([*DEMO, "--folder", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert (tmp_path / "precious").read_text() == "data"


def test_demo_in_a_terminal_draws_its_stations_in_place_and_ends_its_processes_when_stopped(
    tmp_path: Path,
) -> None:
    """The live view, on a pseudo-terminal, until the worker runs."""
    folder = tmp_path / "demo"
    ours, theirs = pty.openpty()
    with subprocess.Popen([*DEMO, "--folder", str(folder)], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while not (folder / "worker").exists() and process.poll() is None:
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGTERM)
        while process.poll() is None:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the terminal has closed
                process.wait(60)
    os.close(ours)
    assert process.returncode != 0
    assert b"a store starts on this machine" in seen
    assert b"the store learns" in seen
    assert b"\x1b[" in seen
    assert b"Traceback" not in seen
    assert wait_until_gone(folder) == []
