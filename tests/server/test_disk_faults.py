"""Rule 2 of the design on disks that fail: full ones, and ones that cannot be written, under a real server.

Whatever fails: the client hears of it, nothing half stored is visible, and the server goes on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from conveyor.blobs.filesystem import blob_path
from distributions_made import make_wheel
from faulty_disks import enlarge, failing_syncs, fill, small_disk
from running_stores import children_of, running_store, serve_environment, start_serving
from upload_streams import digests_on_page, upload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from distributions_made import Made
    from running_stores import RunningStore


def make_large_wheel(version: str, size_bytes: int = 3_000_000) -> Made:
    return make_wheel(version=version, extra={"demo/payload": os.urandom(size_bytes)})


def faults_of(data: Path, environment: Mapping[str, str] | None = None) -> list[str]:
    """What ``conveyor store fsck`` finds."""
    ended = subprocess.run(
        [sys.executable, "-m", "conveyor", "store", "fsck", "--json", "--data", data],
        env=environment or serve_environment(),
        capture_output=True,
        text=True,
    )
    return [fault["what"] for fault in json.loads(ended.stdout)["faults"]]


def temporaries(blobs: Path) -> list[Path]:
    return list((blobs / "temporary").iterdir())


def test_full_disk_of_blobs_refuses_uploads_and_serves_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="1m") as disk:
        environment = serve_environment(CONVEYOR_BLOBS_URL=f"file://{disk}/blobs")
        with running_store(tmp_path / "store", environment=environment) as store:
            small = make_wheel(version="1")
            assert upload(store.url, small).status == 200
            # larger than the disk: it fails while it streams
            answer = upload(store.url, make_large_wheel("2"))
            assert (answer.status, temporaries(disk / "blobs")) == (507, [])
            assert "the disk is full" in answer.data.decode()
            assert "hint: free some space" in answer.data.decode()
            # no space at all: it fails at the first byte
            filler = fill(disk)
            assert upload(store.url, make_wheel(version="3")).status == 507
            assert digests_on_page(store.url) == {small.filename: small.sha256}
            assert store.get(f"/packages/{small.sha256}/{small.filename}").data == small.content
            # space again
            filler.unlink()
            assert upload(store.url, make_wheel(version="3")).status == 200
            assert digests_on_page(store.url).keys() == {small.filename, make_wheel(version="3").filename}
        assert faults_of(tmp_path / "store", environment) == []


@pytest.mark.parametrize(
    "leaving_bytes", [4096, *(pytest.param(one, marks=pytest.mark.torture) for one in (0, 20_480))]
)
def test_full_disk_of_the_catalogue_refuses_uploads_and_serves_on(tmp_path: Path, leaving_bytes: int) -> None:
    """The bytes have been stored, on another disk, when the row cannot be written."""
    with small_disk(tmp_path / "disk", size="8m") as disk:
        environment = serve_environment(CONVEYOR_BLOBS_URL=f"file://{tmp_path}/blobs")
        with running_store(disk / "store", environment=environment) as store:
            assert upload(store.url, make_wheel(version="1")).status == 200
            (worker,) = children_of(store.process)
            filler = fill(disk, leaving_bytes=leaving_bytes)
            answers = [upload(store.url, make_wheel(version=str(number))) for number in range(2, 5)]
            assert {answer.status for answer in answers} == {507}
            assert "the change was not stored: the disk is full" in answers[0].data.decode()
            assert digests_on_page(store.url).keys() == {make_wheel(version="1").filename}
            filler.unlink()
            assert upload(store.url, make_wheel(version="2")).status == 200
            assert len(digests_on_page(store.url)) == 2
            assert children_of(store.process) == [worker]
        assert faults_of(disk / "store", environment) == []


def test_first_start_on_a_full_disk_is_one_clear_error_and_completed_when_there_is_space(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", size="128k") as disk:
        process = start_serving(disk / "store", "--port", "0")
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (7, "")
        assert "disk is full" in errors
        assert "Traceback" not in errors
        enlarge(disk, size="8m")
        with running_store(disk / "store") as store:
            assert upload(store.url, make_wheel()).status == 200


@pytest.mark.parametrize("leaving_bytes", [0, 32_768])
def test_start_of_a_store_on_a_full_disk_is_no_crash(tmp_path: Path, leaving_bytes: int) -> None:
    """Shared memory without a block behind it would end the process at the first write (SIGBUS).

    SQLite's takes 32 KiB; with those left it is the turn of the file of the newest serial.
    """
    with small_disk(tmp_path / "disk", size="8m") as disk:
        with running_store(disk / "store") as store:
            assert upload(store.url, make_wheel()).status == 200
        (disk / "store" / "serial").unlink()
        filler = fill(disk, leaving_bytes=leaving_bytes)
        process = start_serving(disk / "store", "--port", "0")
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (7, ""), errors
        assert errors.startswith("Storage")
        filler.unlink()
        with running_store(disk / "store") as store:
            assert digests_on_page(store.url).keys() == {make_wheel().filename}


def test_every_sync_of_an_upload_that_fails_refuses_it(tmp_path: Path) -> None:
    """One after the other, whatever they are of: each is asked for because the answer depends on it.

    strace counts the calls of each name apart: the log is synced by another than files and folders are.
    """
    with running_store(tmp_path / "store") as store:
        assert upload(store.url, make_wheel(version="0")).status == 200
        (worker,) = children_of(store.process)
        for number in count(1):
            made = make_wheel(version=str(number))
            with failing_syncs(worker, when=str(number)):
                answer = upload(store.url, made)
            if answer.status == 200:
                break
            assert (answer.status, made.filename in digests_on_page(store.url)) == (503, False)
            check_accepts_again(store, made)
        assert number > 2  # at least the file and the name in its folder; of the log see the next test
        assert children_of(store.process) == [worker]
    assert faults_of(tmp_path / "store") == []


@pytest.mark.parametrize("of", ["everything", "folder", "log"])
def test_disk_that_cannot_be_written_acknowledges_nothing(tmp_path: Path, of: str) -> None:
    """The server is killed in that state: what it finds afterwards is what it acknowledged."""
    made = make_wheel(version="1")
    with running_store(tmp_path / "store") as store:
        assert upload(store.url, make_wheel(version="0")).status == 200
        only = {
            "everything": None,
            "folder": blob_path(store.data / "blobs", made.sha256).parent,
            "log": store.data / "catalog.sqlite-wal",
        }[of]
        (worker,) = children_of(store.process)
        with failing_syncs(worker, only=only):
            answer = upload(store.url, made)
            assert (answer.status, answer.headers["content-type"]) == (503, "text/plain; charset=utf-8")
            assert "hint: " in answer.data.decode()
            assert upload(store.url, made).status == 503  # no second try is believed either
            assert digests_on_page(store.url).keys() == {make_wheel(version="0").filename}
        assert children_of(store.process) == [worker]
        check_accepts_again(store, make_wheel(version="2"))
        store.process.send_signal(signal.SIGKILL)
    with running_store(tmp_path / "store") as again:
        found = digests_on_page(again.url).keys()
        assert {make_wheel(version=version).filename for version in "02"} <= found
        check_accepts_again(again, made)
    assert faults_of(tmp_path / "store") == []


def test_commit_that_many_share_and_that_fails_has_failed_for_all_of_them(tmp_path: Path) -> None:
    first, *wheels = [make_wheel(version=str(number)) for number in range(25)]
    with running_store(tmp_path / "store") as store, ThreadPoolExecutor(8) as clients:
        assert upload(store.url, first).status == 200
        (worker,) = children_of(store.process)
        with failing_syncs(worker, only=store.data / "catalog.sqlite-wal"):
            refused = list(clients.map(partial(upload, store.url), wheels))
            assert [answer.status for answer in refused] == [503] * 24
            assert digests_on_page(store.url) == {first.filename: first.sha256}
        accepted = list(clients.map(partial(upload, store.url), wheels))
        assert [answer.status for answer in accepted] == [200] * 24
        assert len(digests_on_page(store.url)) == 25
        assert children_of(store.process) == [worker]
    assert faults_of(tmp_path / "store") == []


def check_accepts_again(store: RunningStore, made: Made) -> None:
    assert upload(store.url, made).status == 200
    assert digests_on_page(store.url)[made.filename] == made.sha256
    assert store.get(f"/packages/{made.sha256}/{made.filename}").data == made.content


def test_checkpoint_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    """SQLite moves its log into its file now and then; what is in the log is durable without that."""
    expected = {}
    with running_store(tmp_path / "store") as store:
        (worker,) = children_of(store.process)
        before = (store.data / "catalog.sqlite").stat().st_mtime_ns
        with failing_syncs(worker, only=store.data / "catalog.sqlite"):
            for number in count():
                made = make_wheel(version=str(number))
                assert upload(store.url, made).status == 200
                expected[made.filename] = made.sha256
                if (store.data / "catalog.sqlite").stat().st_mtime_ns != before:  # one was tried
                    break
                assert number < 500
        assert upload(store.url, make_wheel("other")).status == 200
        store.process.send_signal(signal.SIGKILL)
    assert faults_of(tmp_path / "store") == []
    with running_store(tmp_path / "store") as again:
        assert digests_on_page(again.url) == expected
