"""A real server for a test: ``conveyor store serve`` as a child, on a free port, with its own environment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import urllib3

from makers import ADMIN_PASSWORD, copy_prepared_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 60
LOG_QUIET_SECONDS = 0.3
NO_UPSTREAM_URL = "http://127.0.0.1:9/simple/"


@dataclass(frozen=True)
class RunningStore:
    """A serving store."""

    url: str
    """``http://127.0.0.1:PORT``, without a slash at the end."""
    data: Path
    process: subprocess.Popen[str]
    access_log: Path

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        """One GET without retries; redirects are not followed."""
        return self.request("GET", path, headers=headers)

    def request(self, method: str, path: str, **arguments: Any) -> urllib3.BaseHTTPResponse:
        """One request without retries, on a connection of its own."""
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            return pool.request(method, self.url + path, redirect=False, **arguments)

    def logged(self) -> list[dict[str, Any]]:
        """The access log once it is quiet: a line is written after the answer it is about."""
        size, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < LOG_QUIET_SECONDS:
            now = self.access_log.stat().st_size
            if now != size:
                size, quiet_since = now, time.monotonic()
            time.sleep(0.02)
        return [json.loads(line) for line in self.access_log.read_text().splitlines()]


def serve_environment(**more: str) -> dict[str, str]:
    """An environment for a store that does not depend on that of the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": NO_UPSTREAM_URL,
        "CONVEYOR_ADMIN_PASSWORD": ADMIN_PASSWORD,
        **more,
    }


class ServerProcess(subprocess.Popen[str]):
    """A server whose standard error goes to a file: it never waits until somebody has read what it says."""

    def __init__(self, command: Sequence[str | Path], *, environment: Mapping[str, str]) -> None:
        self._errors: str | None = None
        self._errors_file = os.memfd_create("standard-error")
        super().__init__(
            command, env=environment, stdout=subprocess.PIPE, stderr=self._errors_file, text=True, cwd="/"
        )

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:  # noqa: A002 - its name in Popen
        """Wait for the end; all of standard output that was not read yet, and of standard error."""
        output, _ = super().communicate(input, timeout)
        if self._errors is None:
            size = os.fstat(self._errors_file).st_size
            self._errors = os.pread(self._errors_file, size, 0).decode()
            os.close(self._errors_file)
        return output, self._errors


def start_serving(data: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> ServerProcess:
    """Start a server and return at once; its first line on standard output says when it is ready."""
    return ServerProcess(
        [sys.executable, "-m", "conveyor", "store", "serve", "--data", data, *arguments],
        environment=environment if environment is not None else serve_environment(),
    )


@contextmanager
def running_store(
    data: Path, *, workers: int = 1, port: int = 0, environment: Mapping[str, str] | None = None
) -> Iterator[RunningStore]:
    """A store that answers; on leaving it is told to stop, and must do so without an error."""
    if environment is None and not data.exists():
        copy_prepared_store(data)
    log = data.with_name(f"{data.name}-access.log")
    process = start_serving(
        data,
        *("--port", str(port), "--workers", str(workers), "--access-log", str(log)),
        environment=environment,
    )
    try:
        yield RunningStore(ready_url(process), data, process, log)
    finally:
        stop(process)


def ready_url(process: subprocess.Popen[str]) -> str:
    """Wait until a server says that it is ready; returns its URL without the slash at the end."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    if not line.startswith("serving http://"):
        _, errors = process.communicate()
        raise AssertionError(f"the server did not start: {line!r}\n{errors}")
    return line.removeprefix("serving ").strip().rstrip("/")


def stop(process: subprocess.Popen[str]) -> None:
    """Tell a server to stop and wait for it; kill it, and fail, when it does not stop in a minute."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode in (0, -signal.SIGKILL), errors  # a test may have killed it itself


def children_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the children that run now."""
    found = []
    for folder in os.scandir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.name)
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - short and hot
                fields = file.read().rpartition(")")[2].split()
            if int(fields[1]) == process.pid and fields[0] != "Z":
                found.append(pid)
    return found
