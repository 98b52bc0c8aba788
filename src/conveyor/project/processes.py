"""Child processes whose output is read line by line while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_KEPT_LINES = 400  # enough for a traceback and what led to it; a runaway child must not fill memory


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
    """Run a command to its end and hand each line of its output to ``on_line``; exit codes are not judged.

    The child runs in a session of its own, and whatever of it is left is killed when this returns or raises.

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
        raise MissingTool(f"{command[0]} can not be run: {error.strerror}") from error
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
