"""Pages, mirrors and files read the same on every database."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.indexes.mirror import FileFacts, Unchanged, UpstreamFile, UpstreamPage
from conveyor.errors import Conflict
from conveyor.operations.indexes.claims import claim_name
from conveyor.operations.indexes.files import find_file
from conveyor.operations.indexes.mirror import store_facts, store_metadata, store_page
from conveyor.operations.indexes.pages import find_list, find_page, touched_since
from distributions_made import make_sdist, make_wheel
from makers import make_store
from readers import ADMINISTRATOR, reading, upload

if TYPE_CHECKING:
    from pathlib import Path

DEMO = canonicalize_name("demo")


def page_of(count: int, *, etag: str = '"one"') -> UpstreamPage:
    files = [
        UpstreamFile(f"demo-{number}.0-py3-none-any.whl", f"http://files/{number}", f"{number:064x}")
        for number in range(count)
    ]
    return UpstreamPage(files=tuple(files), etag=etag)


def test_mirrored_project_is_stored_changed_and_forgotten(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path, database_url=database_url)
    first = find_page(store, "unstable", DEMO)
    assert [(due.index, due.known) for due in first.due] == [("pypi", None)]
    assert not first.exists
    # 1. two thousand files at once
    store_page(store, "pypi", DEMO, page_of(2000))
    found = find_page(store, "unstable", DEMO)
    assert (len(found.page.files), found.due, found.supplied_by) == (2000, (), "pypi")
    assert find_list(store, "unstable").projects == ("demo",)
    # 2. what the file servers say
    store_facts(store, "pypi", DEMO, [FileFacts("demo-7.0-py3-none-any.whl", f"{7:064x}", 77, None)])
    mirrored = find_file(store, f"{7:064x}", "demo-7.0-py3-none-any.whl", reader=ADMINISTRATOR).mirrored
    assert mirrored is not None
    assert mirrored.size_bytes == 77
    digest = store_metadata(store, mirrored, b"Metadata-Version: 2.1\nName: demo\nVersion: 7.0\n")
    (seven,) = [file for file in find_page(store, "unstable", DEMO).page.files if file.version == "7.0"]
    assert (seven.size_bytes, seven.metadata_sha256) == (77, digest)
    # 3. the same page, a shorter one, none
    before = store.newest.read()
    store_page(store, "pypi", DEMO, Unchanged())
    assert store.newest.read() == before, "the same page is no change"
    store_page(store, "pypi", DEMO, page_of(10))
    assert len(find_page(store, "unstable", DEMO).page.files) == 10
    store_page(store, "pypi", DEMO, None)
    assert not find_page(store, "unstable", DEMO).exists
    assert find_list(store, "unstable").projects == ()


async def test_own_files_and_claims_are_read(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path, database_url=database_url)
    wheel, sdist = make_wheel(), make_sdist()
    start = store.newest.read()
    upload(store, wheel)
    upload(store, sdist)
    claim_name(store, ADMINISTRATOR, "risk", is_prefix=True)
    touched = touched_since(store, start)
    assert touched.serial == touched.everything == store.newest.read()
    assert list(touched.projects) == ["demo"]
    assert find_page(store, "unstable", canonicalize_name("risk-score")).due == ()
    async with reading(store) as reader:
        page = await reader.page("demo")
        assert [file["filename"] for file in page.json["files"]] == [wheel.filename, sdist.filename]
        file = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
        assert file.body == wheel.content


async def test_change_is_in_every_answer_that_is_asked_for_after_it(
    tmp_path: Path, database_url: str
) -> None:
    """Rule 3, for readers who have the page in memory and for questions about the serial that many share."""
    store = make_store(tmp_path, database_url=database_url)
    async with reading(store) as one, reading(store) as other:
        for number in range(6):
            made = make_wheel(version=str(number))
            before = [asyncio.create_task(reader.page("demo")) for reader in (one, other) for _ in range(4)]
            await asyncio.to_thread(upload, store, made)
            after = [reader.page("demo") for reader in (one, other) for _ in range(4)]
            for answer in await asyncio.gather(*after):
                assert made.filename in {file["filename"] for file in answer.json["files"]}
            await asyncio.gather(*before)


def test_page_stored_by_several_processes_at_once_is_there_once(tmp_path: Path, database_url: str) -> None:
    """Each may find nothing and write all; those who are too late are told so, or find nothing to write."""
    store = make_store(tmp_path, database_url=database_url)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            store_page(store, "pypi", DEMO, page_of(300))
        except Conflict:
            pass
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(find_page(store, "unstable", DEMO).page.files) == 300
