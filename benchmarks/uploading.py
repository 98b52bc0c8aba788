"""Load of uploads: clients whose connections stay open, in rounds that take turns.

A client only sends a prepared body and reads the answer, because it runs on the processors that the server
needs. That takes 0.2 ms of CPU time.
"""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import urllib3

from benchmarks.load import cpu_seconds_of_trees
from benchmarks.prepared_uploads import CONTENT_TYPE
from conveyor.domain.indexes.simple_api import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.prepared_uploads import Upload

CLIENTS = 8
TIMEOUT_SECONDS = 120
PAUSE_SECONDS, IDLE_CPU_SECONDS, MOST_PUT_OFF_SECONDS = 0.3, 0.015, 20.0
"""A server is idle when it uses no more than this CPU time in a pause."""


@dataclass(frozen=True)
class Index:
    """An index that takes uploads."""

    upload_url: str
    simple_url: str
    """The URL of its list of projects, with a trailing slash."""
    authorization: Mapping[str, str]
    """The header."""
    process_ids: tuple[int, ...] = ()
    """The server, and its database's server: with all their children, their CPU time counts."""


@dataclass(frozen=True)
class Round:
    """Uploads by ``CLIENTS`` clients at a time, all of them accepted."""

    uploads: int
    seconds: float
    cpu_seconds: float
    """CPU time of the servers, with what they put off; that of the clients is not in it."""

    @property
    def per_second(self) -> float:
        """Its rate."""
        return self.uploads / self.seconds

    @property
    def cpu_milliseconds(self) -> float:
        """CPU time of the servers for each upload."""
        return self.cpu_seconds / self.uploads * 1000


@dataclass(frozen=True)
class Cost:
    """The medians of a participant's rounds."""

    per_second: float
    cpu_milliseconds: float


def upload_all(index: Index, uploads: Sequence[Upload], *, most_seconds: float = TIMEOUT_SECONDS) -> Round:
    """Upload in this order, as many as can begin in that time; raises RuntimeError if one is refused."""
    parts = urlsplit(index.upload_url)
    headers = {**index.authorization, "Content-Type": CONTENT_TYPE}
    waiting = iter(uploads)  # shared by the clients
    os.sync()  # earlier writes of others do not count
    cpu_before = cpu_seconds_of_trees(index.process_ids)
    began = time.perf_counter()

    def keep_uploading(_client: int) -> int:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        done = 0
        for upload in waiting:
            connection.request("POST", parts.path, upload.body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if not 200 <= answer.status < 300:
                raise RuntimeError(f"{upload.filename} was answered {answer.status}: {said[:500]!r}")
            done += 1
            if time.perf_counter() - began > most_seconds:
                break
        connection.close()
        return done

    with ThreadPoolExecutor(CLIENTS) as clients:
        done = sum(clients.map(keep_uploading, range(CLIENTS)))
    seconds = time.perf_counter() - began
    wait_until_idle(index.process_ids)
    return Round(done, seconds, cpu_seconds_of_trees(index.process_ids) - cpu_before)


def wait_until_idle(process_ids: Sequence[int]) -> None:
    """Wait while these servers go on working: what they put off is their own cost, not the next one's."""
    before, now = -1.0, cpu_seconds_of_trees(process_ids)
    deadline = time.monotonic() + MOST_PUT_OFF_SECONDS
    while now - before > IDLE_CPU_SECONDS and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        before, now = now, cpu_seconds_of_trees(process_ids)


def costs_in_turn(*turns: Iterable[tuple[Index, Sequence[Upload]]]) -> list[Cost]:
    """Rate and CPU time of each participant; the first round is a warm-up and does not count."""
    rounds = [[upload_all(*load) for load in loads] for loads in zip(*turns, strict=True)]
    return [
        Cost(
            statistics.median(one.per_second for one in taken[1:]),
            statistics.median(one.cpu_milliseconds for one in taken[1:]),
        )
        for taken in zip(*rounds, strict=True)
    ]


def check_listed(index: Index, uploads: Iterable[Upload]) -> None:
    """Read the pages of these projects; raises RuntimeError if an upload is missing there."""
    expected: dict[str, dict[str, str]] = {}
    for upload in uploads:
        expected.setdefault(upload.project, {})[upload.filename] = upload.sha256
    for project, files in expected.items():
        listed = dict(_files_of(index, project))
        missing = [name for name, sha256 in files.items() if listed.get(name) != sha256]
        if missing:
            raise RuntimeError(f"the page of {project} does not list {', '.join(missing[:5])}")


def _files_of(index: Index, project: str) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file on a page."""
    headers = {**index.authorization, "Accept": JSON}
    with urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS) as pool:
        answer = pool.request("GET", f"{index.simple_url}{project}/", headers=headers)
    if answer.status != 200:
        raise RuntimeError(f"the page of {project} was answered {answer.status}")
    for file in answer.json()["files"]:
        yield file["filename"], file["hashes"]["sha256"]
