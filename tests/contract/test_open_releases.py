"""Open releases on every database: nothing is seen before all of it is, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name
from sqlalchemy import select

from conveyor.catalog.database.tables import claims, distributions, open_files, projects
from conveyor.catalog.releases.docs_archives import find_docs
from conveyor.catalog.releases.projects import project_size
from conveyor.domain.distributions.reading import UploadForm
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import STORE, Identity
from conveyor.domain.releases.publications import FileToPublish, NewPublication
from conveyor.errors import Conflict, ConveyorError, DistributionExists, Forbidden, NotFound, TooLarge
from conveyor.operations.care.garbage import collect_garbage
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.care.opening import open_store
from conveyor.operations.indexes.files import find_file
from conveyor.operations.indexes.pages import find_list, find_page
from conveyor.operations.indexes.projects import set_project_size_limit
from conveyor.operations.releases.documentation import add_docs, get_docs
from conveyor.operations.releases.standing import get_project, get_release, releases_of_commit
from conveyor.operations.releases.withdrawals import delete_files
from conveyor.operations.store.facts import list_events
from conveyor.operations.store.store import read
from conveyor.operations.uploads.acceptance import (
    AcceptedUpload,
    ReceivedUpload,
    UpstreamQuestion,
    accept_answered,
    accept_upload,
)
from conveyor.operations.uploads.incoming_files import IncomingFile
from conveyor.operations.uploads.open_releases import check_publishing, publish_release
from conveyor.server.app import App
from distributions_made import make_sdist, make_wheel, zip_of
from makers import make_settings, make_store
from mirrors import Clock
from operations.stores_damaged import DAY_SECONDS, blob_path
from readers import ADMINISTRATOR, upload
from releases_made import COMMIT, hand_in, make_worker, predicate_of_build

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from starlette.types import Message

    from conveyor.domain.releases.publications import DocsArchive, Publication, PublishingCheck
    from conveyor.operations.store.store import Store
    from distributions_made import Made

DEMO = canonicalize_name("demo")
SDIST, WHEEL = make_sdist(), make_wheel()
OTHER_WHEEL = make_wheel(extra={"demo/more.py": b""})
PROCESSES, DROPPED = 3, "drop-open"
CLAIMER = Identity("cleo", frozenset({"read", "upload", "claim"}))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, database_url: str, clock: Clock) -> Store:
    return replace(make_store(tmp_path / "store", database_url=database_url), clock=clock)


def faults_in(store: Store) -> list[str]:
    return [fault.kind for fault in inspect_store(store, grace_seconds=DAY_SECONDS, threads=1).faults]


def send(
    store: Store, made: Made, *, index: str = "unstable", by: Identity = ADMINISTRATOR
) -> AcceptedUpload:
    """Upload a file into an open release."""
    limits = UploadLimits()
    incoming = IncomingFile(store.blobs, limits=limits)
    try:
        incoming.write([made.content])
        form = UploadForm({**made.form, ":action": ["file_open"]})
        received = ReceivedUpload(index, made.filename, form, incoming)
        accepted = accept_upload(store, received, identity=by, limits=limits)
        if isinstance(accepted, UpstreamQuestion):
            accepted = accept_answered(
                store, received, accepted, identity=by, limits=limits, upstream_has=False
            )
    finally:
        incoming.close()
    assert isinstance(accepted, AcceptedUpload)
    return accepted


def publish(
    store: Store, *files: Made, index: str = "unstable", by: Identity = ADMINISTRATOR, has: bool = False
) -> Publication:
    asked = NewPublication(index, tuple(FileToPublish(made.filename, made.sha256) for made in files))
    return publish_release(store, by, "demo", "1.0", asked, upstream_has=lambda _: has)


def check(store: Store, version: str = "1.0", *, by: Identity = ADMINISTRATOR) -> PublishingCheck:
    return check_publishing(store, by, "demo", version, index="unstable", upstream_has=lambda _: False)


def actions(store: Store) -> list[str]:
    return [event.action for event in list_events(store, ADMINISTRATOR)]


async def ignore(message: Message) -> None:
    del message


def assert_unseen(store: Store) -> None:
    """No page, list, search or download shows anything of the release."""
    assert not find_page(store, "unstable", DEMO).exists
    assert DEMO not in str(find_list(store, "unstable", ADMINISTRATOR))
    for made in (SDIST, WHEEL):
        with pytest.raises(NotFound):
            find_file(store, made.sha256, made.filename, reader=ADMINISTRATOR)
    for looking in (
        lambda: get_project(store, ADMINISTRATOR, "demo"),
        lambda: get_release(store, ADMINISTRATOR, "demo", "1.0"),
    ):
        with pytest.raises(NotFound):
            looking()
    assert releases_of_commit(store, ADMINISTRATOR, "demo", COMMIT) == []


def test_release_is_seen_whole_or_not_at_all(store: Store) -> None:
    worker = make_worker(store)
    assert send(store, SDIST) == AcceptedUpload(
        "unstable", SDIST.filename, SDIST.sha256, is_new=True, is_open=True
    )
    assert_unseen(store)
    send(store, WHEEL)
    for made in (SDIST, WHEEL):
        hand_in(store, worker, "build", made, predicate_of_build(made))
        assert_unseen(store)
    before = list_events(store, ADMINISTRATOR)[-1].serial
    done = publish(store, SDIST, WHEEL)
    assert (done.files, done.is_new) == (tuple(sorted([SDIST.filename, WHEEL.filename])), True)
    release = get_release(store, ADMINISTRATOR, "demo", "1.0")
    assert {file.sha256 for file in release.files} == {SDIST.sha256, WHEEL.sha256}
    assert [one.kind for one in release.evidence] == ["build", "build"]
    claimed, published = list_events(store, ADMINISTRATOR, since=before)
    assert (claimed.action, published.action, published.index) == ("claim", "publish", "unstable")
    assert {file["filename"] for file in published.detail["files"]} == {SDIST.filename, WHEEL.filename}
    page = find_page(store, "unstable", DEMO).page
    assert {file.filename for file in page.files} == {SDIST.filename, WHEEL.filename}
    assert faults_in(store) == []


def test_upload_time_is_the_moment_of_publishing(store: Store, clock: Clock) -> None:
    send(store, WHEEL)
    clock.pass_by(timedelta(hours=3))
    publish(store, WHEEL)
    (file,) = get_release(store, ADMINISTRATOR, "demo", "1.0").files
    assert file.uploaded_at.startswith("2026-11-21T11:00")


def test_every_call_may_be_repeated(store: Store) -> None:
    for _ in range(2):
        send(store, SDIST)
        send(store, WHEEL)
    assert publish(store, SDIST, WHEEL).is_new
    newest = store.newest.read()
    assert not publish(store, SDIST, WHEEL).is_new
    assert not send(store, SDIST).is_open, "it is visible already"
    assert store.newest.read() == newest
    with read(store) as connection:
        assert connection.execute(select(open_files)).all() == []


def test_another_file_under_the_name_takes_the_place_of_the_first(store: Store) -> None:
    send(store, WHEEL)
    send(store, OTHER_WHEEL)
    with pytest.raises(Conflict, match="did not come, was replaced"):
        publish(store, WHEEL)
    assert_unseen(store)
    assert publish(store, OTHER_WHEEL).is_new
    with read(store) as connection:
        assert list(connection.scalars(select(distributions.c.sha256))) == [OTHER_WHEEL.sha256]
        assert connection.scalar(select(projects.c.stored_bytes)) == len(OTHER_WHEEL.content)
    assert faults_in(store) == []


def test_every_missing_file_is_named_and_nothing_is_shown(store: Store) -> None:
    send(store, SDIST)
    with pytest.raises(Conflict, match=WHEEL.filename):
        publish(store, SDIST, WHEEL)
    assert_unseen(store)


def test_what_is_not_named_is_dropped_with_the_publication(store: Store) -> None:
    send(store, SDIST)
    send(store, WHEEL)
    publish(store, SDIST)
    with pytest.raises(Conflict):
        publish(store, SDIST, WHEEL)


def test_unfinished_release_is_dropped_after_a_day_and_not_before(store: Store, clock: Clock) -> None:
    send(store, WHEEL)
    hand_in(store, make_worker(store), "build", WHEEL, predicate_of_build(WHEEL))
    os.utime(blob_path(store, WHEEL.sha256), (0, 0))
    clock.pass_by(timedelta(hours=23))
    collect_garbage(store)
    assert store.blobs.has(WHEEL.sha256)
    clock.pass_by(timedelta(hours=2))
    with pytest.raises(Conflict):
        publish(store, WHEEL)
    collect_garbage(store)
    assert not store.blobs.has(WHEEL.sha256)
    assert list_events(store, ADMINISTRATOR)[-2].action == "drop-open"
    with read(store) as connection:
        assert connection.execute(select(distributions)).all() == []
        assert connection.scalar(select(projects.c.stored_bytes)) == 0
        assert connection.execute(select(claims)).all() == []
    assert faults_in(store) == []
    assert check(store).version == "1.0"


async def test_servers_drop_unfinished_releases_by_themselves_once(
    store: Store, clock: Clock, database_url: str
) -> None:
    settings = make_settings(store.data, database_url=database_url)
    ended, ready = asyncio.Event(), asyncio.Event()
    started = 0

    def when_started() -> None:
        nonlocal started
        started += 1
        if started == PROCESSES:
            ready.set()

    async def receive() -> dict[str, str]:
        await ended.wait()
        return {"type": "lifespan.shutdown"}

    async def live(app: App) -> None:
        first = iter([{"type": "lifespan.startup"}])

        async def next_message() -> Message:
            return next(first, None) or await receive()

        await app({"type": "lifespan"}, next_message, ignore)

    send(store, WHEEL)
    looks = [0] * PROCESSES

    def opened(number: int) -> Store:
        def noting_clock() -> datetime:
            looks[number] += 1
            return clock()

        return replace(open_store(settings), clock=noting_clock)

    apps = [
        App(settings, opener=partial(opened, number), when_started=when_started, care_seconds=0.02)
        for number in range(PROCESSES)
    ]
    living = [asyncio.create_task(live(app)) for app in apps]
    await ready.wait()
    assert DROPPED not in actions(store)
    clock.pass_by(timedelta(hours=25))
    while DROPPED not in actions(store):
        await asyncio.sleep(0.02)
    before = list(looks)
    while any(
        now < then + 2 for now, then in zip(looks, before, strict=True)
    ):  # each of them looks once more
        await asyncio.sleep(0.02)
    ended.set()
    await asyncio.gather(*living)
    assert actions(store).count(DROPPED) == 1
    assert list_events(store, ADMINISTRATOR)[-1].actor == STORE
    with pytest.raises(Conflict):
        publish(store, WHEEL)


def test_upload_of_a_file_that_waits_shows_it_at_once(store: Store) -> None:
    send(store, WHEEL)
    upload(store, WHEEL)
    assert [file.filename for file in get_release(store, ADMINISTRATOR, "demo", "1.0").files] == [
        WHEEL.filename
    ]
    assert not publish(store, WHEEL).is_new
    assert faults_in(store) == []


def test_name_that_somebody_else_took_meanwhile_is_refused(store: Store) -> None:
    send(store, WHEEL)
    upload(store, OTHER_WHEEL)
    with pytest.raises(DistributionExists):
        publish(store, WHEEL)


def test_name_is_claimed_by_publishing_and_only_by_whoever_may(store: Store) -> None:
    send(store, WHEEL, by=CLAIMER)
    with pytest.raises(Forbidden, match="upstream has a project of that name"):
        publish(store, WHEEL, by=CLAIMER, has=True)
    assert_unseen(store)
    assert publish(store, WHEEL, by=CLAIMER).is_new
    with read(store) as connection:
        assert list(connection.scalars(select(claims.c.claimed_by))) == ["cleo"]


def test_waiting_files_count_for_the_limit_of_their_project_once(store: Store) -> None:
    set_project_size_limit(store, ADMINISTRATOR, "demo", len(WHEEL.content))
    send(store, WHEEL)
    assert publish(store, WHEEL).is_new


def give_docs(store: Store, text: bytes, *, version: str = "1.0") -> DocsArchive:
    """Documentation of one page."""
    limits = UploadLimits()
    incoming = IncomingFile(store.blobs, limits=limits)
    try:
        incoming.write([zip_of({"index.html": text})])
        archive = incoming.archive()
        return add_docs(store, ADMINISTRATOR, "demo", version, archive, index="unstable", limits=limits)
    finally:
        incoming.close()


def stored_bytes(store: Store) -> int:
    with read(store) as connection:
        return project_size(connection, "demo").stored_bytes


def test_documentation_counts_for_the_size_of_its_project(store: Store) -> None:
    send(store, WHEEL)
    one = give_docs(store, b"one")
    assert stored_bytes(store) == len(WHEEL.content) + one.size_bytes
    other = give_docs(store, b"another page")
    assert stored_bytes(store) == len(WHEEL.content) + other.size_bytes
    set_project_size_limit(store, ADMINISTRATOR, "demo", stored_bytes(store))
    with pytest.raises(TooLarge, match="would have more than"):
        give_docs(store, bytes(range(256)))
    assert faults_in(store) == []
    with pytest.raises(NotFound, match=r"no file of demo 2\.0 is here"):
        give_docs(store, b"", version="2.0")


@pytest.mark.parametrize("how", ["outdated", "uploaded otherwise", "deleted"])
def test_documentation_ends_with_the_release_that_it_came_with(store: Store, clock: Clock, how: str) -> None:
    send(store, WHEEL)
    docs = give_docs(store, b"of files that nobody published")
    if how == "outdated":
        clock.now += timedelta(days=1, seconds=1)
        send(store, make_wheel(version="2.0"))
    elif how == "deleted":
        deletion = delete_files(store, ADMINISTRATOR, "demo", "1.0")
        assert (deletion.waiting, deletion.documented) == ((WHEEL.filename,), ("1.0",))
        assert deletion.size_bytes == len(WHEEL.content) + docs.size_bytes
        assert stored_bytes(store) == 0
        with pytest.raises(NotFound):
            delete_files(store, ADMINISTRATOR, "demo", "1.0")
    upload(store, OTHER_WHEEL)
    with pytest.raises(NotFound, match="has no documentation"):
        get_docs(store, ADMINISTRATOR, "demo", "1.0")
    assert faults_in(store) == []
    # It stays as long as there is a file, and with the very file that it came with.
    give_docs(store, b"of what is published")
    upload(store, SDIST)
    delete_files(store, ADMINISTRATOR, "demo", "1.0", filename=OTHER_WHEEL.filename)
    assert get_docs(store, ADMINISTRATOR, "demo", "1.0").sha256
    delete_files(store, ADMINISTRATOR, "demo", "1.0", filename=SDIST.filename)
    with read(store) as connection:
        assert find_docs(connection, "demo", "1.0") is None


def test_documentation_is_published_with_its_release(store: Store) -> None:
    send(store, WHEEL)
    docs = give_docs(store, b"of this wheel")
    upload(store, WHEEL)
    assert get_docs(store, ADMINISTRATOR, "demo", "1.0").sha256 == docs.sha256


def test_deleting_a_release_drops_what_waits_without_using_up_its_names(store: Store) -> None:
    upload(store, SDIST)
    send(store, WHEEL)
    delete_files(store, ADMINISTRATOR, "demo", "1.0")
    with read(store) as connection:
        assert connection.execute(select(open_files)).all() == []
        assert connection.execute(select(distributions)).all() == []
    send(store, WHEEL)
    assert faults_in(store) == []


@pytest.mark.parametrize("kind", ["taken", "deleted", "spelling", "no-index", "right", "claim"])
def test_what_would_stop_a_release_is_known_before_it_is_made(store: Store, kind: str) -> None:
    if kind in ("taken", "deleted", "spelling"):
        upload(store, WHEEL)
    if kind == "deleted":
        delete_files(store, ADMINISTRATOR, "demo", "1.0")
    scopes = {"right": {"read"}, "claim": {"upload"}}.get(kind, {"admin"})
    errors: dict[str, type[ConveyorError]] = {"no-index": NotFound, "right": Forbidden, "claim": Forbidden}
    index, version = {"no-index": "nowhere"}.get(kind, "unstable"), "1.0.0" if kind == "spelling" else "1.0"
    before = store.newest.read()
    with pytest.raises(errors.get(kind, Conflict)):
        check_publishing(
            store,
            Identity("ci", frozenset(scopes)),  # type: ignore[arg-type]  # each is a scope
            "demo",
            version,
            index=index,
            upstream_has=lambda _: False,
        )
    assert store.newest.read() == before


def test_a_version_that_nothing_stands_against_may_be_published(store: Store) -> None:
    send(store, WHEEL)
    assert not check(store).is_claimed
    upload(store, make_wheel(version="0.9"))
    assert check(store, by=CLAIMER).is_claimed
