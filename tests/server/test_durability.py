"""Rules 1-3 and 10 of the design, against real servers: killed, stopped in the middle, several at once."""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import itertools
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import urllib3
from urllib3.filepost import encode_multipart_formdata

from distributions_made import make_wheel
from makers import ADMIN_PASSWORD
from running_stores import RunningStore, children_of, ready_url, running_store, start_serving, stop

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from distributions_made import Made

AUTHORIZATION = urllib3.util.make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")


def form(made: Made) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an upload as twine sends it."""
    fields = [(name, value) for name, values in made.form.items() for value in values]
    body, content_type = encode_multipart_formdata(
        [*fields, ("content", (made.filename, made.content, "application/octet-stream"))]
    )
    return body, {**AUTHORIZATION, "Content-Type": content_type}


def upload(url: str, made: Made) -> int:
    """Upload to "unstable" on a connection of its own; the status."""
    body, headers = form(made)
    with urllib3.PoolManager(retries=False, timeout=60) as pool:
        return pool.request("POST", f"{url}/unstable/legacy/", body=body, headers=headers).status


def names_on_page(url: str, project: str) -> set[str]:
    with urllib3.PoolManager(retries=False, timeout=60) as pool:
        answer = pool.request(
            "GET",
            f"{url}/unstable/simple/{project}/",
            headers={"Accept": "application/vnd.pypi.simple.v1+json"},
        )
    if answer.status == 404:
        return set()
    return {file["filename"] for file in answer.json()["files"]}


def digest_served(url: str, made: Made) -> str:
    with urllib3.PoolManager(retries=False, timeout=60) as pool:
        return hashlib.sha256(
            pool.request("GET", f"{url}/packages/{made.sha256}/{made.filename}").data
        ).hexdigest()


def test_upload_in_flight_when_the_server_is_told_to_stop_is_finished(tmp_path: Path) -> None:
    made = make_wheel(extra={"demo/payload": os.urandom(4_000_000)})
    body, headers = form(made)
    with running_store(tmp_path / "store") as store:
        connection = http.client.HTTPConnection(store.url.removeprefix("http://"), timeout=60)
        connection.putrequest("POST", "/unstable/legacy/")
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body[:3_000_000])
        deadline = time.monotonic() + 30
        while not list((store.data / "blobs" / "temporary").iterdir()):
            assert time.monotonic() < deadline, "the upload has begun"
            time.sleep(0.01)
        store.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.send(body[3_000_000:])
        assert connection.getresponse().status == 200
        connection.close()
        assert store.process.wait(timeout=60) == 0
    with running_store(tmp_path / "store") as again:
        assert digest_served(again.url, made) == made.sha256
        assert names_on_page(again.url, "demo") == {made.filename}


def test_upload_is_on_the_page_of_every_worker_and_server_at_the_next_request(tmp_path: Path) -> None:
    """Rule 3: an acknowledged upload is seen by whoever is asked next, though all had the page in memory."""
    with running_store(tmp_path / "store", workers=2) as one, running_store(tmp_path / "store") as other:
        assert upload(one.url, make_wheel(version="0")) == 200
        expected = {make_wheel(version="0").filename}
        for number in range(1, 16):
            for server in (one, other, one, other):
                assert names_on_page(server.url, "demo") == expected
            made = make_wheel(version=str(number))
            assert upload((one, other)[number % 2].url, made) == 200
            expected.add(made.filename)


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Eight clients upload without end; parent and workers are killed in turns, at moments that wander."""
    rounds = 50 if request.config.getoption("--torture") else 4
    acknowledged: set[str] = set()
    serials = itertools.count()
    for round_number in range(rounds):
        process = start_serving(tmp_path / "store", "--port", "0", "--workers", "2")
        url = ready_url(process)
        stopping = threading.Event()
        done: list[str] = []

        def keep_uploading(
            url: str = url, stopping: threading.Event = stopping, done: list[str] = done
        ) -> None:
            while not stopping.is_set():
                made = make_wheel(version=str(next(serials)), extra={"demo/payload": os.urandom(5_000)})
                try:
                    status = upload(url, made)
                except urllib3.exceptions.HTTPError:
                    return
                assert status == 200
                done.append(made.filename)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(keep_uploading) for _ in range(8)]
            deadline = time.monotonic() + 60
            while len(done) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.07 * (round_number % 5))
            for worker in children_of(process)[: round_number % 3]:
                os.kill(worker, signal.SIGKILL)
            process.kill()
            process.wait()
            stopping.set()
            for client in clients:
                client.result()
        process.communicate()
        assert done
        acknowledged.update(done)
    with running_store(tmp_path / "store") as store:
        check_whole(store, acknowledged)


def check_whole(store: RunningStore, acknowledged: set[str]) -> None:
    """Everything acknowledged is listed, and every listed file has the bytes that its digest says."""
    answer = store.get("/unstable/simple/demo/", Accept="application/vnd.pypi.simple.v1+json")
    files = answer.json()["files"]
    assert acknowledged <= {file["filename"] for file in files}
    for file in files:
        path = store.data / "blobs" / file["hashes"]["sha256"][:2] / file["hashes"]["sha256"][2:4]
        content = (path / file["hashes"]["sha256"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["hashes"]["sha256"]
        assert len(content) == file["size"]


def test_start_and_stop_of_a_server_disturb_no_other(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as steady:
        for number in range(3):
            process = start_serving(tmp_path / "store", "--port", "0")
            assert upload(ready_url(process), make_wheel(version=str(number))) == 200
            stop(process)
            assert make_wheel(version=str(number)).filename in names_on_page(steady.url, "demo")
