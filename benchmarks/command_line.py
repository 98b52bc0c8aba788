"""Start-up time of the command line, against the start of a bare interpreter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, run_process, seconds_in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 15


def measure() -> Iterator[Figure]:
    """``conveyor --version`` and ``--help`` against ``python -c pass``."""
    bare = [sys.executable, "-c", "pass"]
    on = f"CPython {sys.version.split()[0]}, whole process, median of {RUNS}"
    for option in ("--version", "--help"):
        ours, baseline = seconds_in_turn(
            RUNS,
            lambda option=option: run_process([sys.executable, "-m", "conveyor", option]),  # type: ignore[misc]
            lambda: run_process(bare),
        )
        yield Figure(f"conveyor {option}", "ms", ours * 1000, "python -c pass", baseline * 1000, on)
