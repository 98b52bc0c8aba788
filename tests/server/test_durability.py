"""Rules 1-3 and 10 of the design, against real servers: killed, stopped in the middle, several at once."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import zipfile
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest
import urllib3

from conveyor.client.store import connect
from conveyor.domain.indexes.definitions import NewClaim
from distributions_made import make_sdist, make_wheel
from postgres_server import running_postgres
from running_stores import (
    children_of,
    ready_url,
    running_store,
    serve_environment,
    start_serving,
    stop,
)
from server.test_disk_faults import faults_of
from upload_streams import AUTHORIZATION, digests_on_page, form, upload, upload_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor.client.store import StoreClient
    from distributions_made import Made
    from figures import Figures
    from running_stores import RunningStore

LARGE_BYTES = 100_000_000


@pytest.fixture(scope="module")
def large() -> Made:
    """A wheel of 100 MB."""
    return make_wheel(
        version="100", extra={"demo/payload": os.urandom(LARGE_BYTES)}, compression=zipfile.ZIP_STORED
    )


def connection_to(store: RunningStore) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(store.url.removeprefix("http://"), timeout=60)


def tell_to_stop(store: RunningStore) -> None:
    """Send SIGTERM, and wait until the server is ending: then it closes connections that are idle."""
    idle = connection_to(store)
    idle.request("GET", "/healthz")
    assert idle.getresponse().read()
    store.process.send_signal(signal.SIGTERM)
    assert idle.sock is not None
    assert idle.sock.recv(1) == b""
    idle.close()


def begin_upload(store: RunningStore, made: Made) -> tuple[http.client.HTTPConnection, bytes]:
    """Send the first half of an upload and wait until the server has it in hand; returns the other half."""
    body, headers = form(made)
    connection = connection_to(store)
    connection.putrequest("POST", "/unstable/legacy/")
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    # More than what the server and the kernel keep in memory: when it is sent, most of it was taken in.
    connection.endheaders(body[: len(body) // 2])
    assert list((store.data / "blobs" / "temporary").iterdir())
    return connection, body[len(body) // 2 :]


def test_uploads_and_downloads_in_flight_are_finished_when_the_server_is_told_to_stop(
    tmp_path: Path, large: Made
) -> None:
    incoming = make_wheel("other", extra={"demo/payload": large.content}, compression=zipfile.ZIP_STORED)
    with running_store(tmp_path / "store") as store:
        assert upload(store.url, large).status == 200
        download = connection_to(store)
        download.request("GET", f"/packages/{large.sha256}/{large.filename}")
        received = download.getresponse()
        digest = hashlib.sha256(received.read(1_000_000))
        uploading, rest = begin_upload(store, incoming)
        tell_to_stop(store)
        assert store.process.poll() is None
        # the download, slowly: the rest of it is read when half of the upload's rest has gone
        uploading.send(rest[: len(rest) // 2])
        while chunk := received.read(1_000_000):
            digest.update(chunk)
        assert digest.hexdigest() == large.sha256
        assert store.process.poll() is None
        uploading.send(rest[len(rest) // 2 :])
        assert uploading.getresponse().status == 200
        assert store.process.wait(timeout=60) == 0
        for connection in (download, uploading):
            connection.close()
    with running_store(tmp_path / "store") as again:
        assert digests_on_page(again.url, "other") == {incoming.filename: incoming.sha256}


def test_upload_is_on_the_page_of_every_worker_and_server_at_the_next_request(tmp_path: Path) -> None:
    """Rule 3: an acknowledged upload is seen by whoever is asked next, though all had the page in memory."""
    with running_store(tmp_path / "store", workers=2) as one, running_store(tmp_path / "store") as other:
        expected: dict[str, str] = {}
        for number in range(16):
            made = make_wheel(version=str(number))
            assert upload((one, other)[number % 2].url, made).status == 200
            expected[made.filename] = made.sha256
            for server in (one, other, one, other):
                assert digests_on_page(server.url) == expected


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a store whose catalogue is in one database or the other."""
    if request.param == "sqlite":
        yield serve_environment()
        return
    with running_postgres() as postgres:
        yield serve_environment(CONVEYOR_DATABASE_URL=postgres.new_database())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.torture)])
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    tmp_path: Path, environment: dict[str, str], rounds: int, figures: Figures
) -> None:
    """Eight clients upload without end; parent and workers are killed in turns, at moments that wander."""
    data, numbers = tmp_path / "store", count()
    acknowledged: dict[str, str] = {}
    lost, wrong = set[str](), set[str]()

    def compare(url: str) -> None:
        served = digests_on_page(url)
        lost.update(acknowledged.keys() - served.keys())
        wrong.update(name for name, sha256 in served.items() if acknowledged.get(name, sha256) != sha256)

    for round_number in range(rounds):
        process = start_serving(data, "--port", "0", "--workers", "2", environment=environment)
        url = ready_url(process)
        if acknowledged:
            compare(url)
        with upload_streams(url, numbers=numbers) as streams:
            streams.wait_for(1 + 10 * (round_number % 5))
            for worker in children_of(process)[: round_number % 3]:
                os.kill(worker, signal.SIGKILL)
            process.kill()
            process.wait()
        process.communicate()
        acknowledged |= streams.acknowledged
        assert faults_of(data, environment) == [], f"round {round_number}"  # it reads every byte
    with running_store(data, environment=environment) as store:
        compare(store.url)
    figures("kill -9", rounds=rounds, acknowledged=len(acknowledged), lost=len(lost), wrong=len(wrong))
    assert (lost, wrong) == (set(), set())


def test_release_is_published_whole_however_often_the_server_is_killed_on_the_way(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    files = {made.filename: made for made in (make_sdist(), make_wheel())}
    for made in files.values():
        (tmp_path / made.filename).write_bytes(made.content)
    digests = {name: made.sha256 for name, made in files.items()}

    def send(client: StoreClient, name: str) -> None:
        client.files.upload("unstable", tmp_path / name, is_open=True)

    def publish(client: StoreClient) -> None:
        client.releases.publish("demo", "1.0", index="unstable", digests=digests)

    data, token = tmp_path / "store", ""
    calls: list[Callable[[StoreClient], None]] = [*(partial(send, name=name) for name in files), publish]
    for call in calls:
        process = start_serving(data, "--port", "0", environment=environment)
        url = ready_url(process)
        if not token:
            token = new_token(url)
            with connect(url, token=token) as client:
                client.claims.add(NewClaim("demo"))  # else its page is upstream's, which nobody answers for
        assert digests_on_page(url) == {}
        with connect(url, token=token) as client:
            call(client)
        assert digests_on_page(url) == (digests if call is publish else {})
        process.kill()
        process.communicate()
    assert faults_of(data, environment) == []
    with running_store(data, environment=environment) as store, connect(store.url, token=token) as client:
        for call in calls:  # whoever heard no answer repeats the call
            call(client)
        assert digests_on_page(store.url) == digests


def new_token(url: str) -> str:
    """An administrator's."""
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", f"{url}/api/v1/tokens", json={"user": "admin"}, headers=AUTHORIZATION)
    token: str = answer.json()["token"]
    return token


def test_start_and_stop_of_a_server_disturb_no_other(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as steady:
        for number in range(3):
            process = start_serving(tmp_path / "store", "--port", "0")
            made = make_wheel(version=str(number))
            assert upload(ready_url(process), made).status == 200
            stop(process)
            assert digests_on_page(steady.url)[made.filename] == made.sha256
