"""devpi-server, the most widely used store of its kind, in its own environment.

It runs with its defaults, its own number of threads and SQLite, and serves the metadata of each wheel, as we
do. It mirrors nothing, so that an upload causes no request to another index.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from benchmarks.load import MissingProgram
from benchmarks.served import wait_for
from benchmarks.uploading import Index
from postgres_server import free_port
from running_stores import serve_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROGRAMS = Path(__file__).parents[1] / ".peers/devpi/bin"
PASSWORD = "a password of the benchmarks"
TIMEOUT_SECONDS = 60


@contextmanager
def devpi() -> Iterator[Index]:
    """An empty index of a new devpi; its uploads are authorized by a login token."""
    environment = serve_environment(PYTHONWARNINGS="ignore")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-devpi-") as folder:
        data = Path(folder) / "data"
        subprocess.run(
            [_program("devpi-init"), "--serverdir", data, "--no-root-pypi", "--root-passwd", PASSWORD],
            check=True,
            env=environment,
            capture_output=True,
        )
        process = subprocess.Popen(
            [
                *(_program("devpi-server"), "--serverdir", data, "--host", "127.0.0.1", "--port", str(port)),
                *("--offline-mode", "--enable-core-metadata"),
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(port, process)
            yield _new_index(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _program(name: str) -> Path:
    path = PROGRAMS / name
    if not path.exists():
        raise MissingProgram(f"the benchmarks need {name}: make bench installs it")
    return path


def _new_index(url: str, process_id: int) -> Index:
    login = _ask("POST", f"{url}/+login", {"user": "root", "password": PASSWORD})
    authorization = urllib3.util.make_headers(basic_auth=f"root:{login['result']['password']}")
    _ask("PUT", f"{url}/root/bench", {"type": "stage", "bases": []}, authorization)
    return Index(f"{url}/root/bench/", f"{url}/root/bench/+simple/", authorization, (process_id,))


def _ask(
    method: str, url: str, what: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    with urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS) as pool:
        answer = pool.request(
            method, url, json=what, headers={"Accept": "application/json", **(headers or {})}
        )
    if answer.status != 200:
        raise RuntimeError(f"{method} {url} was answered {answer.status}: {answer.data[:500]!r}")
    found: dict[str, Any] = answer.json()
    return found
