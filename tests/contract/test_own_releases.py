"""Yanking, deleting and giving a status read and write the same on every database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import canonicalize_name
from urllib3.util import make_headers

from conveyor.catalog.indexes.definitions import claims_on
from conveyor.catalog.releases.distributions import distributions_of
from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.catalog.releases.projects import find_release, project_size
from conveyor.domain.indexes.definitions import NewIndex, is_claimed
from conveyor.domain.indexes.mirror import UpstreamFile, UpstreamPage
from conveyor.domain.indexes.projects import ProjectStatus
from conveyor.domain.indexes.simple_api import render_project_html, render_project_json
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.errors import Conflict, Forbidden, Gone, InvalidInput, NotFound, Unauthorized
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.indexes.mirror import store_page
from conveyor.operations.indexes.pages import find_list, find_page
from conveyor.operations.indexes.projects import get_project_status, set_project_status
from conveyor.operations.releases.promotions import promote_release
from conveyor.operations.releases.standing import is_project_known
from conveyor.operations.releases.withdrawals import delete_files, unyank_release, yank_release
from conveyor.operations.store.facts import list_events
from conveyor.operations.store.store import read
from distributions_made import make_sdist, make_wheel
from makers import ADMIN_PASSWORD, make_store
from readers import ADMINISTRATOR, PUBLIC_URL, reading, upload
from releases_made import make_release, make_worker

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from distributions_made import Made

DEMO = canonicalize_name("demo")
WHEEL, SDIST, NEXT = make_wheel(), make_sdist(), make_wheel(version="1.1")
UPLOADER = Identity("ci", frozenset({"read", "upload"}))
PROMOTER = Identity("release-manager", frozenset({"read", "promote"}))


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Store:
    """Two releases of ``demo`` in "dev", from which a promotion into "open" asks for nothing."""
    store = make_store(tmp_path, database_url=database_url)
    create_index(store, ADMINISTRATOR, NewIndex("open", mode="promotion-only"))
    create_index(store, ADMINISTRATOR, NewIndex("dev", mode="uploads", bases=("open",)))
    for made in (WHEEL, SDIST, NEXT):
        upload(store, made, index="dev")
    return store


def shown(store: Store, index: str = "dev") -> dict[str, Any]:
    """Filename → what the JSON page says of its yank."""
    page = json.loads(
        render_project_json(find_page(store, index, DEMO).page, index=index, public_url=PUBLIC_URL)
    )
    return {file["filename"]: file["yanked"] for file in page["files"]}


def url_of(made: Made) -> str:
    return f"/packages/{made.sha256}/{made.filename}"


# --- yanks -------------------------------------------------------------------------------------------------


async def test_yanked_release_says_so_at_the_next_request_and_can_be_taken_back(store: Store) -> None:
    async with reading(store) as reader:
        before = await reader.page("demo", index="dev")
        yank_release(store, UPLOADER, "Demo", "1.0", reason="breaks <everything>")
        yanked = await reader.page("demo", index="dev")
        html = await reader.get("/dev/simple/demo/")
        file = await reader.get(url_of(WHEEL))
        unyank_release(store, UPLOADER, "demo", "1.0")
        after = await reader.page("demo", index="dev")
    said = {file["filename"]: file["yanked"] for file in yanked.json["files"]}
    assert said == {
        WHEEL.filename: "breaks <everything>",
        SDIST.filename: "breaks <everything>",
        NEXT.filename: False,
    }
    assert html.body.count(b'data-yanked="breaks &lt;everything&gt;"') == 2
    assert file.body == WHEEL.content, "a lock file still gets it"
    assert after.json["files"] == before.json["files"]


def test_one_file_of_a_release_can_be_yanked(store: Store) -> None:
    yank = yank_release(store, ADMINISTRATOR, "demo", "1.0", filename=SDIST.filename)
    assert [(file.index, file.filename) for file in yank.files] == [("dev", SDIST.filename)]
    assert shown(store) == {WHEEL.filename: False, SDIST.filename: True, NEXT.filename: False}


def test_yank_stays_with_a_release_on_its_way(store: Store) -> None:
    yank_release(store, UPLOADER, "demo", "1.0", reason="bad")
    promote_release(store, PROMOTER, "demo", "1.0", to="open")
    assert shown(store, "open") == {WHEEL.filename: "bad", SDIST.filename: "bad"}


def test_who_may_upload_may_yank_and_of_a_promoted_release_who_may_promote(store: Store) -> None:
    with pytest.raises(Unauthorized):
        yank_release(store, ANONYMOUS, "demo", "1.0")
    with pytest.raises(Forbidden):
        yank_release(store, PROMOTER, "demo", "1.0")
    elsewhere = Identity("ci", frozenset({"upload"}), projects=frozenset({"other"}))
    with pytest.raises(Forbidden):
        yank_release(store, elsewhere, "demo", "1.0")
    promote_release(store, PROMOTER, "demo", "1.0", to="open")
    with pytest.raises(Forbidden):
        yank_release(store, UPLOADER, "demo", "1.0")
    assert shown(store) == {WHEEL.filename: False, SDIST.filename: False, NEXT.filename: False}
    assert yank_release(store, PROMOTER, "demo", "1.0").files


def test_yank_in_all_indexes_is_all_or_nothing(store: Store) -> None:
    create_index(store, ADMINISTRATOR, NewIndex("apart", mode="uploads"))
    upload(store, WHEEL, index="apart")
    only_dev = Identity("ci", frozenset({"upload"}), indexes=frozenset({"dev"}))
    with pytest.raises(Forbidden, match='in index "apart"'):
        yank_release(store, only_dev, "demo", "1.0")
    assert not any(shown(store).values())
    yank_release(store, only_dev, "demo", "1.0", index="dev")
    assert (shown(store)[WHEEL.filename], shown(store, "apart")[WHEEL.filename]) == (True, False)


def test_yank_of_what_the_caller_does_not_see_finds_nothing(store: Store) -> None:
    create_index(store, ADMINISTRATOR, NewIndex("secret", mode="uploads", is_private=True))
    upload(store, make_wheel(version="9.0"), index="secret")
    outsider = Identity("ci", frozenset({"read", "upload"}), indexes=frozenset({"dev"}))
    for version, chosen in [
        ("9.0", {}),
        ("7.0", {}),
        ("1.0", {"index": "open"}),
        ("1.0", {"index": "nowhere"}),
        ("1.0", {"filename": "demo-1.0-cp311-none-any.whl"}),
    ]:
        with pytest.raises(NotFound):
            yank_release(store, outsider, "demo", version, **chosen)


def test_yank_is_an_event_per_index_and_none_when_nothing_changes(store: Store) -> None:
    start = store.newest.read()
    yank_release(store, UPLOADER, "demo", "1.0", reason=" bad ")
    yank_release(store, UPLOADER, "demo", "1.0", reason="bad")
    yank_release(store, UPLOADER, "demo", "1.0")
    unyank_release(store, UPLOADER, "demo", "1.0")
    unyank_release(store, UPLOADER, "demo", "1.0")
    files = [WHEEL.filename, SDIST.filename]
    assert [
        (event.actor, event.action, event.index, event.project, event.version, event.detail)
        for event in list_events(store, ADMINISTRATOR, since=start)
    ] == [
        ("ci", "yank", "dev", "demo", "1.0", {"files": files, "reason": "bad"}),
        ("ci", "yank", "dev", "demo", "1.0", {"files": files}),
        ("ci", "unyank", "dev", "demo", "1.0", {"files": files}),
    ]


@pytest.mark.parametrize("reason", ["x" * 1001, "two\nlines", "\x1b[31mred", "half \ud800"])
def test_reason_that_cannot_be_shown_is_refused(store: Store, reason: str) -> None:
    with pytest.raises(InvalidInput, match="the reason must be one line"):
        yank_release(store, UPLOADER, "demo", "1.0", reason=reason)
    with pytest.raises(InvalidInput, match="the reason must be one line"):
        set_project_status(store, ADMINISTRATOR, "demo", "archived", reason=reason)


# --- deletions ---------------------------------------------------------------------------------------------


async def test_deleted_release_is_gone_at_the_next_request(store: Store) -> None:
    async with reading(store) as reader:
        assert (await reader.get(url_of(WHEEL))).body == WHEEL.content
        await reader.page("demo", index="dev")
        delete_files(store, ADMINISTRATOR, "demo", "1.0")
        page = await reader.page("demo", index="dev")
        file = await reader.get(url_of(WHEEL))
        beside = await reader.get(f"{url_of(WHEEL)}.metadata")
        never = await reader.get(f"/packages/{'0' * 64}/{WHEEL.filename}")
        html = await reader.get("/dev/simple/demo/")
    assert [file["filename"] for file in page.json["files"]] == [NEXT.filename]
    assert b"demo-1.0" not in html.body
    assert isinstance(file.error, Gone)
    assert isinstance(beside.error, Gone)
    assert isinstance(never.error, NotFound)
    assert not isinstance(never.error, Gone)


def test_deleted_filename_is_never_given_again_not_even_to_the_same_bytes(store: Store) -> None:
    delete_files(store, ADMINISTRATOR, "demo", "1.0", filename=WHEEL.filename)
    other = make_wheel(extra={"demo/other.py": b"x = 1"})
    for made, index in [(WHEEL, "dev"), (other, "dev"), (WHEEL, "unstable")]:
        with pytest.raises(Conflict, match="was deleted from this store, and the name"):
            upload(store, made, index=index)
    upload(store, SDIST, index="dev")
    assert shown(store) == {SDIST.filename: False, NEXT.filename: False}


def test_deleting_all_of_a_project_leaves_its_claim_and_nothing_to_read(store: Store) -> None:
    with read(store) as connection:
        assert project_size(connection, DEMO).stored_bytes == sum(
            len(made.content) for made in (WHEEL, SDIST, NEXT)
        )
    deletion = delete_files(store, ADMINISTRATOR, "demo")
    assert {file.filename for file in deletion.files} == {WHEEL.filename, SDIST.filename, NEXT.filename}
    assert not find_page(store, "dev", DEMO).exists
    with read(store) as connection:
        assert distributions_of(connection, DEMO, None, None) == []
        assert find_release(connection, DEMO, "1.0") is None
        assert project_size(connection, DEMO).stored_bytes == 0
        assert is_claimed(DEMO, claims_on(connection, DEMO))
    assert find_page(store, "dev", DEMO).due == (), "no mirror is asked for it"
    with pytest.raises(NotFound):
        delete_files(store, ADMINISTRATOR, "demo")
    upload(store, make_wheel(version="2.0"), index="dev")
    assert list(shown(store)) == [make_wheel(version="2.0").filename]


def test_promoted_release_stays_closed_after_it_was_deleted(store: Store) -> None:
    promote_release(store, PROMOTER, "demo", "1.0", to="open")
    delete_files(store, ADMINISTRATOR, "demo", "1.0")
    with pytest.raises(Conflict, match="was promoted at"):
        upload(store, make_wheel(tag="cp311-none-any"), index="dev")
    upload(store, make_wheel("demo", "1.0.post1"), index="dev")


def test_evidence_on_deleted_files_stays(store: Store) -> None:
    make_release(store, make_worker(store), version="3.0")
    with read(store) as connection:
        before = evidence_of_release(connection, "demo", "3.0")
    delete_files(store, ADMINISTRATOR, "demo", "3.0")
    with read(store) as connection:
        assert evidence_of_release(connection, "demo", "3.0") == before != ()


@pytest.mark.parametrize("identity", [UPLOADER, PROMOTER, ANONYMOUS])
def test_only_administrators_delete(store: Store, identity: Identity) -> None:
    with pytest.raises((Forbidden, Unauthorized)):
        delete_files(store, identity, "demo", "1.0")
    narrowed = Identity("admin", frozenset({"admin"}), projects=frozenset({"demo"}))
    with pytest.raises(Forbidden):
        delete_files(store, narrowed, "demo", "1.0")
    assert len(shown(store)) == 3


def test_deletion_is_one_event_with_every_file(store: Store) -> None:
    start = store.newest.read()
    delete_files(store, ADMINISTRATOR, "demo", "1.0", filename=WHEEL.filename)
    (event,) = list_events(store, ADMINISTRATOR, since=start)
    assert (event.actor, event.action, event.project, event.version) == ("admin", "delete", "demo", "1.0")
    assert event.detail == {
        "files": [{"filename": WHEEL.filename, "sha256": WHEEL.sha256}],
        "size_bytes": len(WHEEL.content),
    }


def test_file_without_its_version_is_not_deleted(store: Store) -> None:
    with pytest.raises(InvalidInput, match="name its version too"):
        delete_files(store, ADMINISTRATOR, "demo", filename=WHEEL.filename)


# --- project status ----------------------------------------------------------------------------------------


async def test_status_is_on_the_page_at_the_next_request(store: Store) -> None:
    async with reading(store) as reader:
        active = await reader.page("demo", index="dev")
        set_project_status(store, ADMINISTRATOR, "Demo", "deprecated", reason='use "other" <now>')
        deprecated = await reader.page("demo", index="dev")
        html = await reader.get("/dev/simple/demo/")
        set_project_status(store, ADMINISTRATOR, "demo", "active")
        again = await reader.page("demo", index="dev")
    assert active.json["project-status"] == again.json["project-status"] == {"status": "active"}
    assert deprecated.json["project-status"] == {"status": "deprecated", "reason": 'use "other" <now>'}
    assert deprecated.json["files"] == active.json["files"]
    assert b'<meta name="pypi:project-status" content="deprecated">' in html.body
    assert b'name="pypi:project-status-reason" content="use &quot;other&quot; &lt;now&gt;"' in html.body


def test_archived_project_takes_no_new_files_and_serves_what_it_has(store: Store) -> None:
    set_project_status(store, ADMINISTRATOR, "demo", "archived", reason="see other")
    with pytest.raises(Forbidden, match=r"demo is archived \(see other\) and takes no new files"):
        upload(store, make_wheel(version="2.0"), index="dev")
    assert not upload(store, WHEEL, index="dev").is_new, "the identical file is no new one"
    assert len(shown(store)) == 3
    promote_release(store, PROMOTER, "demo", "1.0", to="open")
    set_project_status(store, ADMINISTRATOR, "demo", "deprecated")
    assert upload(store, make_wheel(version="2.0"), index="dev").is_new


async def test_quarantined_project_offers_no_files_to_anybody_but_administrators(store: Store) -> None:
    authorization = make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")["authorization"]
    async with reading(store) as reader:
        assert (await reader.get(url_of(WHEEL))).body == WHEEL.content
        set_project_status(store, ADMINISTRATOR, "demo", "quarantined", reason="steals keys")
        for _ in range(2):  # cold, then from memory
            page = await reader.page("demo", index="dev")
            assert page.json["files"] == page.json["versions"] == []
            assert page.json["project-status"] == {"status": "quarantined", "reason": "steals keys"}
            for path in (url_of(WHEEL), f"{url_of(WHEEL)}.metadata"):
                file = await reader.get(path)
                assert isinstance(file.error, Forbidden)
                assert "demo is quarantined (steals keys)" in file.error.message
            looked_into = await reader.get(url_of(WHEEL), authorization=authorization)
            assert looked_into.body == WHEEL.content
            assert looked_into.headers["cache-control"].startswith("private")
        set_project_status(store, ADMINISTRATOR, "demo", "active")
        assert (await reader.get(url_of(WHEEL))).body == WHEEL.content
        assert len((await reader.page("demo", index="dev")).json["files"]) == 3


def test_quarantined_project_is_neither_extended_nor_promoted(store: Store) -> None:
    set_project_status(store, ADMINISTRATOR, "demo", "quarantined")
    with pytest.raises(Forbidden, match="takes no new files"):
        upload(store, make_wheel(version="2.0"), index="dev")
    with pytest.raises(Forbidden, match="demo is quarantined"):
        promote_release(store, ADMINISTRATOR, "demo", "1.0", to="open")
    assert shown(store, "open") == {}


def test_mirrored_project_can_be_quarantined_before_upstream_has_noticed(store: Store) -> None:
    file = UpstreamFile("theirs-1.0-py3-none-any.whl", "http://files/theirs", "ab" * 32)
    theirs = canonicalize_name("theirs")
    store_page(store, "pypi", theirs, UpstreamPage((file,), '"1"', status=ProjectStatus("deprecated", "old")))
    assert get_project_status(store, ANONYMOUS, "theirs") == ProjectStatus("deprecated", "old")
    assert is_project_known(store, "Theirs")
    assert len(find_page(store, "unstable", theirs).page.files) == 1
    set_project_status(store, ADMINISTRATOR, "theirs", "quarantined", reason="malware")
    found = find_page(store, "unstable", theirs)
    assert (found.page.files, found.page.status) == ((), ProjectStatus("quarantined", "malware"))
    assert found.exists
    set_project_status(store, ADMINISTRATOR, "theirs", "active")
    found = find_page(store, "unstable", theirs)
    assert (len(found.page.files), found.page.status.name) == (1, "deprecated")
    assert inspect_store(store, grace_seconds=60, threads=1).faults == []


def test_name_that_nobody_has_asked_for_yet_can_be_quarantined(store: Store) -> None:
    theirs = canonicalize_name("theirs")
    assert not is_project_known(store, "theirs")
    listed = find_list(store, "unstable").projects
    start = store.newest.read()
    set_project_status(store, ADMINISTRATOR, "Theirs", "active")  # as it is: nothing to write
    assert store.newest.read() == start
    set_project_status(store, ADMINISTRATOR, "Theirs", "quarantined", reason="malware")
    # neither a page nor a claim, and nothing that others are told
    assert not find_page(store, "unstable", theirs).exists
    assert find_list(store, "unstable").projects == listed
    with read(store) as connection:
        assert claims_on(connection, theirs) == []
    with pytest.raises(NotFound):
        get_project_status(store, ANONYMOUS, "theirs")
    with pytest.raises(Forbidden, match=r"theirs is quarantined \(malware\) and takes no new files"):
        upload(store, make_wheel("theirs"), index="dev")
    # the first page that upstream gives shows no file
    file = UpstreamFile("theirs-1.0-py3-none-any.whl", "http://files/theirs", "ab" * 32)
    store_page(store, "pypi", theirs, UpstreamPage((file,), '"1"'))
    found = find_page(store, "unstable", theirs)
    assert (found.exists, found.page.files, found.page.status.name) == (True, (), "quarantined")
    assert inspect_store(store, grace_seconds=60, threads=1).faults == []


def test_only_administrators_set_a_status(store: Store) -> None:
    for identity in (UPLOADER, PROMOTER, ANONYMOUS):
        with pytest.raises((Forbidden, Unauthorized)):
            set_project_status(store, identity, "demo", "quarantined")
        with pytest.raises((Forbidden, Unauthorized)):
            set_project_status(store, identity, "nobody-has-it", "archived")
    with pytest.raises(NotFound):
        get_project_status(store, ADMINISTRATOR, "nobody-has-it")


def test_status_of_what_the_caller_does_not_see_is_not_told(store: Store) -> None:
    create_index(store, ADMINISTRATOR, NewIndex("secret", mode="uploads", is_private=True))
    upload(store, make_wheel("hidden"), index="secret")
    set_project_status(store, ADMINISTRATOR, "hidden", "archived")
    with pytest.raises(Unauthorized):
        get_project_status(store, ANONYMOUS, "hidden")
    assert get_project_status(store, ADMINISTRATOR, "hidden").name == "archived"


def test_status_is_one_event_and_none_when_nothing_changes(store: Store) -> None:
    start = store.newest.read()
    for _ in range(2):
        set_project_status(store, ADMINISTRATOR, "demo", "archived", reason="done")
    (event,) = list_events(store, ADMINISTRATOR, since=start)
    assert (event.action, event.project) == ("set-project-status", "demo")
    assert event.detail == {"status": "archived", "reason": "done"}


def test_store_is_sound_after_all_of_it(store: Store) -> None:
    make_release(store, make_worker(store), version="3.0")
    yank_release(store, ADMINISTRATOR, "demo", "1.1")
    promote_release(store, PROMOTER, "demo", "1.0", to="open")
    delete_files(store, ADMINISTRATOR, "demo", "3.0")
    delete_files(store, ADMINISTRATOR, "demo", "1.0", filename=SDIST.filename)
    set_project_status(store, ADMINISTRATOR, "demo", "quarantined")
    assert inspect_store(store, grace_seconds=60, threads=1).faults == []


def test_page_of_a_quarantined_project_is_a_page_of_the_standard(store: Store) -> None:
    set_project_status(store, ADMINISTRATOR, "demo", "quarantined")
    html = render_project_html(find_page(store, "dev", DEMO).page, index="dev", public_url=PUBLIC_URL)
    assert b'<meta name="pypi:project-status" content="quarantined">' in html
    assert b"<a " not in html
