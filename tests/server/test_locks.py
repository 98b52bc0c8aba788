"""Locks of releases and the files they pin, on a mirror whose upstream removes files."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from packaging.markers import Marker

from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.indexes.mirror import FRESH_FOR
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.releases.locks import check_lock, marker_of, read_lock
from conveyor.errors import Forbidden, Gone, InvalidInput, NotFound, Unauthorized
from conveyor.operations.care.garbage import collect_garbage
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.indexes.projects import set_project_status
from conveyor.operations.people.signers import revoke_worker
from conveyor.operations.releases.locks import add_lock, get_lock
from conveyor.operations.releases.withdrawals import delete_files
from conveyor.operations.store.facts import list_events
from conveyor.project.interpreters import running_interpreter
from distributions_made import make_wheel
from mirrors import packages_path
from operations.stores_damaged import DAY_SECONDS, blob_path
from readers import ADMINISTRATOR
from releases_made import hand_in, make_release, make_worker, predicate_of_tests

if TYPE_CHECKING:
    from conveyor.client.credentials import WorkerCredentials
    from distributions_made import Made
    from mirrors import Clock
    from readers import Reader
    from upstreams import RunningUpstream

WORKER = Identity("worker-1", frozenset({"read", "upload"}))
BASE = "https://packages.example"
DEP = make_wheel("dep", extra={"dep/data.bin": bytes(1000)})
OTHER = make_wheel("dep", "2.0")


def lock_of(*files: Made, python: str = "3.11.7") -> bytes:
    lines = ['lock-version = "1.0"', 'created-by = "conveyor"']
    for made in files:
        name, version = made.filename.split("-")[:2]
        lines += ["[[packages]]", f'name = "{name}"', f'version = "{version}"']
        url = f"{BASE}/packages/{made.sha256}/{made.filename}"
        lines.append(f'wheels = [{{url = "{url}", hashes = {{sha256 = "{made.sha256}"}}}}]')
    return "\n".join([*lines, "[tool.conveyor]", f'python = "{python}"', ""]).encode()


async def removed(upstream: RunningUpstream, mirror: Reader, clock: Clock, *left: Made) -> None:
    """Upstream's page has only these files now, and the store has seen that."""
    upstream.add_html("dep", list(left))
    clock.pass_by(FRESH_FOR + timedelta(seconds=1))
    await mirror.page("dep")


async def send_lock(mirror: Reader, content: bytes, by: Identity = WORKER) -> None:
    """As the server's handler does: in a thread, while the event loop fetches."""
    loop = asyncio.get_running_loop()

    def keep(file: Any) -> None:
        asyncio.run_coroutine_threadsafe(mirror.mirroring.keep(file), loop).result()

    await asyncio.to_thread(add_lock, mirror.store, by, "demo", "1.0", content, keep=keep)


def say_tested(
    mirror: Reader,
    worker: WorkerCredentials,
    wheel: Made,
    lock: bytes,
    *,
    index: str = "testing",
    **more: Any,
) -> None:
    """A testing job's word on a wheel, in the environment of that lock."""
    facts = predicate_of_tests(index=index, **more)
    python = read_lock(lock).python
    facts["environment"] |= {"lock_sha256": hashlib.sha256(lock).hexdigest(), "python": python}
    hand_in(mirror.store, worker, "tests", wheel, facts)


@pytest.fixture
def worker(mirror: Reader) -> WorkerCredentials:
    return make_worker(mirror.store)


@pytest.fixture
def wheel(mirror: Reader, worker: WorkerCredentials, upstream: RunningUpstream) -> Made:
    """The wheel of demo 1.0, which is in "unstable"; upstream has its requirement."""
    upstream.add_html("dep", [DEP])
    upstream.add_file(DEP)
    return make_release(mirror.store, worker)[1]


async def test_locked_file_is_kept_and_served_after_upstream_removed_it(
    mirror: Reader, wheel: Made, upstream: RunningUpstream, clock: Clock
) -> None:
    await mirror.page("dep")
    assert not mirror.store.blobs.has(DEP.sha256)
    await send_lock(mirror, lock_of(wheel, DEP))
    assert mirror.store.blobs.has(DEP.sha256), "fetched when the lock arrived"
    assert "warning" not in (await mirror.get(packages_path(DEP))).headers
    await removed(upstream, mirror, clock, OTHER)
    os.utime(blob_path(mirror.store, DEP.sha256), (0, 0))
    clock.pass_by(timedelta(days=365))
    collect_garbage(mirror.store)
    for _ in range(2):
        answer = await mirror.get(packages_path(DEP))
        assert (answer.status, answer.body) == (200, DEP.content)
        assert answer.headers["warning"] == (
            '299 conveyor "upstream has removed this file; it is kept for the lock of demo 1.0"'
        )
    part = await mirror.get(packages_path(DEP), range="bytes=0-9")
    assert (part.status, part.body) == (206, DEP.content[:10])
    (event,) = [one for one in list_events(mirror.store, ADMINISTRATOR) if one.action == "serve-removed"]
    assert (event.index, event.detail["release"]) == ("pypi", "demo 1.0")
    page = await mirror.page("dep")
    assert [file["filename"] for file in page.json["files"]] == [OTHER.filename], "no page names it"
    assert inspect_store(mirror.store, grace_seconds=DAY_SECONDS, threads=1).faults == []


