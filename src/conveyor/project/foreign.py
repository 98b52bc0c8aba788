"""The one door for foreign code: everything that a project brings, or that runs what it brings, starts here.

Build backends, training, documentation, tests, services, and the question which version a backend gives:
each is started by ``run_foreign``, or a service by ``started_foreign``, with a ``Sight``, which says what it
may see and change. Its variables are held to that; files and the network are kept out by a ``Wall``, where
there is one (``pipeline.jails``).

The output is read line by line while the program runs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from conveyor.errors import MissingTool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HANDED = "_CONVEYOR_HANDED"
"""The variable that tells a program the number of the descriptor that it was handed."""
LARGEST_FILE_BYTES = 64 * 2**30
OPEN_FILES = 8192

CERTIFICATES = ("SSL_CERT_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
"""Variables that name the authorities that this machine trusts."""

_KEPT = {
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "RUSTUP_HOME", "SHELL", "TEMP", "TERM", "TMP", "TMPDIR",
    "TZ", "USER", "XDG_CACHE_HOME",
    # Certificates and proxies: how this machine reaches other hosts.
    *CERTIFICATES,
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
    holds: tuple[int, ...] = ()
    """Descriptors that it keeps open. A lock on one of them ends with the last program that holds it, also
    when this process is killed before it."""
    hands: int | None = None
    """A descriptor that it inherits; ``HANDED`` tells it the number."""
    is_build: bool = False
    """Whether it builds something: what the policy of the store lets builds reach is not for others."""
    wall: Wall | None = None
    """What keeps it apart; ``None``: nothing does."""


def clean_environment_variables() -> dict[str, str]:
    """The variables of this process that a child may see: an allow-list, so that no token leaks into it.

    No ``PIP_*``, ``UV_*``, ``PYTHON*`` or ``VIRTUAL_ENV``; pip's configuration files are switched off.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    toolchains = Path.home() / ".rustup"  # rustup looks in the home folder; a job has its own
    if "RUSTUP_HOME" not in kept and toolchains.is_dir():
        kept["RUSTUP_HOME"] = str(toolchains)
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


_LAST_CHARACTERS = 2000
_KEPT_LINES = 400  # enough for a traceback and the lines before it; a runaway child must not fill memory
_LEFT_SECONDS = 2.0
LONGEST_LINE = 64 * 1024
"""Characters; a longer line of output is passed on in pieces."""
LONGEST_OUTPUT = 256 * 2**20
"""Characters; a program that writes more is ended."""


class Child(Protocol):
    """A program that has been started, whatever keeps it apart."""

    output: IO[str]
    """What it writes, standard output and error in order."""

    def poll(self) -> int | None:
        """Its exit code, negative when a signal ended it; ``None`` while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            TimeoutError: it still runs after that many seconds.
        """

    def terminate(self) -> None:
        """Ask it to end."""

    def end(self) -> str | None:
        """End it with whatever it has started; when this returns, none of that lives.

        Returns:
            The limit that ended it before, as a sentence; ``None`` if none did.
        """


class Wall(Protocol):
    """What keeps foreign programs apart from this process; without one they are only its children."""

    @property
    def uv_cache(self) -> Path:
        """A folder for uv's cache behind the wall; this process never uses what is in it."""

    def start(self, command: Sequence[str], sight: Sight, folder: Path | None) -> Child:
        """Start a program behind the wall, where it sees what its ``Sight`` names and nothing else.

        Raises:
            MissingTool: there is no such program.
        """

    @property
    def longest_output(self) -> tuple[int, str]:
        """How much one program may write, in characters, and the sentence about one that wrote more."""

    def suspected(self, return_code: int, output: str) -> str | None:
        """A sentence about the limit that may have made a program fail, by its last words; ``None``: none."""

    def inward(self, text: str) -> str:
        """A text with the store's URL as it is reached behind the wall."""

    def outward(self, text: str) -> str:
        """A text that was written behind the wall, with the store's URL as this process reaches it."""

    def path_in_store(self, url: str) -> str | None:
        """What stands behind the store's address in a URL as this process reaches it; ``None``: elsewhere."""


