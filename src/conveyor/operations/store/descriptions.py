"""Descriptions: whether one renders as reStructuredText, asked of a process of its own.

docutils is large to import, and there are descriptions of a few hundred bytes that take hours and all memory
(substitutions that double at every step). So it never comes into a process that serves: a child renders,
under limits of the kernel (``operations.store.rendering``). It starts with the first description that needs
it, a tenth of a second, and stays for the next ones. The files of one release have one description: what was
found of the latest ones is remembered.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from conveyor.operations.store import rendering
from conveyor.operations.store.rendering import CPU_SECONDS, read_message, write_message

REMEMBERED = 256


class DescriptionRenderer:
    """Tells what is wrong with descriptions; for any number of threads, one description at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def fault(self, text: str) -> str:
        """Why a text does not render as reStructuredText, as a part of a sentence; empty when it does."""
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        with self._lock:
            if digest not in self._known:
                self._known[digest] = self._ask(text)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(digest)
            return self._known[digest]

    def _ask(self, text: str) -> str:
        # A child that had ended by itself, after being idle, is replaced once.
        for _ in range(2):
            child = self._child = self._child or _Child()
            with suppress(BrokenPipeError):
                answer = child.ask(text)
                if answer is not None:
                    return answer
            code = child.end()
            self._child = None
            if code == -signal.SIGPROF:
                return f"it takes longer than {CPU_SECONDS:g} s to render"
        return "its rendering breaks off"

    def close(self) -> None:
        """End the child, if there is one."""
        with self._lock:
            if self._child is not None:
                self._child.end()
                self._child = None


class _Child:
    """One process that renders."""

    def __init__(self) -> None:
        # Isolated: nothing of the environment or of this folder is imported. In a session of its own: an
        # interrupt at the terminal is for the server, which ends it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(rendering.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def ask(self, text: str) -> str | None:
        """Its answer; ``None`` when it ended without one. Raises BrokenPipeError when it had ended before."""
        write_message(cast("BinaryIO", self._process.stdin), text)
        return read_message(cast("BinaryIO", self._process.stdout))

    def end(self) -> int:
        """Kill it, if it still lives; the exit code tells which signal it was."""
        self._process.kill()
        self._process.communicate()
        return self._process.returncode
