"""pip and uv install through a serving store from an upstream that says little, in clean environments."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from urllib3.exceptions import HTTPError, ProtocolError

from distributions_made import core_metadata, make_wheel
from running_stores import children_of, running_store, serve_environment
from upstreams import file_entry, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributions_made import Made
    from running_stores import RunningStore
    from upstreams import RunningUpstream

LOWER = make_wheel("lower", "2.0")
UPPER = make_wheel("upper", "1.5", metadata=core_metadata("upper", "1.5", requires=["lower>=1.0"]))
OLD = make_wheel("lower", "0.5")
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        running.add_html("upper", [UPPER])
        running.add_html("lower", [OLD, LOWER])
        yield running


@pytest.fixture
def store(tmp_path: Path, upstream: RunningUpstream) -> Iterator[RunningStore]:
    environment = serve_environment(PIP_INDEX_URL=upstream.url)
    with running_store(tmp_path / "store", workers=2, environment=environment) as running:
        yield running


def clean_environment(home: Path) -> dict[str, str]:
    """What an installer sees: no settings of this machine's pip or uv."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PIP_CONFIG_FILE": os.devnull}


def install(store: RunningStore, folder: Path, installer: str, *what: str) -> list[str]:
    """Install ``upper``, or what is said, into a folder; returns what is in it."""
    ended = installing(store, folder, installer, *what)
    assert ended.returncode == 0, ended.stderr
    return sorted(entry.name for entry in folder.iterdir())


def installing(
    store: RunningStore, folder: Path, installer: str, *what: str
) -> subprocess.CompletedProcess[str]:
    """Try to install something into a folder."""
    index = f"{store.url}/unstable/simple/"
    commands = {
        "pip": [
            *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir"),
            *("--target", str(folder), "--index-url", index),
        ],
        "uv": [
            *("uv", "pip", "install", "--no-config", "--no-cache", "--python", sys.executable),
            *("--target", str(folder), "--index-url", index),
        ],
    }
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"  # noqa: PTH120 - not resolved: a venv
    return subprocess.run(
        [*commands[installer], *(what or ("upper",))],
        env={**clean_environment(folder.parent), "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_dependencies_come_through_the_mirror_and_nothing_else(
    tmp_path: Path, store: RunningStore, upstream: RunningUpstream, installer: str
) -> None:
    installed = install(store, tmp_path / "installed", installer)
    assert {"lower", "lower-2.0.dist-info", "upper", "upper-1.5.dist-info"} <= set(installed)
    # What the store says it served is what was installed, and all of it came from the mirror.
    served = [line for line in store.logged() if line["path"] != "/healthz"]
    assert {line["supplied_by"] for line in served} == {"pypi"}
    assert {line["status"] for line in served} == {200}
    files = {line["path"].rpartition("/")[2] for line in served if line["path"].endswith(".whl")}
    assert files == {LOWER.filename, UPPER.filename}
    whole = [
        path for method, path, headers in upstream.requests if method == "GET" and "range" not in headers
    ]
    assert [whole.count(_path(made)) for made in (OLD, LOWER, UPPER)] == [0, 1, 1]


def test_second_installation_asks_upstream_for_nothing(
    tmp_path: Path, store: RunningStore, upstream: RunningUpstream
) -> None:
    install(store, tmp_path / "first", "uv")
    asked = len(upstream.requests)
    install(store, tmp_path / "second", "pip")
    assert len(upstream.requests) == asked


def test_range_and_head_requests_of_a_served_file_agree(store: RunningStore) -> None:
    store.get("/unstable/simple/upper/")
    path = f"/packages/{UPPER.sha256}/{UPPER.filename}"
    head = store.request("HEAD", path)
    whole = store.get(path)
    part = store.get(path, Range="bytes=-22")
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(UPPER.content))
    assert head.headers["accept-ranges"] == "bytes"
    assert whole.data == UPPER.content
    assert (part.status, part.data) == (206, UPPER.content[-22:])