@dataclass(frozen=True)
class Surroundings:
    """What the programs of one job have in common."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Set on top of the clean ones."""
    index_url: str | None = field(default=None, repr=False)
    """The only index to install from; ``None`` follows the user's configuration."""
    on_line: Callable[[str], None] | None = None
    """Called with each line that they write, standard output and error together."""
    wall: Wall | None = None
    """What keeps foreign ones apart; ``None``: nothing does."""
    holds: tuple[int, ...] = ()
    """As ``Sight`` has it."""
    netrc: Path | None = None
    """Credentials of the index, for this process's own clients; no foreign program gets it."""

    def with_variables(self, more: Mapping[str, str]) -> Surroundings:
        """The same with more variables."""
        return replace(self, variables={**self.variables, **more})


@dataclass(frozen=True)
class Completed:
    """How a child process ended."""

    return_code: int
    """Its exit code; negative when a signal ended it."""
    output: str
    """The last lines it wrote, standard output and error in order."""
    seconds: float
    is_timed_out: bool = False
    spent: str | None = None
    """The limit that ended it, as a sentence; ``None`` if none did."""


RUN = "CONVEYOR_RUN"
"""The variable that names the run for which a foreign program works."""
_at_work: set[Running] = set()
_ended: set[str] = set()
_KILLED_BELOW = re.compile(
    r"\(SIGKILL\)|died of signal 9|early EOF|hung up unexpectedly|^Killed$", re.MULTILINE
)
"""How uv, git and a shell tell that a program which they started was killed, in the last lines they write."""
_kills: Counter[str | None] = Counter()


def kills_of(run: str | None) -> int:
    """How many programs of a run were killed so far, by neither this process nor a limit of theirs.

    The machine was short of memory, or somebody has ended them. Programs of no run count for each.
    """
    return _kills[run] + (_kills[None] if run is not None else 0)


def note_if_killed(return_code: int, output: str, run: str | None = None) -> None:
    """Count a program that has ended by itself, if it was killed, or something that it started was."""
    is_killed = return_code in (-signal.SIGKILL, 128 + signal.SIGKILL)  # the latter as a shell tells it
    if is_killed or (return_code and _KILLED_BELOW.search(output[-_LAST_CHARACTERS:])):
        _kills[run] += 1


def end_work_of(run: str) -> None:
    """End every foreign program that works for a run, now and later: it was cancelled."""
    _ended.add(run)
    for running in list(_at_work):
        if running.run == run:
            running.end()


