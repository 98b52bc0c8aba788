"""Pages of an upstream that never end: what a serving store spends on them, and what it answers."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distributions_made import make_wheel
from running_stores import children_of, running_store, serve_environment
from upstreams import Served, running_upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from running_stores import RunningStore

NAMES = ("one", "two", "three", "four")
LIMIT_BYTES = 2 * 1024 * 1024
MOST_GROWTH_BYTES = 100 * 1024 * 1024
"""Of four endless pages at once. Up to 64 MiB each: 131 MiB for lists of files, 23 MiB for anything else."""
HTML = "text/html"
JSON = "application/vnd.pypi.simple.v1+json"


def blanks() -> Iterator[bytes]:
    return itertools.repeat(b" " * 65536)


def entries() -> Iterator[bytes]:
    yield b'{"meta": {"api-version": "1.1"}, "name": "demo", "files": [{}'
    for number in itertools.count():
        yield b"".join(
            b',{"filename": "demo-%d.%d-py3-none-any.whl", "url": "d.whl", "hashes": {"sha256": "%064x"}}'
            % (number, each, number)
            for each in range(1000)
        )


def packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for piece in pieces:
        yield packer.compress(piece)


KINDS: dict[str, tuple[str, Callable[[], Iterator[bytes]], str]] = {
    "blanks": (HTML, blanks, "more than 2,097,152 bytes"),
    "comment": (HTML, lambda: itertools.chain([b"<!--"], blanks()), "comment of more than 1,048,576"),
    "text": (JSON, lambda: itertools.chain([b'{"name": "'], blanks()), "value of more than 1,048,576"),
    "entries": (JSON, entries, "more than 2,097,152 bytes"),
}
"""Media type, pieces without an end, and the limit that is told."""


def peak_bytes(store: RunningStore) -> int:
    """The most memory that the processes of a server have had."""
    peaks = []
    for pid in (store.process.pid, *children_of(store.process)):
        status = Path(f"/proc/{pid}/status").read_text()
        peaks += [int(found) * 1024 for found in re.findall(r"VmHWM:\s+(\d+) kB", status)]
    return sum(peaks)


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_endless_pages_take_bounded_memory(tmp_path: Path, kind: str, is_packed: bool) -> None:
    media, pieces, limit = KINDS[kind]
    with running_upstream() as upstream:
        upstream.add_html("demo", [make_wheel()])
        for name in NAMES:
            headers = {"Content-Type": media, **({"Content-Encoding": "gzip"} if is_packed else {})}
            endless = (lambda: packed(pieces())) if is_packed else pieces
            upstream.paths[f"/simple/{name}/"] = Served(headers=headers, endless=endless)
        environment = serve_environment(
            PIP_INDEX_URL=upstream.url, CONVEYOR_PAGE_LIMIT_BYTES=str(LIMIT_BYTES)
        )
        with running_store(tmp_path / "store", environment=environment) as store:
            assert store.get("/unstable/simple/demo/").status == 200
            before = peak_bytes(store)
            with ThreadPoolExecutor(len(NAMES)) as clients:
                asked = [clients.submit(store.get, f"/unstable/simple/{name}/") for name in NAMES]
                answers = [one.result() for one in asked]
            grown = peak_bytes(store) - before
            assert {answer.status for answer in answers} == {502}
            told = {json.loads(answer.data)["detail"] for answer in answers}
            assert all(limit in detail for detail in told), told
            assert grown < MOST_GROWTH_BYTES
            assert store.get("/unstable/simple/demo/").status == 200
