"""A store of a million files against a small one: new pages, pages in memory, start, memory.

Targets: a page of up to 50 files that nobody requested before within 10 ms, one of 2,000 releases within
100 ms, a page in memory as fast as in an empty store, all within 300 MB, started within 2 s.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import urllib3

from benchmarks import big_stores
from benchmarks.figures import Figure
from benchmarks.load import Target, rates_in_turn
from benchmarks.memory import memory_of
from benchmarks.served import ACCEPT, WORKERS, conditions, our_store
from conveyor.domain.indexes.simple_api import JSON
from conveyor.operations.care.initialisation import initialise_store
from makers import make_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.served import Served

SMALL_STORE_PROJECTS = 20
ASKED_PAGES = 12_000
"""Different pages requested before memory is measured: more than the caches of two processes hold."""
ASKING_CLIENTS = 4
MB = 1e6


def measure() -> Iterator[Figure]:
    """The large store and the small one, on SQLite with files."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder, ExitStack() as ending:
        large_files = _made(Path(folder) / "large", big_stores.SMALL_PROJECTS)
        small_files = _made(Path(folder) / "small", SMALL_STORE_PROJECTS)
        large, small = (ending.enter_context(our_store(Path(folder) / name)) for name in ("large", "small"))
        pair = _Pair(
            large,
            small,
            f"{large_files:,} files of {big_stores.SMALL_PROJECTS:,} projects against {small_files:,} files "
            f"of {SMALL_STORE_PROJECTS}, {WORKERS} workers, CPython {platform.python_version()}",
        )
        yield Figure("start", "s", large.start_seconds, "small store", small.start_seconds, pair.on)
        yield from _cold_pages(pair)
        yield from _list(pair)
        yield _hot_page(pair)
        yield _memory(pair)


def _made(folder: Path, small_projects: int) -> int:
    settings = make_settings(folder)
    initialise_store(settings)
    return big_stores.fill(settings, small_projects=small_projects)


@dataclass(frozen=True)
class _Pair:
    """The large store, the small one, and their description."""

    large: Served
    small: Served
    on: str

    def milliseconds(self, what: str, paths: Sequence[str]) -> Figure:
        """Median over paths, each requested once from each store in turn."""
        clients = [_Client(server) for server in (self.large, self.small)]
        taken = [[client.milliseconds(path) for client in clients] for path in paths]
        large, small = (statistics.median(one) for one in zip(*taken, strict=True))
        return Figure(what, "ms", large, "small store", small, f"median of {len(paths)}; {self.on}")


class _Client:
    """One connection that stays open."""

    def __init__(self, server: Served) -> None:
        parts = urlsplit(server.url)
        self._pool = urllib3.HTTPConnectionPool(parts.hostname or "", parts.port, maxsize=1, retries=False)

    def milliseconds(self, path: str, *, accept: str = JSON) -> float:
        """The duration of one request, including reading its body."""
        began = time.perf_counter()
        answer = self._pool.request("GET", path, headers={"Accept": accept})
        taken = time.perf_counter() - began
        assert answer.status == 200, (path, answer.status)
        return taken * 1000


def _page(project: str) -> str:
    return f"/{big_stores.INDEX}/simple/{project}/"


_LIST = f"/{big_stores.INDEX}/simple/"
_HOT = _page(big_stores.small_name(0))


def _cold_pages(pair: _Pair) -> Iterator[Figure]:
    pair.milliseconds("", [_HOT] * 8)  # each process makes its statements once
    middle = [_page(big_stores.middle_name(number)) for number in range(big_stores.MIDDLE_PROJECTS)]
    yield pair.milliseconds(f"page of {big_stores.MIDDLE_RELEASES} releases, made anew", middle)
    large = [_page(big_stores.large_name(number)) for number in range(big_stores.LARGE_PROJECTS)]
    yield pair.milliseconds(f"page of {big_stores.LARGE_RELEASES:,} releases, made anew", large)


def _list(pair: _Pair) -> Iterator[Figure]:
    """The list of all projects, rebuilt in both forms, and the longest wait of another client meanwhile."""
    made: list[float] = []
    waited: list[float] = []
    for server in (pair.large, pair.small):
        with _waits_for_a_page(server) as waits:
            made.append(
                statistics.mean(_Client(server).milliseconds(_LIST, accept=form) for form in ACCEPT.values())
            )
        waited.append(max(waits))
    on = f"mean of both forms; {pair.on}"
    yield Figure("list of all projects, made anew", "ms", made[0], "small store", made[1], on)
    yield Figure("longest wait for a page meanwhile", "ms", waited[0], "small store", waited[1], pair.on)


@contextmanager
def _waits_for_a_page(server: Served) -> Iterator[list[float]]:
    """Request a page in memory again and again; yields the list of milliseconds that each answer took."""
    waits: list[float] = []
    has_ended = threading.Event()

    def ask() -> None:
        client = _Client(server)
        while not has_ended.is_set():
            waits.append(client.milliseconds(_HOT))

    clients = [threading.Thread(target=ask) for _ in range(ASKING_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield waits
    finally:
        has_ended.set()
        for client in clients:
            client.join()


def _hot_page(pair: _Pair) -> Figure:
    targets = [Target(server.url + _HOT, {"Accept": JSON}) for server in (pair.large, pair.small)]
    large, small = (rate.requests_per_second for rate in rates_in_turn(*targets))
    return Figure("page in memory", "requests/s", large, "small store", small, f"{conditions()}; {pair.on}")


def _memory(pair: _Pair) -> Figure:
    """Memory after more pages were requested than the caches hold."""

    def ask(first: int) -> None:
        client = _Client(pair.large)
        for number in range(first, ASKED_PAGES, ASKING_CLIENTS):
            client.milliseconds(_page(big_stores.small_name(number)))

    with ThreadPoolExecutor(ASKING_CLIENTS) as clients:
        list(clients.map(ask, range(ASKING_CLIENTS)))
    large, small = (memory_of(server.process_ids).together_bytes / MB for server in (pair.large, pair.small))
    on = f"all processes, shared pages counted once, {ASKED_PAGES:,} pages asked for; {pair.on}"
    return Figure("memory", "MB", large, "small store", small, on)