async def test_file_that_no_lock_names_goes_with_upstream(
    mirror: Reader, wheel: Made, upstream: RunningUpstream, clock: Clock
) -> None:
    await mirror.page("dep")
    await mirror.get(packages_path(DEP))
    await send_lock(mirror, lock_of(wheel))
    await removed(upstream, mirror, clock, OTHER)
    assert isinstance((await mirror.get(packages_path(DEP))).error, NotFound)


@pytest.mark.parametrize("whose", ["own", "upstream"])
async def test_quarantine_wins(
    mirror: Reader, wheel: Made, upstream: RunningUpstream, clock: Clock, whose: str
) -> None:
    await mirror.page("dep")
    await send_lock(mirror, lock_of(wheel, DEP))
    await removed(upstream, mirror, clock, OTHER)
    assert (await mirror.get(packages_path(DEP))).status == 200
    if whose == "own":
        set_project_status(mirror.store, ADMINISTRATOR, "dep", "quarantined", reason="malware")
    else:
        upstream.add_json("dep", [], more={"project-status": {"status": "quarantined"}}, version="1.4")
        clock.pass_by(FRESH_FOR + timedelta(seconds=1))
        await mirror.page("dep")
    assert isinstance((await mirror.get(packages_path(DEP))).error, Forbidden)


async def test_pinned_file_is_for_readers_of_the_release_only(
    mirror: Reader, worker: WorkerCredentials, wheel: Made, upstream: RunningUpstream, clock: Clock
) -> None:
    store = mirror.store
    create_index(store, ADMINISTRATOR, NewIndex("secret", mode="uploads", is_private=True))
    make_release(store, worker, version="2.0", index="secret")
    await mirror.page("dep")
    content = lock_of(make_wheel(version="2.0"), DEP)
    loop = asyncio.get_running_loop()
    keep = lambda file: asyncio.run_coroutine_threadsafe(mirror.mirroring.keep(file), loop).result()  # noqa: E731
    await asyncio.to_thread(add_lock, store, ADMINISTRATOR, "demo", "2.0", content, keep=keep)
    await removed(upstream, mirror, clock, OTHER)
    assert isinstance((await mirror.get(packages_path(DEP))).error, Unauthorized)
    await send_lock(mirror, lock_of(wheel, DEP))
    assert isinstance((await mirror.get(packages_path(DEP))).error, Unauthorized), "it came too late"


async def test_only_workers_may_pin(mirror: Reader, wheel: Made) -> None:
    other = replace(WORKER, name="ci")
    with pytest.raises(Forbidden, match="registered workers only"):
        await send_lock(mirror, lock_of(wheel), other)
    revoke_worker(mirror.store, ADMINISTRATOR, "worker-1")
    with pytest.raises(Forbidden):
        await send_lock(mirror, lock_of(wheel))


async def test_own_deleted_file_stays_deleted(mirror: Reader, worker: WorkerCredentials, wheel: Made) -> None:
    await send_lock(mirror, lock_of(wheel))
    delete_files(mirror.store, ADMINISTRATOR, "demo", "1.0")
    assert isinstance((await mirror.get(packages_path(wheel))).error, Gone)


async def test_newest_passing_test_of_the_most_mature_index_on_the_newest_python_gives_the_lock(
    mirror: Reader, worker: WorkerCredentials, wheel: Made
) -> None:
    store = mirror.store
    get = partial(get_lock, store, ANONYMOUS, "demo", "1.0")
    with pytest.raises(NotFound, match="has no lock") as none:
        get()
    assert none.value.hint == "its next testing job leaves one"
    old, new, stable = lock_of(wheel, python="3.9.2"), lock_of(wheel, python="3.11.7"), lock_of(wheel, OTHER)
    failed = lock_of(wheel, OTHER, python="3.12.1")
    for lock in (old, new, stable, failed):
        await send_lock(mirror, lock)
    say_tested(mirror, worker, wheel, new)
    say_tested(mirror, worker, wheel, old)
    assert get() == new
    assert get(python="3.9") == get(python="3.9.2") == old
    say_tested(mirror, worker, wheel, failed, failed=1)
    assert get() == new
    say_tested(mirror, worker, wheel, stable, index="stable")
    assert get() == stable
    assert get(index="testing") == new
    with pytest.raises(NotFound, match=r'no lock on Python 3\.9 in "stable"') as missing:
        get(python="3.9", index="stable")
    assert missing.value.hint == (
        "there are ?python=3.11&index=stable, ?python=3.11&index=testing, ?python=3.9&index=testing"
    )
    with pytest.raises(NotFound):
        get(python="3.1")
    # A later failure in the same environment takes back what passed there.
    say_tested(mirror, worker, wheel, stable, index="stable", failed=1)
    assert get() == new


