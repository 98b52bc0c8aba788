from __future__ import annotations

import gc
import tracemalloc
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import Index, NewIndex
from conveyor.domain.indexes.simple_api import JSON
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.indexes.files import find_file
from conveyor.operations.indexes.pages import FoundList, Touched
from conveyor.operations.people.users import add_user
from conveyor.operations.store.store import record_change
from conveyor.server.http.file_answers import ReadyFile
from conveyor.server.memory.caches import OVERHEAD_BYTES, Cache, Freshness
from conveyor.server.memory.newest import Newest
from conveyor.server.pages.kept_pages import Representations, Variant
from distributions_made import make_wheel
from makers import make_store
from readers import ADMINISTRATOR, upload

if TYPE_CHECKING:
    from pathlib import Path


PUBLIC = Index("unstable", "local", "uploads")


@dataclass
class Page:
    project: str | None = "demo"
    serial: int = 1
    weight_bytes: int = 0
    is_used: bool = False


def test_longest_unused_is_dropped_when_there_are_too_many_bytes() -> None:
    cache: Cache[Page] = Cache(3 * (100 + OVERHEAD_BYTES))
    for path in "abc":
        cache.put(path, Page(weight_bytes=100))
    assert cache.get("a") is not None
    cache.put("d", Page(weight_bytes=100))
    assert [path for path in "abcd" if cache.get(path) is not None] == ["a", "c", "d"]


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache: Cache[Page] = Cache(10_000)
    cache.put("a", Page())
    cache.put("b", Page(weight_bytes=10_000))
    assert cache.get("a") is not None
    assert cache.get("b") is None


def test_new_answer_takes_the_place_of_an_old_one_even_if_all_are_used() -> None:
    cache: Cache[Page] = Cache(2 * OVERHEAD_BYTES)
    for path in "ab":
        cache.put(path, Page(is_used=True))
    cache.put("c", Page())
    assert [path for path in "abc" if cache.get(path) is not None] == ["b", "c"]


def test_pages_take_no_more_memory_than_their_limit_says() -> None:
    """Headers, keys and objects count: a page of a few files is smaller than what is kept beside it."""
    limit_bytes = 1_000_000
    gc.collect()
    tracemalloc.start()
    try:
        cache: Cache[Representations] = Cache(limit_bytes)
        for number in range(1_000):
            page = Representations(
                FoundList((), PUBLIC, number), project=f"project-{number}", fresh_until=None
            )
            for coding in ("identity", "gzip", "zstd"):
                page.variants[JSON, coding] = Variant(
                    bytes(number % 3000),
                    media=JSON,
                    coding=coding,
                    etag=f'"{number:024x}-json-{coding}"',
                    serial=10**6 + number,
                    is_private=False,
                    supplied_by="unstable",
                )
            cache.put(f"/unstable/simple/project-{number}/", page)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limit_bytes / 2 < taken < limit_bytes * 1.1


def test_files_take_no_more_memory_than_their_limit_says(tmp_path: Path) -> None:
    limit_bytes = 1_000_000
    store = make_store(tmp_path)
    made = make_wheel(extra={"demo/data.bin": bytes(range(256)) * 8}, compression=zipfile.ZIP_STORED)
    upload(store, made)
    find_file(store, made.sha256, made.filename, reader=ADMINISTRATOR)  # what is remembered once, is
    gc.collect()
    tracemalloc.start()
    try:
        cache: Cache[ReadyFile] = Cache(limit_bytes)
        for number in range(500):
            found = find_file(store, made.sha256, made.filename, reader=ADMINISTRATOR)
            cache.put(f"/packages/{number}", ReadyFile(found, store.blobs, made.sha256, made.filename))
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limit_bytes / 2 < taken < limit_bytes * 1.1


def test_answer_that_has_grown_is_weighed_again() -> None:
    cache: Cache[Page] = Cache(2 * OVERHEAD_BYTES + 100)
    page = Page()
    cache.put("a", page)
    cache.put("b", Page())
    page.weight_bytes = 101
    cache.put("a", page)
    assert cache.get("b") is None
    assert cache.get("a") is page


def test_change_of_a_project_drops_its_older_answers_and_lists() -> None:
    cache: Cache[Page] = Cache(10**6)
    cache.put("old", Page(serial=4))
    cache.put("new", Page(serial=5))
    cache.put("other", Page("other", serial=1))
    cache.put("list", Page(None, serial=4))
    cache.apply(Touched(serial=5, projects={"demo": 5}, everything=0))
    assert [path for path in ("old", "new", "other", "list") if cache.get(path)] == ["new", "other"]


def test_change_that_may_touch_everything_drops_everything_older() -> None:
    cache: Cache[Page] = Cache(10**6)
    cache.put("old", Page(serial=4))
    cache.put("other", Page("other", serial=1))
    cache.put("new", Page(serial=5))
    cache.apply(Touched(serial=5, projects={}, everything=5))
    assert [path for path in ("old", "other", "new") if cache.get(path)] == ["new"]


async def test_caches_follow_the_catalogue(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    freshness = Freshness(store, Newest(store))
    cache = freshness.new_cache(Page, 10**6)
    cache.put("page", Page(serial=freshness.applied))
    # 1. users are on no page
    add_user(store, ADMINISTRATOR, "somebody", password=None, scopes=["read"])
    assert not freshness.is_current()
    await freshness.catch_up()
    assert freshness.is_current()
    assert cache.get("page") is not None
    # 2. a new index may change every page
    create_index(store, ADMINISTRATOR, NewIndex("new", mode="uploads"))
    before = freshness.applied
    await freshness.catch_up()
    assert cache.get("page") is None
    # 3. what was made before that may not be kept
    assert not freshness.may_keep(before)
    assert freshness.may_keep(freshness.applied)
    # 4. another project's change leaves a page alone
    cache.put("page", Page(serial=freshness.applied))
    with record_change(store, actor="test") as change:
        change.event("upload", index="unstable", project="other")
    await freshness.catch_up()
    assert cache.get("page") is not None
