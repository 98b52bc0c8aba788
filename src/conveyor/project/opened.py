"""Runs a Python command and notes each file below a folder that it opens. Executed by path, as training runs.

    python opened.py NOTES FOLDER -m MODULE ARGUMENTS…
    python opened.py NOTES FOLDER SCRIPT ARGUMENTS…

Only the standard library is used, nothing of Conveyor. NOTES gets one line for each path that is new: ``r``
or ``w``, a space, the path relative to FOLDER. The lines are written at once, so that they outlive any death,
and forked children write theirs too. What other programs, spawned interpreters and C code open is not seen.

Sources: PEP 578 (audit hooks); ``runpy``, which ``python -m`` uses itself.
"""

from __future__ import annotations

import os
import runpy
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def watch(notes: str, folder: str) -> None:
    """Note every path below a folder that this process opens from now on."""
    root = os.path.abspath(folder) + os.sep  # noqa: PTH100 - links are not followed: git tracks them
    seen: set[str] = set()
    target = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            is_written = bool(flags & WRITES) if isinstance(flags, int) else False
            is_written = is_written or (isinstance(mode, str) and any(sign in mode for sign in "wax+"))
        elif event == "sqlite3.connect":
            path, is_written = arguments[0], False
        else:
            return
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, (str, os.PathLike)):
            return
        found = os.path.abspath(path)  # noqa: PTH100
        line = f"{'w' if is_written else 'r'} {found[len(root) :]}\n"
        if found.startswith(root) and line not in seen:
            seen.add(line)
            os.write(target, line.encode("utf-8", "surrogateescape"))

    sys.addaudithook(hook)


def main() -> None:
    """Watch, then run the command as Python itself would."""
    notes, folder, *command = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - runs without our package
    if sys.path and os.path.abspath(sys.path[0]) == here:  # noqa: PTH100
        first = os.getcwd() if command[0] == "-m" else os.path.dirname(os.path.abspath(command[0]))  # noqa: PTH100, PTH109, PTH120
        sys.path[0] = first
    watch(notes, folder)
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