async def test_lock_is_that_of_the_most_mature_index_that_the_reader_may_see(
    mirror: Reader, worker: WorkerCredentials, wheel: Made
) -> None:
    store = mirror.store
    create_index(store, ADMINISTRATOR, NewIndex("secret", mode="promotion-only", is_private=True))
    create_index(
        store, ADMINISTRATOR, NewIndex("secret-entry", mode="uploads", bases=("secret",), is_private=True)
    )
    seen, unseen = lock_of(wheel), lock_of(wheel, OTHER)
    for lock, index in ((seen, "testing"), (unseen, "secret"), (seen, "secret-entry")):
        await send_lock(mirror, lock)
        say_tested(mirror, worker, wheel, lock, index=index)
    assert get_lock(store, ADMINISTRATOR, "demo", "1.0") == unseen
    assert get_lock(store, ANONYMOUS, "demo", "1.0") == seen
    for index in ("secret", "secret-entry", "unknown"):
        with pytest.raises(NotFound) as nothing:
            get_lock(store, ANONYMOUS, "demo", "1.0", index=index)
        assert nothing.value.hint == "there are ?python=3.11&index=testing"


@pytest.mark.parametrize(
    ("python", "platform", "marker"),
    [
        (
            "3.12.4",
            "linux-x86_64",
            (
                "implementation_name == 'cpython' and python_full_version == '3.12.4' "
                "and sys_platform == 'linux' and platform_machine == 'x86_64'"
            ),
        ),
        (
            "pypy3.9.16",
            "linux-aarch64",
            (
                "implementation_name == 'pypy' and python_full_version == '3.9.16' "
                "and sys_platform == 'linux' and platform_machine == 'aarch64'"
            ),
        ),
        (
            "3.15.0rc0",
            "macosx-11.0-universal2",
            "implementation_name == 'cpython' and python_version == '3.15' and sys_platform == 'darwin'",
        ),
        (
            "3.13.1",
            "win-amd64",
            (
                "implementation_name == 'cpython' and python_full_version == '3.13.1' "
                "and sys_platform == 'win32' and platform_machine == 'AMD64'"
            ),
        ),
    ],
)
def test_marker_is_that_of_one_interpreter(python: str, platform: str, marker: str) -> None:
    assert marker_of(python, platform) == marker
    Marker(marker)


def test_own_marker_is_satisfied_here() -> None:
    here = running_interpreter()
    assert Marker(marker_of(here.name, here.platform)).evaluate()


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (b"\xff", "not TOML"),
        (b"lock-version = ", "not TOML"),
        (b'lock-version = "2.0"\npackages = [{name = "a"}]', "lock-version is not 1.0"),
        (b'lock-version = "1.0"\npackages = []', "packages is not a list"),
        (b'lock-version = "1.0"\npackages = [{version = "1"}]', "has no name"),
        (
            b'lock-version = "1.0"\npackages = [{name = "a", directory = {path = "/x"}}]',
            "folder of one machine",
        ),
        (b'lock-version = "1.0"\npackages = [{name = "a"}]', "has 0 files"),
        (
            b'lock-version = "1.0"\npackages = [{name = "a", vcs = {type = "git", url = "https://h/a"}}]',
            "comes from a repository",
        ),
        (b'lock-version = "1.0"\npackages = [{name = "a", sdist = {url = "https://h/a"}}]', "no SHA-256"),
        (
            b'lock-version = "1.0"\npackages = [{name = "a", sdist = {url = "file:///a", hashes = {sha256 = "'
            + b"0" * 64
            + b'"}}}]',
            "no URL that others can reach",
        ),
        (
            b'lock-version = "1.0"\npackages = [{name = "a", sdist = {url = "https://u:p@h/a", hashes = '
            b'{sha256 = "' + b"0" * 64 + b'"}}}]',
            "holds a user or a password",
        ),
        (
            b'lock-version = "1.0"\npackages = [{name = "a", index = "https://u:p@h/simple/", '
            b'sdist = {url = "https://h/a", hashes = {sha256 = "' + b"0" * 64 + b'"}}}]',
            "the index of a has a URL that holds a user or a password",
        ),
        (
            b'lock-version = "1.0"\ncreated-by = "x"\nenvironments = ["nonsense"]\npackages = [{name = "a", '
            b'sdist = {url = "https://h/a", hashes = {sha256 = "' + b"0" * 64 + b'"}}}]',
            "it is not a pylock.toml",
        ),
    ],
)
def test_lock_that_nobody_could_use_is_refused(document: bytes, fault: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_lock(document)
    assert any(fault in one for one in refused.value.faults)


async def test_lock_must_hold_its_release(mirror: Reader, wheel: Made) -> None:
    with pytest.raises(InvalidInput, match=r"demo 1\.0 is not in it"):
        await send_lock(mirror, lock_of(OTHER))
