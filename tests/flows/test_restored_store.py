"""A consumer installs from a store that was restored; it was backed up while it served, by the commands."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from distributions_made import make_wheel
from flows.clients import installed_in, new_installer, versions_of
from flows.stocked_stores import PRIVATE
from running_stores import running_store, serve_environment
from upload_streams import JSON_PAGE, digests_on_page, upload, upload_streams

if TYPE_CHECKING:
    from pathlib import Path

    from flows.stocked_stores import StockedStore

pytestmark = [pytest.mark.slow]


def store_command(*arguments: str | Path) -> str:
    """What a command of ``conveyor store`` printed; it must succeed."""
    ended = subprocess.run(
        [sys.executable, "-m", "conveyor", "store", *arguments],
        env=serve_environment(),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_restored_store_serves_installers_as_the_first_one_did(stocked: StockedStore, tmp_path: Path) -> None:
    said = store_command("backup", tmp_path / "backup", "--data", stocked.running.data)
    assert said.startswith("backup of serial ")
    said = store_command("restore", tmp_path / "backup", "--data", tmp_path / "again")
    assert said.startswith("restored serial ")
    assert store_command("fsck", "--data", tmp_path / "again") == ""
    pip = new_installer("pip", versions_of("pip")[-1], folder=tmp_path / "environment", home=tmp_path)
    with running_store(tmp_path / "again") as again:
        for path in ("/unstable/simple/", "/unstable/simple/demo/", "/stable/simple/lower/"):
            before, after = (one.get(path, Accept=JSON_PAGE) for one in (stocked.running, again))
            assert (after.status, after.data) == (200, before.data)
            assert after.headers["etag"] == before.headers["etag"]
        # what was private is so still, and the token made before the backup opens it
        index = f"{again.url}/{PRIVATE}/simple/"
        pip.call("pip", "install", "--no-input", "--index-url", index, "hidden").failed()
        with_token = index.replace("://", f"://__token__:{stocked.token}@")
        pip.call("pip", "install", "--index-url", with_token, "hidden").succeeded()
        assert installed_in(pip)["hidden"] == "1.0"
        assert upload(again.url, make_wheel("after", "1.0")).status == 200


def test_backups_while_eight_streams_upload_are_whole(tmp_path: Path) -> None:
    with running_store(tmp_path / "store", workers=2) as store, upload_streams(store.url) as streams:
        for _ in range(3):
            acknowledged = streams.wait_for(8)
            store_command("backup", tmp_path / "backup", "--data", store.data)
    store_command("restore", tmp_path / "backup", "--data", tmp_path / "again")
    assert store_command("fsck", "--data", tmp_path / "again") == ""
    with running_store(tmp_path / "again") as again:
        served = digests_on_page(again.url)
    assert acknowledged.items() <= served.items()  # and what came while the last one was written
    assert served.items() <= streams.acknowledged.items()
