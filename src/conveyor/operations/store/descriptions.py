"""Descriptions: whether one renders as reStructuredText, checked by a separate process.

docutils is large to import, and some descriptions of a few hundred bytes take hours and all memory to render
(substitutions that double at every step). So docutils is never imported into a process that serves: a child
renders, under limits of the kernel (``operations.store.rendering``). It starts with the first description
that needs it, in a tenth of a second, and stays for later ones. The files of one release share one
description, so the latest results are remembered.
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
    """Finds faults in descriptions; safe for any number of threads, one description at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def fault(self, text: str) -> str:
        """Why a text does not render as reStructuredText, as part of a sentence; empty if it renders."""
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        with self._lock:
            if digest not in self._known:
                self._known[digest] = self._ask(text)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(digest)
            return self._known[digest]

    def _ask(self, text: str) -> str:
        # A child that has ended by itself, after being idle, is replaced once.
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
    """A process that renders."""

    def __init__(self) -> None:
        # Isolated: nothing is imported from the environment or this folder. In a session of its own: an
        # interrupt at the terminal goes to the server, which ends the child.
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(rendering.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def ask(self, text: str) -> str | None:
        """Its answer; ``None`` if it ended while rendering, BrokenPipeError if it had ended before."""
        write_message(cast("BinaryIO", self._process.stdin), text)
        return read_message(cast("BinaryIO", self._process.stdout))

    def end(self) -> int:
        """Kill the child if it is still alive; the exit code tells which signal ended it."""
        self._process.kill()
        self._process.communicate()
        return self._process.returncode
