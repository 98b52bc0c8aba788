"""Ends the children that an executor leaves behind; as a script, when its standard input has ended.

The script runs in a bare interpreter (``-I -S``), so this module imports little of the standard library and
nothing else.
"""

from __future__ import annotations

import os
import signal
import sys

MARK = "CONVEYOR_EXECUTOR"
"""The variable that every child of an executor carries; its value is the executor's id."""
_ROUNDS = 20


def end_children(executor: str) -> int:
    """Kill every process that carries the executor's mark and return their number; 0 except on Linux."""
    mark = f"{MARK}={executor}".encode()
    ended = 0
    for _ in range(_ROUNDS):  # a process that forks while we look is found in the next round
        found = [pid for pid in _processes() if mark in _environment(pid)]
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
                ended += 1
            except (ProcessLookupError, PermissionError):
                continue
    return ended


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]  # noqa: PTH208 - no pathlib here: start-up time
    except OSError:
        return []


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - no pathlib here: start-up time
            return file.read().split(b"\0")
    except OSError:  # ended, or another user's
        return []


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_children(sys.argv[1])