def test_damaged_file_reaches_no_client_whole(store: RunningStore, upstream: RunningUpstream) -> None:
    large = make_wheel("large", extra={"large/data.bin": bytes(400_000)}, compression=0)
    upstream.add_html("large", [large])
    store.get("/unstable/simple/large/")
    upstream.paths[_path(large)].body = large.content[:-1] + b"?"
    with pytest.raises(ProtocolError):
        store.get(f"/packages/{large.sha256}/{large.filename}")


def offer(upstream: RunningUpstream, made: Made, **hashes: str) -> str:
    """Serve a page with the file and just these hashes; returns the path of the file."""
    project = made.filename.partition("-")[0]
    upstream.add_json(project, [{**file_entry(upstream, made), "hashes": hashes}])
    return _path(made)


@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("is_hashed", [False, True], ids=["no-hash", "md5"])
def test_files_without_a_digest_are_installed_with_their_dependencies(
    tmp_path: Path, store: RunningStore, upstream: RunningUpstream, installer: str, is_hashed: bool
) -> None:
    for made in (LOWER, UPPER):
        offer(upstream, made, **({"md5": hashlib.md5(made.content).hexdigest()} if is_hashed else {}))  # noqa: S324 - what old indexes name
    installed = install(store, tmp_path / "first", installer)
    assert {"lower-2.0.dist-info", "upper-1.5.dist-info"} <= set(installed)
    assert install(store, tmp_path / "second", installer) == installed
    assert [upstream.asked(_path(made)) for made in (LOWER, UPPER)] == [1, 1]


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_required_hashes_are_checked_of_files_without_a_digest(
    tmp_path: Path, store: RunningStore, upstream: RunningUpstream, installer: str
) -> None:
    offer(upstream, LOWER)
    for name, sha256 in (("right", LOWER.sha256), ("wrong", "0" * 64)):
        (tmp_path / name).write_text(f"lower==2.0 --hash=sha256:{sha256}\n")
    wrong = installing(store, tmp_path / "1", installer, "--require-hashes", "-r", str(tmp_path / "wrong"))
    assert wrong.returncode != 0
    assert LOWER.sha256 in wrong.stderr
    asking = ("--require-hashes", "-r", str(tmp_path / "right"))
    assert "lower" in install(store, tmp_path / "2", installer, *asking)


def test_server_that_is_killed_in_the_first_download_begins_it_anew(
    tmp_path: Path, upstream: RunningUpstream
) -> None:
    large = make_wheel("large", extra={"large/data.bin": bytes(range(256)) * 4000}, compression=0)
    path = offer(upstream, large)
    breaks_off = threading.Event()
    upstream.paths[path].ends_after = breaks_off
    address = f"/packages/unhashed/large/{large.filename}"
    environment = serve_environment(PIP_INDEX_URL=upstream.url)
    with running_store(tmp_path / "store", environment=environment) as killed:
        killed.get("/unstable/simple/large/")
        client = threading.Thread(target=_ask_in_vain, args=(killed, address))
        client.start()
        upstream.wait_until_asked(path)
        for pid in (*children_of(killed.process), killed.process.pid):
            os.kill(pid, signal.SIGKILL)
        client.join()
    breaks_off.set()
    with running_store(tmp_path / "store", environment=environment) as store:
        (before,) = store.get("/unstable/simple/large/", Accept=JSON).json()["files"]
        assert (before["url"], before["hashes"]) == (f"../../..{address}", {})
        assert store.get(address).data == large.content
        (after,) = store.get("/unstable/simple/large/", Accept=JSON).json()["files"]
        assert after["hashes"] == {"sha256": large.sha256}


def _ask_in_vain(store: RunningStore, address: str) -> None:
    with pytest.raises(HTTPError):
        store.get(address)


def _path(made: Made) -> str:
    return f"/files/{made.sha256[:8]}/{made.filename}"
