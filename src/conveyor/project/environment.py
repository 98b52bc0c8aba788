"""Virtual environments, made and filled by uv, and the variables that children run with.

An index that is given is the only one: installing with ``index_url`` reads no configuration of this machine,
so that every installed file was served by that index. With no index, uv follows the user's configuration.

The output of child processes is read line by line while they run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool, ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_KEPT = {
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER",
    "XDG_CACHE_HOME",
    # Certificates and proxies: how this machine reaches other hosts.
    "SSL_CERT_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "all_proxy", "http_proxy", "https_proxy", "no_proxy",
    # Threads and devices that numeric libraries may use.
    "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
}  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    path: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def install(
        self,
        *requirements: str,
        index_url: str | None = None,
        options: Sequence[str] = (),
        folder: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Completed:
        """Install requirements, as ``uv pip install`` takes them (``-e`` and ``-r`` too).

        Args:
            requirements: such as ``tumor[test]==0.1.0`` or ``-e .``, each word one string.
            index_url: the only index to take from; ``None`` follows the user's configuration.
            options: further options of ``uv pip install``, such as ``--only-binary=:all:``.
            folder: where relative paths start; ``None`` means the current folder.
            on_line: called with each line that uv writes.
            timeout_seconds: the time after which the installation is ended; ``None`` means never.

        Raises:
            ProjectError: the installation failed; the message is uv's last lines.
        """
        words = ["pip", "install", "--python", str(self.python), *options, *requirements]
        return run_uv(
            words, index_url=index_url, folder=folder, on_line=on_line, timeout_seconds=timeout_seconds
        )

    def has(self, project: str) -> bool:
        """Whether a distribution of that name is installed here."""
        code = "import importlib.metadata, sys; importlib.metadata.version(sys.argv[1])"
        done = run_in(self, ["python", "-c", code, project])
        return done.return_code == 0

    def variables(self) -> dict[str, str]:
        """The variables that a child of this environment runs with: clean, with its programs first."""
        clean = clean_environment_variables()
        clean["PATH"] = f"{self.path / 'bin'}{os.pathsep}{clean.get('PATH', os.defpath)}"
        return clean | {"VIRTUAL_ENV": str(self.path)}


def make_environment(path: Path, *, python: str | None = None) -> Environment:
    """Make an empty virtual environment at ``path``; an environment that is there is replaced.

    Args:
        path: its folder.
        python: path or version of the interpreter; ``None`` means the one that runs now.

    Raises:
        ProjectError: uv could not make it, or ``path`` holds something else.
    """
    if path.exists() and any(path.iterdir()) and not (path / "pyvenv.cfg").is_file():
        raise ProjectError(f"{path} is neither a virtual environment nor empty", hint="move it elsewhere")
    words = ["venv", "--quiet", "--clear", "--no-project", "--python", python or sys.executable, str(path)]
    run_uv(words, is_clean=True)
    return Environment(path.absolute())


def run_in(
    environment: Environment,
    command: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
) -> Completed:
    """Run a command in an environment; ``python`` as its first word is the environment's interpreter.

    Args:
        environment: the environment whose programs come first on the ``PATH``.
        command: the words of the command.
        folder: the working folder; ``None`` means the current one.
        variables: set on top of the clean ones.
        on_line: called with each line of output, standard output and error together.
        timeout_seconds: the time after which it is killed with its children; ``None`` means never.

    Raises:
        MissingTool: there is no such program.
    """
    words = [str(environment.python), *command[1:]] if command[0] == "python" else list(command)
    return run_process(
        words,
        folder=folder,
        variables=environment.variables() | dict(variables or {}),
        on_line=on_line,
        timeout_seconds=timeout_seconds,
    )


def clean_environment_variables() -> dict[str, str]:
    """The variables of this process that a child may see: an allow-list, so that no token leaks into it.

    No ``PIP_*``, ``UV_*``, ``PYTHON*`` or ``VIRTUAL_ENV``; pip's configuration files are switched off.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def user_environment_variables() -> dict[str, str]:
    """The user's variables without an active environment, for tools that follow the user's configuration."""
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def run_uv(
    words: Sequence[str],
    *,
    index_url: str | None = None,
    is_clean: bool = False,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
) -> Completed:
    """Run uv; with an ``index_url``, or if ``is_clean``, without any configuration of this machine.

    uv always copies packages out of its cache. If they were links, a file that a test or a training changes
    would change in the cache and in every environment of every later run.

    Raises:
        ProjectError: uv ended with an error; the message is its last lines.
        MissingTool: uv is not installed.
    """
    is_clean = is_clean or index_url is not None
    command = [find_uv(), "--no-progress", *(("--no-config",) if is_clean else ()), *words]
    base = clean_environment_variables() if is_clean else user_environment_variables()
    if index_url is not None:  # not as an argument: it may hold a password, and anyone can list processes
        base["UV_DEFAULT_INDEX"] = index_url
    done = run_process(
        command,
        folder=folder,
        variables=base | dict(variables or {}) | {"UV_LINK_MODE": "copy"},
        on_line=on_line,
        timeout_seconds=timeout_seconds,
    )
    if done.is_timed_out:
        raise ProjectError(f"uv {words[0]} was ended after {timeout_seconds} s")
    if done.return_code:
        said = done.output.strip()[-4000:] or f"exit code {done.return_code}"
        raise ProjectError(f"uv {' '.join(words[:2])} failed:\n{said}")
    return done


def find_uv() -> str:
    """The path of uv, which is a dependency of ours.

    Raises:
        MissingTool: it has been removed.
    """
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise MissingTool("uv is not installed", hint="pip install uv") from error


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


def run_process(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
) -> Completed:
    """Run a command to its end and pass each line of its output to ``on_line``; exit codes are not judged.

    The child runs in its own session, and any process left in it is killed when this returns or raises.

    Raises:
        MissingTool: there is no such program.
    """
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            command, cwd=folder, env=dict(variables), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, umask=0o022,
        )  # fmt: skip
    except (FileNotFoundError, PermissionError) as error:
        raise MissingTool(f"{command[0]} cannot be run: {error.strerror}") from error
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    expired = threading.Event()
    alarm = threading.Timer(timeout_seconds or 0, _expire, (child, expired))
    if timeout_seconds is not None:
        alarm.start()
    try:
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in child.stdout:
            kept.append(line)
            if on_line is not None:
                on_line(line.rstrip("\n"))
        return_code = child.wait()
    finally:
        alarm.cancel()
        _kill_session(child)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    return Completed(return_code, "".join(kept), time.monotonic() - started, expired.is_set())


def _expire(child: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    _kill_session(child)


def _kill_session(child: subprocess.Popen[str]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
