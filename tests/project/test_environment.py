"""Environments, and what their children may see."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import MissingTool, ProjectError
from conveyor.project.environment import Environment, make_environment, run_in
from conveyor.project.foreign import Surroundings, clean_environment_variables
from conveyor.project.uv import run_uv
from distributions_made import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp("environment") / "venv")


class _Index(http.server.BaseHTTPRequestHandler):
    """An index that has nothing and remembers what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def index() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (_Index,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple/", asked
        server.shutdown()


def test_new_environment_is_empty_and_runs_its_own_python(environment: Environment) -> None:
    done = run_in(environment, ["python", "-c", "import sys; print(sys.prefix)"])
    assert done.output.strip() == str(environment.path)
    asked = "import importlib.util as u, sys; sys.exit(u.find_spec('pytest') is not None)"
    assert run_in(environment, ["python", "-c", asked]).return_code == 0


def test_environment_replaces_an_environment_but_nothing_else(tmp_path: Path) -> None:
    make_environment(tmp_path / "venv")
    (tmp_path / "venv/stray").write_text("x")
    make_environment(tmp_path / "venv")
    assert not (tmp_path / "venv/stray").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    with pytest.raises(ProjectError, match="neither a virtual environment nor empty"):
        make_environment(tmp_path / "mine")
    assert (tmp_path / "mine/file").read_text() == "mine"


@pytest.mark.parametrize("is_clean", [True, False])
def test_installed_files_are_copies_so_that_changing_one_does_not_change_the_cache(
    tmp_path: Path, is_clean: bool
) -> None:
    wheel = make_wheel("linked")
    (tmp_path / wheel.filename).write_bytes(wheel.content)
    variables = {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_LINK_MODE": "hardlink"}
    found: list[Path] = []
    for name in ("first", "second"):
        environment = make_environment(tmp_path / name)
        words = ["pip", "install", "--offline", "--no-deps", "--python", str(environment.python)]
        run_uv([*words, str(tmp_path / wheel.filename)], Surroundings(variables), is_clean=is_clean)
        found += environment.path.glob("lib/python*/site-packages/linked*/METADATA")
    assert len(found) == 2
    assert {file.stat().st_nlink for file in found} == {1}
    found[0].write_text("changed")
    assert found[1].read_text() != "changed"


def test_children_see_no_secret_and_no_configuration_of_this_machine(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaks = ("PIP_INDEX_URL", "UV_INDEX_URL", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "CONVEYOR_TOKEN")
    for name in (*leaks, "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "leaked")
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates")
    clean = clean_environment_variables()
    assert "leaked" not in clean.values()
    assert clean["PIP_CONFIG_FILE"] == os.devnull
    assert clean["SSL_CERT_FILE"] == "/certificates"
    assert clean["PATH"] == os.environ["PATH"]
    code = "import os; print(sorted(name for name, value in os.environ.items() if 'leaked' in value))"
    assert run_in(environment, ["python", "-c", code]).output.strip() == "[]"


def test_given_index_is_the_only_one_asked(
    environment: Environment, index: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = index
    monkeypatch.setenv("UV_EXTRA_INDEX_URL", "http://127.0.0.1:9/other/simple/")
    with pytest.raises(ProjectError, match="certainly-not-there"):
        Environment(environment.path, Surroundings(index_url=url)).install("certainly-not-there")
    assert set(asked) == {"/simple/certainly-not-there/"}


def test_password_of_an_index_is_no_argument_and_in_no_message(
    environment: Environment, index: tuple[str, list[str]]
) -> None:
    url = index[0].replace("http://", "http://user:secret@")
    with pytest.raises(ProjectError) as caught:
        Environment(environment.path, Surroundings(index_url=url)).install("certainly-not-there")
    assert "secret" not in str(caught.value)


def test_lines_arrive_while_the_child_runs(environment: Environment, tmp_path: Path) -> None:
    """The child ends when it is answered, and it is answered when its first line arrives."""
    answer = tmp_path / "answer"
    os.mkfifo(answer)
    code = f"print('first', flush=True); print(open({str(answer)!r}).readline(), end='')"
    arrived: list[str] = []
    with open(os.open(answer, os.O_RDWR), "w", buffering=1) as answering:  # noqa: PTH123 - waits for no reader

        def hear(line: str) -> None:
            if not arrived:
                answering.write("heard\n")
            arrived.append(line)

        run_in(environment.telling(hear), ["python", "-c", code], timeout_seconds=60)
    assert arrived == ["first", "heard"]


def test_time_limit_ends_the_child_and_its_children(environment: Environment, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    done = run_in(environment, ["python", "-c", code], timeout_seconds=2)
    assert done.is_timed_out
    assert done.return_code < 0
    assert not _is_running(int((tmp_path / "pid").read_text()))


def test_what_a_child_leaves_running_is_ended(environment: Environment, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], **quiet)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
    )
    assert run_in(environment, ["python", "-c", code]).return_code == 0
    assert not _is_running(int((tmp_path / "pid").read_text()))


def _is_running(number: int) -> bool:
    """Whether a process runs still; one that was killed may wait for its new parent to notice."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_missing_program_is_named(environment: Environment) -> None:
    with pytest.raises(MissingTool, match="no-such-program"):
        run_in(environment, ["no-such-program"])


def test_failure_of_uv_carries_what_it_said() -> None:
    with pytest.raises(ProjectError, match="unexpected argument"):
        run_uv(["--no-such-option"])


FIND_AT_ONCE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from conveyor.project.uv import find_uv
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
with ThreadPoolExecutor(8) as threads:
    print(len(set(threads.map(lambda _: (together.wait(), find_uv())[1], range(8)))))
"""


def test_uv_is_found_by_threads_at_once() -> None:
    """Uv itself asks sysconfig, which tells a thread nothing while another fills its table."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", FIND_AT_ONCE], capture_output=True, text=True)
        assert done.stdout == "1\n", done.stderr
