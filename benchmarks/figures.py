"""A figure: a measurement of ours, compared with a baseline from the same run."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Figure:
    """``ours`` and ``baseline`` in the same unit, with the subject and the conditions of the measurement."""

    what: str
    unit: str
    ours: float
    baseline_name: str
    baseline: float
    on: str

    @property
    def ratio(self) -> float:
        """Ours divided by the baseline."""
        return self.ours / self.baseline

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.ours:.4g} {self.unit}, "
            f"{self.baseline_name}: {self.baseline:.4g} {self.unit}, ratio {self.ratio:.2f} ({self.on})"
        )


def machine() -> str:
    """A description of the machine, for people who compare figures."""
    return f"{os.cpu_count()} cores, Linux {platform.release()}, CPython {platform.python_version()}"


def seconds_in_turn(runs: int, *actions: Callable[[], object]) -> list[float]:
    """Median seconds of each action; they take turns, so that a busy machine slows all of them alike."""
    taken: list[list[float]] = [[] for _ in actions]
    for round_number in range(runs + 1):
        for seconds, action in zip(taken, actions, strict=True):
            started = time.perf_counter()
            action()
            if round_number > 0:  # the first round warms the caches
                seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in taken]


def run_process(command: Sequence[str]) -> None:
    """Run a command to its end and discard its output."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
