"""The JSON API says of own releases what the pages of the simple API say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import NotFound
from conveyor.operations.indexes.projects import set_project_status
from conveyor.operations.releases.withdrawals import delete_files, yank_release
from conveyor.server.http.auth import Authenticator
from conveyor.server.memory.newest import Newest
from conveyor.server.mirror.mirroring import PageFinder
from conveyor.server.pages.json_api import JsonApi
from distributions_made import core_metadata, make_sdist, make_wheel
from makers import make_store
from readers import ADMINISTRATOR, reading, upload

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.utils import NormalizedName

    from conveyor.domain.people.access import Identity
    from conveyor.operations.indexes.pages import FoundPage
    from conveyor.operations.store.store import Store
    from readers import Reader

PROJECT, RELEASE = "/unstable/pypi/demo/json", "/unstable/pypi/demo/2.0/json"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = make_store(tmp_path)
    for made in (make_wheel(version="1.0"), make_wheel(version="2.0"), make_sdist(version="2.0")):
        upload(store, made)
    return store


async def test_yanked_release_is_marked_and_not_the_newest_any_more(store: Store) -> None:
    async with reading(store) as reader:
        before = (await reader.get(PROJECT)).json
        yank_release(store, ADMINISTRATOR, "demo", "2.0", reason="bad")
        after = (await reader.get(PROJECT)).json
        release = (await reader.get(RELEASE)).json
    assert (before["info"]["version"], before["info"]["yanked"]) == ("2.0", False)
    assert (after["info"]["version"], after["info"]["yanked"]) == ("1.0", False)
    assert {(file["yanked"], file["yanked_reason"]) for file in after["releases"]["2.0"]} == {(True, "bad")}
    assert (release["info"]["yanked"], release["info"]["yanked_reason"]) == (True, "bad")


async def test_release_of_which_one_file_is_yanked_is_not_yanked(store: Store) -> None:
    yank_release(store, ADMINISTRATOR, "demo", "2.0", filename=make_sdist(version="2.0").filename)
    async with reading(store) as reader:
        release = (await reader.get(RELEASE)).json
    assert release["info"]["yanked"] is False
    assert [file["yanked"] for file in release["urls"]] == [False, True]


async def test_quarantined_project_is_not_described(store: Store) -> None:
    async with reading(store) as reader:
        set_project_status(store, ADMINISTRATOR, "demo", "quarantined")
        for path in (PROJECT, RELEASE):
            assert isinstance((await reader.get(path)).error, NotFound)
        set_project_status(store, ADMINISTRATOR, "demo", "archived")
        assert (await reader.get(PROJECT)).json["info"]["version"] == "2.0"


class OutrunFinder(PageFinder):
    """Finds pages whose files are deleted as soon as they were found."""

    def __init__(self, store: Store, reader: Reader) -> None:
        super().__init__(store, reader.mirroring)
        self._emptied = store

    async def find(self, index: str, project: NormalizedName, reader: Identity | None = None) -> FoundPage:
        found = await super().find(index, project, reader)
        delete_files(self._emptied, ADMINISTRATOR, project)
        return found


async def test_file_that_is_deleted_meanwhile_does_not_fail_the_project(store: Store) -> None:
    async with reading(store) as reader:
        newest = Newest(store)
        reader.handlers["pypi"] = JsonApi(
            store,
            pages=OutrunFinder(store, reader),
            mirroring=reader.mirroring,
            authenticator=Authenticator(store, newest),
            public_url=None,
        )
        assert (await reader.get(PROJECT)).json["info"]["version"] == "2.0"
        newest.close()


async def test_head_says_what_get_would(store: Store) -> None:
    async with reading(store) as reader:
        get = await reader.get(PROJECT)
        head = await reader.get(PROJECT, method="HEAD")
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")
    assert get.headers["cache-control"] == "no-cache"


async def test_version_of_thousands_of_digits_is_not_there(store: Store) -> None:
    async with reading(store) as reader:
        answer = await reader.get(f"/unstable/pypi/demo/{'1' * 6000}/json")
    assert isinstance(answer.error, NotFound)


async def test_description_folded_in_its_header_is_shown_unfolded(store: Store) -> None:
    metadata = core_metadata(
        "demo", "3.0", fields=[("Description", "Title\n        =====\n        \n        End")]
    )
    upload(store, make_sdist(version="3.0", metadata=metadata))
    async with reading(store) as reader:
        shown = (await reader.get(PROJECT)).json["info"]["description"]
    assert shown == "Title\n=====\n\nEnd"
