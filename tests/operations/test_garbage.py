from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.blobs.inventory import local_blobs
from conveyor.errors import Conflict
from conveyor.operations.care import garbage
from conveyor.operations.care.garbage import Collected, collect_garbage
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.releases.withdrawals import delete_files
from distributions_made import make_wheel
from makers import make_store
from operations import collect_and_upload
from operations.stores_compared import contents_of
from operations.stores_damaged import DAY_SECONDS, blob_path, events_of, make_older, mirror, put_garbage
from readers import ADMINISTRATOR, upload
from releases_made import make_release, make_worker, publish

if TYPE_CHECKING:
    from datetime import datetime

    from conveyor.operations.store.store import Store
    from figures import Figures

MADE = make_wheel()
LEAST_COLLECTED = 20
"""Fewer would not show that collectors were at work while others uploaded."""


def test_only_what_no_row_names_is_removed(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    make_release(store, make_worker(store))
    mirror(store, make_wheel("upstreams"))
    kept = contents_of(store)
    for digest in kept:
        os.utime(blob_path(store, digest), (0, 0))
    put_garbage(store, b"one")
    put_garbage(store, b"three")
    assert collect_garbage(store) == Collected(2, 8)
    assert contents_of(store) == kept
    (event,) = events_of(store, "gc")
    assert (event.action, event.detail) == ("collect-blobs", {"blobs": 2, "size_bytes": 8})


def test_what_a_killed_upload_left_half_written_goes_at_once_and_is_counted(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    left = tmp_path / "store" / "blobs" / "temporary" / "1-left"
    left.write_bytes(b"half")
    with store.blobs.new_temporary() as temporary:
        assert collect_garbage(store, is_dry=True) == Collected(0, 0, leftovers=1, leftover_bytes=4)
        assert left.exists()
        assert collect_garbage(store) == Collected(0, 0, leftovers=1, leftover_bytes=4)
        assert temporary.path.exists()
    assert not left.exists()


def test_what_is_younger_than_the_grace_time_stays(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    put_garbage(store, b"young", age_seconds=DAY_SECONDS - 60)
    assert collect_garbage(store) == Collected(0, 0)
    assert collect_garbage(store, grace_seconds=60) == Collected(1, 5)


def test_deleted_file_stays_for_the_grace_time_however_old_it_is(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    upload(store, MADE)
    os.utime(blob_path(store, MADE.sha256), (0, 0))
    delete_files(store, ADMINISTRATOR, "demo")
    collect_garbage(store)
    assert store.blobs.has(MADE.sha256)
    later = replace(store, clock=lambda: store.clock() + timedelta(days=1, seconds=1))
    collect_garbage(later)
    assert not store.blobs.has(MADE.sha256)


def test_dry_run_removes_nothing_and_leaves_no_event(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    sha256 = put_garbage(store, b"garbage")
    assert collect_garbage(store, is_dry=True) == Collected(1, 7)
    assert store.blobs.has(sha256)
    assert events_of(store, "gc") == []


def test_nothing_to_remove_is_no_event(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    assert collect_garbage(store) == Collected(0, 0)
    assert events_of(store, "gc") == []


def test_what_is_no_blob_stays(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    garbage_path = blob_path(store, put_garbage(store, b"garbage"))
    strays = [garbage_path.with_name("notes.txt"), garbage_path.parents[1] / garbage_path.name]
    for stray in strays:
        stray.write_text("mine")
        make_older(stray, 2 * DAY_SECONDS)
    assert collect_garbage(store).blobs == 1
    assert [stray.read_text() for stray in strays] == ["mine", "mine"]


def test_file_that_upstream_took_back_is_garbage(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    made = make_wheel("upstreams")
    mirror(store, made)
    other = make_wheel("upstreams", "2.0")
    mirror(store, other)  # the page names the other file only
    for file in (made, other):
        os.utime(blob_path(store, file.sha256), (0, 0))
    assert collect_garbage(store) == Collected(1, len(made.content))
    assert not store.blobs.has(made.sha256)


def test_collection_waits_until_bytes_under_way_have_their_row(tmp_path: Path) -> None:
    """Interleaving: the blob was listed and nobody names it yet when the names are read."""
    store = make_store(tmp_path / "store")
    has_stored, may_commit = threading.Event(), threading.Event()

    def slow_clock() -> datetime:
        """Asked between bytes and row."""
        os.utime(blob_path(store, MADE.sha256), (0, 0))
        has_stored.set()
        assert may_commit.wait(30)
        return store.clock()

    uploader = threading.Thread(target=lambda: publish(replace(store, clock=slow_clock), MADE))
    uploader.start()
    assert has_stored.wait(30)
    collected: list[Collected] = []
    collector = threading.Thread(target=lambda: collected.append(collect_garbage(store, grace_seconds=0)))
    collector.start()
    collector.join(0.3)
    assert collector.is_alive()
    may_commit.set()
    uploader.join()
    collector.join()
    assert blob_path(store, MADE.sha256).read_bytes() == MADE.content


def test_blob_that_is_reused_after_the_names_were_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interleaving: an upload stores and commits between the reading of names and the removal."""
    store = make_store(tmp_path / "store")
    put_garbage(store, MADE.content)
    garbage_of = garbage._garbage

    def garbage_and_then_an_upload(*arguments: object) -> object:
        found = garbage_of(*arguments)  # type: ignore[arg-type]  # passed on
        assert [file.name for file in found] == [MADE.sha256]
        publish(store, MADE)
        return found

    monkeypatch.setattr(garbage, "_garbage", garbage_and_then_an_upload)
    assert collect_garbage(store) == Collected(0, 0)
    assert blob_path(store, MADE.sha256).read_bytes() == MADE.content


def test_no_collection_while_a_backup_needs_the_blobs(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    with local_blobs(store.blobs).exclusion.keeping(), pytest.raises(Conflict, match="under way"):
        collect_garbage(store)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.torture)])
def test_uploads_never_lose_their_bytes_to_collectors_of_other_processes(
    tmp_path: Path, kills: int, figures: Figures
) -> None:
    """Uploaders reuse what collectors are removing; all of them are killed again and again."""
    data = tmp_path / "store"
    store = make_store(data)
    roles = ("upload", "upload", "mirror", "collect", "collect")
    chance = random.Random(1)  # noqa: S311 - repeatable, not secret
    children: dict[int, subprocess.Popen[bytes]] = {}
    path = [str(Path(collect_and_upload.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    errors = (tmp_path / "errors").open("wb")

    def start(number: int) -> None:
        script = collect_and_upload.__file__
        command = [sys.executable, script, str(data), roles[number % len(roles)], str(number)]
        children[number] = subprocess.Popen(command, env=environment, stderr=errors)

    for number in range(len(roles)):
        start(number)
    for started in range(len(roles), len(roles) + kills):
        wait_for_more(tmp_path, chance.randint(1, 30))
        number = chance.choice(sorted(children))
        child = children.pop(number)
        assert child.poll() is None, (tmp_path / "errors").read_text()
        child.kill()
        child.wait()
        start(number % len(roles) + len(roles) * started)  # the same role, other files
    while collected_from(store) < LEAST_COLLECTED:
        wait_for_more(tmp_path, 1)
    for child in children.values():
        assert child.poll() is None, (tmp_path / "errors").read_text()
        child.send_signal(signal.SIGKILL)
        child.wait()
    errors.close()
    acknowledged = acknowledged_in(tmp_path)
    for sha256 in acknowledged:
        assert hashlib.sha256(blob_path(store, sha256).read_bytes()).hexdigest() == sha256
    assert inspect_store(store, grace_seconds=3600, threads=2).faults == []
    counts = {"acknowledged": len(acknowledged), "lost": 0, "collected": collected_from(store)}
    figures("gc against uploads", kills=kills, **counts)


def collected_from(store: Store) -> int:
    """How many blobs collectors have removed."""
    return sum(int(event.detail["blobs"]) for event in events_of(store, "gc"))


def acknowledged_in(folder: Path) -> list[str]:
    """Digests of everything that was acknowledged; a line that its writer did not finish is none."""
    lines = (line for path in folder.glob("acknowledged-*") for line in path.read_text().split())
    return [line for line in lines if len(line) == 64]


def wait_for_more(folder: Path, more: int) -> None:
    """Wait until so many more were acknowledged: a moment that wanders, but never before there is work."""
    until, deadline = len(acknowledged_in(folder)) + more, time.monotonic() + 60
    while len(acknowledged_in(folder)) < until:
        assert time.monotonic() < deadline, "nobody uploads any more"
        time.sleep(0.01)
