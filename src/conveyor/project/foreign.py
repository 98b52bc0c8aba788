"""The one door for foreign code: everything that a project brings, or that runs what it brings, starts here.

Build backends, training, documentation, tests, services, and the question which version a backend gives:
each is started by ``run_foreign``, or a service by ``started_foreign``, with a ``Sight``, which says what it
may see and change. Variables are held to that now; files and the network are described, and kept out by the
worker's isolation where it has one (``pipeline.engine.isolation``).

The output is read line by line while the program runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LARGEST_FILE_BYTES = 64 * 2**30
OPEN_FILES = 8192

_KEPT = {
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "RUSTUP_HOME", "SHELL", "TEMP", "TERM", "TMP", "TMPDIR",
    "TZ", "USER", "XDG_CACHE_HOME",
    # Certificates and proxies: how this machine reaches other hosts.
    "SSL_CERT_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "all_proxy", "http_proxy", "https_proxy", "no_proxy",
    # Threads and devices that numeric libraries may use.
    "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
}  # fmt: skip


@dataclass(frozen=True)
class Sight:
    """What one foreign program may see and change."""

    variables: Mapping[str, str] = field(repr=False)
    """All of its environment variables."""
    reads: tuple[Path, ...] = ()
    """Files and folders that it may read, besides the system's."""
    writes: tuple[Path, ...] = ()
    """Files and folders that it may change."""
    index_url: str | None = field(default=None, repr=False)
    """The only index that it may download from; ``None``: it needs none, or follows the user's settings."""
    holds: tuple[int, ...] = ()
    """Descriptors that it keeps open. A lock on one of them ends with the last program that holds it, also
    when this process is killed before it."""


def clean_environment_variables() -> dict[str, str]:
    """The variables of this process that a child may see: an allow-list, so that no token leaks into it.

    No ``PIP_*``, ``UV_*``, ``PYTHON*`` or ``VIRTUAL_ENV``; pip's configuration files are switched off.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    toolchains = Path.home() / ".rustup"  # rustup looks in the home folder; a job has its own
    if "RUSTUP_HOME" not in kept and toolchains.is_dir():
        kept["RUSTUP_HOME"] = str(toolchains)
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


_KEPT_LINES = 400  # enough for a traceback and the lines before it; a runaway child must not fill memory


@dataclass(frozen=True)
class Completed:
    """How a child process ended."""

    return_code: int
    """Its exit code; negative when a signal ended it."""
    output: str
    """The last lines it wrote, standard output and error in order."""
    seconds: float
    is_timed_out: bool = False


def run_foreign(
    command: Sequence[str],
    sight: Sight,
    *,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
) -> Completed:
    """Run a command to its end and pass each line of its output to ``on_line``; exit codes are not judged.

    Limits stop accidents: no core files, no file over 64 GB, 8192 open files. The child runs in its own
    session, and any process left in it is killed when this returns or raises.

    Raises:
        MissingTool: there is no such program.
    """
    started = time.monotonic()
    child = _start(command, sight, folder)
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    expired = threading.Event()
    alarm = threading.Timer(timeout_seconds or 0, _expire, (child, expired))
    if timeout_seconds is not None:
        alarm.start()
    try:
        _follow(child, kept, on_line)
        return_code = child.wait()
    finally:
        alarm.cancel()
        _kill_session(child)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    return Completed(return_code, "".join(kept), time.monotonic() - started, expired.is_set())


class Running:
    """A foreign program that runs beside others, such as a service of tests."""

    def __init__(self, child: subprocess.Popen[str], on_line: Callable[[str], None] | None) -> None:
        self._child = child
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader = threading.Thread(target=_follow, args=(child, self._kept, on_line), daemon=True)
        self._reader.start()

    @property
    def return_code(self) -> int | None:
        """Its exit code, negative when a signal ended it; ``None`` while it runs."""
        return self._child.poll()

    @property
    def output(self) -> str:
        """The last lines that it has written."""
        if self._child.poll() is not None:
            self._reader.join(timeout=1)
        return "".join(self._kept)

    def stop(self, *, patience_seconds: float = 5.0) -> None:
        """Ask it to end, then kill it with every process of its session."""
        if self._child.poll() is None:
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(patience_seconds)
        _kill_session(self._child)
        self._child.wait()
        self._reader.join(timeout=1)
        if self._child.stdout is not None and not self._reader.is_alive():
            self._child.stdout.close()


@contextmanager
def started_foreign(
    command: Sequence[str],
    sight: Sight,
    *,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Iterator[Running]:
    """Start a command that runs until the end of the block, which ends it; limits as for ``run_foreign``.

    Raises:
        MissingTool: there is no such program.
    """
    running = Running(_start(command, sight, folder), on_line)
    try:
        yield running
    finally:
        running.stop()


def _start(command: Sequence[str], sight: Sight, folder: Path | None) -> subprocess.Popen[str]:
    program = str(folder / command[0]) if folder is not None and "/" in command[0] else command[0]
    if shutil.which(program, path=sight.variables.get("PATH", os.defpath)) is None:
        raise MissingTool(f"{command[0]} cannot be run: there is no such program, or it is not executable")
    try:
        return subprocess.Popen(
            _limited(command), cwd=folder, env=dict(sight.variables), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True, umask=0o022, pass_fds=sight.holds,
        )  # fmt: skip
    except (FileNotFoundError, PermissionError) as error:
        raise MissingTool(f"{command[0]} cannot be run: {error.strerror}") from error


def _follow(child: subprocess.Popen[str], kept: deque[str], on_line: Callable[[str], None] | None) -> None:
    """Pass on what a child writes, line by line, until it closes its output."""
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    for line in child.stdout:
        kept.append(line)
        if on_line is not None:
            on_line(line.rstrip("\n"))


def _limited(command: Sequence[str]) -> list[str]:
    prlimit = shutil.which("prlimit")
    if prlimit is None:  # not on every system; the limits stop accidents, not attacks
        return list(command)
    limits = ["--core=0", f"--fsize={LARGEST_FILE_BYTES}", f"--nofile={OPEN_FILES}"]
    return [prlimit, *limits, "--", *command]


def _expire(child: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    _kill_session(child)


def _kill_session(child: subprocess.Popen[str]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
