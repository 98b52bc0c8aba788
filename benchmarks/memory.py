"""Memory of a server's processes, now and at its peak, as the kernel counts it (``smaps_rollup``)."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WATCHING_SECONDS = 0.02


@dataclass(frozen=True)
class Memory:
    """The memory of several processes at one time."""

    resident_bytes: tuple[int, ...]
    """The resident set of each, including the pages that it shares with others."""
    together_bytes: int
    """The proportional set sizes of all: pages that they share count once."""


def memory_of(process_ids: Sequence[int]) -> Memory:
    """The memory of these processes now."""
    sizes = [_sizes(process_id) for process_id in process_ids]
    return Memory(tuple(size["Rss"] for size in sizes), sum(size["Pss"] for size in sizes))


@contextmanager
def watched_memory(process_ids: Sequence[int]) -> Iterator[list[Memory]]:
    """Their memory during the block, fifty times a second; the first value is from before the block."""
    seen = [memory_of(process_ids)]
    has_ended = threading.Event()

    def watch() -> None:
        while not has_ended.wait(WATCHING_SECONDS):
            seen.append(memory_of(process_ids))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        has_ended.set()
        watcher.join()


def _sizes(process_id: int) -> dict[str, int]:
    """Each size of a process by its name, in bytes."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
