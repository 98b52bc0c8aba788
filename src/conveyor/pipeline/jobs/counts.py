"""How many tests ended how: told one by one through a pipe, or read from the JUnit file of another command.

The pipe is open before the suite is loaded, and only ``origin.py`` writes to it; a file would be the suite's
to write. A suite that sets out to lie can still do so, because it shares the process with pytest: what it
says is about itself alone.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self
from xml.etree import ElementTree

from conveyor.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUTCOMES = ("passed", "failed", "errors", "skipped")
LARGEST_REPORT_BYTES = 256 * 2**20
_LONGEST_LINE = 64 * 1024
_LEFT_SECONDS = 2.0
_LONGEST_NAME = 300


class ToldCounts:
    """A pipe for results, and what has been told through it so far. Use ``with``."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        self._counts: Counter[str] = Counter()
        self._exit_code: int | None = None
        self._fault: str | None = None
        self._is_open = True
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the end that is for the tests."""
        if self._is_open:
            self._is_open = False
            os.close(self.writing)

    def ended(self) -> tuple[dict[str, int], int | None]:
        """The number of tests by how they ended, and pytest's exit code; ``None``: it has told none.

        To be asked when nothing lives that could write.

        Raises:
            StepFailed: something else than the tests' plugin has written, or too much.
        """
        self.close()
        self._reader.join(_LEFT_SECONDS)
        if self._fault is not None:
            raise StepFailed(self._fault)
        return {name: self._counts[name] for name in OUTCOMES}, self._exit_code

    def _follow(self) -> None:
        size = 0
        with os.fdopen(self._reading, "rb") as told:
            while line := told.readline(_LONGEST_LINE):
                size += len(line)
                if size > LARGEST_REPORT_BYTES:
                    self._fault = f"the tests told more than {LARGEST_REPORT_BYTES // 2**20} MB of results"
                elif self._fault is None:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            found = json.loads(line)
            if "exit_code" in found:
                self._exit_code = int(found["exit_code"])
            else:
                self._counts[OUTCOMES[OUTCOMES.index(found["outcome"])]] += 1
        except (ValueError, TypeError, KeyError, RecursionError):
            self._fault = "the results of the tests are not as conveyor tells them"


def read_junit(path: Path) -> dict[str, int]:
    """How the tests in a JUnit file ended.

    Raises:
        StepFailed: it is no JUnit file, or larger than 256 MB.
    """
    counts = dict.fromkeys(OUTCOMES, 0)
    for _, how in _cases(path):
        counts[how] += 1
    return counts


def failing_tests(path: Path) -> tuple[str, ...]:
    """The names of the tests in a JUnit file that failed or broke, each once; raises as ``read_junit``."""
    return tuple(dict.fromkeys(name for name, how in _cases(path) if how in ("failed", "errors")))


def _cases(path: Path) -> Iterator[tuple[str, str]]:
    """(name, how it ended) of each test in a JUnit file."""
    if path.stat().st_size > LARGEST_REPORT_BYTES:
        raise StepFailed(f"{path.name} is larger than {LARGEST_REPORT_BYTES // 2**20} MB")
    kinds = {"failure": "failed", "error": "errors", "skipped": "skipped"}
    try:
        # Expat itself refuses entities that expand without end; external ones are not loaded.
        for _, element in ElementTree.iterparse(path):  # noqa: S314
            if element.tag == "testcase":
                found = {kinds[child.tag] for child in element if child.tag in kinds}
                how = next((one for one in ("errors", "failed", "skipped") if one in found), "passed")
                names = (element.get("classname"), element.get("name"))
                yield "::".join(one for one in names if one)[:_LONGEST_NAME], how
                element.clear()
    except ElementTree.ParseError as error:
        raise StepFailed(f"{path.name} is no JUnit file: {error}") from error