class Running:
    """A foreign program that runs beside others, such as a service of tests."""

    def __init__(self, child: Child, on_line: Callable[[str], None] | None, sight: Sight) -> None:
        self.run = run = sight.variables.get(RUN)
        self._longest, self._too_long = (
            (LONGEST_OUTPUT, f"it wrote more than {LONGEST_OUTPUT // 2**20} MB of output")
            if sight.wall is None
            else sight.wall.longest_output
        )
        self._child = child
        self._on_line = on_line
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self._broken: BaseException | None = None
        self._spent: str | None = None
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()
        _at_work.add(self)
        if run in _ended:  # cancelled while it was started
            self.end()

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

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; TimeoutError if it still runs after that many seconds."""
        return self._child.wait(timeout)

    def end(self) -> None:
        """End it with everything that it has started; may be called by any thread."""
        self._spent = "its run was cancelled"
        self._child.end()

    def stop(self, *, patience_seconds: float = 5.0) -> str | None:
        """Ask it to end, then end it with everything that it has started.

        Returns:
            The limit that ended it before, as a sentence; ``None`` if none did.
        """
        if self._child.poll() is None and patience_seconds:
            self._child.terminate()
            with suppress(TimeoutError):
                self._child.wait(patience_seconds)
        _at_work.discard(self)
        spent = self._child.end()
        # Without a wall, a daemon that has left the session may still hold the output.
        self._reader.join(timeout=_LEFT_SECONDS)
        if not self._reader.is_alive():
            self._child.output.close()
        if self._broken is not None:
            raise self._broken
        return self._spent or spent

    def _follow(self) -> None:
        """Pass on what the child writes, line by line, until nothing that it started can write any more."""
        written = 0
        try:
            while line := self._child.output.readline(LONGEST_LINE):
                written += len(line)
                if written > self._longest:
                    self._spent = self._too_long
                    break
                self._kept.append(line)
                if self._on_line is not None:
                    self._on_line(line.rstrip("\n"))
        except Exception as error:  # noqa: BLE001 - raised to whoever started the program
            self._broken = error
        if self._spent is not None or self._broken is not None:
            self._child.end()


def run_foreign(
    command: Sequence[str],
    sight: Sight,
    *,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
) -> Completed:
    """Run a command to its end and pass each line of its output to ``on_line``; exit codes are not judged.

    The limit that ended it, or may have, is told as its last line. Whatever it has started ends with it.
    Without a wall, limits stop accidents: no core files, no file over
    64 GB, 8192 open files; and only what is left in the child's own session is ended.

    Raises:
        MissingTool: there is no such program.
    """
    started = time.monotonic()
    is_timed_out = False
    running = Running(_start(command, sight, folder), on_line, sight)
    try:
        return_code = running.wait(timeout_seconds)
    except TimeoutError:
        is_timed_out = True
    finally:
        spent = running.stop(patience_seconds=0)
    if is_timed_out:
        return_code = running.wait()
    output, seconds = running.output, time.monotonic() - started
    if spent is None and not is_timed_out:
        note_if_killed(return_code, output, running.run)
    if return_code and not is_timed_out:
        line = f"ended: {spent}" if spent is not None else None
        if line is None and sight.wall is not None and (limit := sight.wall.suspected(return_code, output)):
            line = f"perhaps a limit of jobs: {limit}"
        if line is not None:
            output += f"{'' if output.endswith(chr(10)) or not output else chr(10)}{line}\n"
            if on_line is not None:
                on_line(line)
    return Completed(return_code, output, seconds, is_timed_out, spent)


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
    running = Running(_start(command, sight, folder), on_line, sight)
    try:
        yield running
    finally:
        ended = running.return_code
        if running.stop() is None and ended is not None:
            note_if_killed(ended, "", running.run)


def _start(command: Sequence[str], sight: Sight, folder: Path | None) -> Child:
    if sight.wall is not None:
        return sight.wall.start(command, sight, folder)
    return _Session(command, sight, folder)


class _Session:
    """A child in a session of its own; see ``Child``."""

    def __init__(self, command: Sequence[str], sight: Sight, folder: Path | None) -> None:
        program = str(folder / command[0]) if folder is not None and "/" in command[0] else command[0]
        if shutil.which(program, path=sight.variables.get("PATH", os.defpath)) is None:
            raise MissingTool(
                f"{command[0]} cannot be run: there is no such program, or it is not executable"
            )
        variables, kept = dict(sight.variables), sight.holds
        if sight.hands is not None:
            variables[HANDED], kept = str(sight.hands), (*kept, sight.hands)
        try:
            self._process = subprocess.Popen(
                _limited(command), cwd=folder, env=variables, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                start_new_session=True, umask=0o022, pass_fds=kept,
            )  # fmt: skip
        except (FileNotFoundError, PermissionError) as error:
            raise MissingTool(f"{command[0]} cannot be run: {error.strerror}") from error
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        self.output: IO[str] = self._process.stdout

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> str | None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return None


def _limited(command: Sequence[str]) -> list[str]:
    prlimit = shutil.which("prlimit")
    if prlimit is None:  # not on every system; the limits stop accidents, not attacks
        return list(command)
    limits = ["--core=0", f"--fsize={LARGEST_FILE_BYTES}", f"--nofile={OPEN_FILES}"]
    return [prlimit, *limits, "--", *command]
