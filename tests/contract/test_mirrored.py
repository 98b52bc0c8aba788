"""Facts about a mirrored file that come from several places at once, on both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from conveyor.catalog.indexes.mirrored import mirrored_page_files, update_mirrored_files
from conveyor.domain.indexes.mirror import FileFacts, Hashing, MirroredFile, UpstreamFile, UpstreamPage
from conveyor.operations.indexes.mirror import keep_file, store_facts, store_page
from conveyor.operations.store.store import read
from distributions_made import make_wheel
from makers import make_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from conveyor.operations.store.store import Store

MADE = make_wheel()
DEMO = canonicalize_name("demo")


def page(*, is_yanked: bool = False) -> UpstreamPage:
    file = UpstreamFile(MADE.filename, "http://127.0.0.1:9/demo.whl", None, is_yanked=is_yanked)
    return UpstreamPage((file,), "etag")


def row_of(store: Store) -> MirroredFile:
    with read(store) as connection:
        (row,) = mirrored_page_files(connection, DEMO, ["pypi"])
    return row


def keep(store: Store, file: MirroredFile) -> None:
    hashing = Hashing(file)
    hashing.update(MADE.content)
    with store.blobs.new_temporary() as temporary:
        temporary.write(MADE.content)
        keep_file(store, hashing, temporary, size_bytes=len(MADE.content))


@pytest.mark.parametrize("other", ["sizes", "page"])
def test_first_download_that_ends_while_other_facts_are_written_is_not_undone(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    store = make_store(tmp_path / "store", database_url=database_url)
    store_page(store, "pypi", DEMO, page())
    keeping = threading.Thread(target=keep, args=(store, row_of(store)))
    here = threading.current_thread()

    def update_late(connection: Connection, files: Sequence[MirroredFile]) -> None:
        if threading.current_thread() is here:
            keeping.start()
            keeping.join(0.5)
        update_mirrored_files(connection, files)

    monkeypatch.setattr("conveyor.operations.indexes.mirror.update_mirrored_files", update_late)
    if other == "sizes":
        place, modified = "unhashed/demo", "2020-01-01T00:00:00.000000Z"
        store_facts(store, "pypi", DEMO, [FileFacts(MADE.filename, place, len(MADE.content), modified)])
    else:
        store_page(store, "pypi", DEMO, page(is_yanked=True))
    keeping.join()
    kept = row_of(store)
    assert (kept.sha256, kept.is_stored, kept.size_bytes) == (MADE.sha256, True, len(MADE.content))
    assert kept.is_yanked == (other == "page")


def test_processes_that_store_a_new_page_at_once_all_succeed(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path / "store", database_url=database_url)
    made = [UpstreamFile(f"demo-{n}.0.tar.gz", f"http://127.0.0.1:9/{n}", None) for n in range(30)]
    start = threading.Barrier(3)

    def fetch(number: int) -> int:
        start.wait()
        return len(store_page(store, "pypi", canonicalize_name(f"p{number}"), UpstreamPage(tuple(made), "e")))

    with ThreadPoolExecutor(3) as threads:
        for number in range(10):
            assert list(threads.map(fetch, [number] * 3)) == [30] * 3
