"""How the client meets servers that are away, break off, or are no stores at all."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from conveyor.client.store import StoreClient, connect
from conveyor.domain.people.access import NewToken
from conveyor.domain.releases.standing import ReleaseFile
from conveyor.errors import InvalidInput, StoreUnreachable
from distributions_made import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STATUS = b'{"version": "1.0", "store": "x", "serial": 1}'


def answer_of(body: bytes, *, status: str = "200 OK", kind: str = "application/json") -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def scripted(*answers: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives one answer per connection (``None``: breaks off), the last one again and again."""
    listener = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []
    script = list(answers)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65_536))
                answer = script.pop(0) if len(script) > 1 else script[0]
                if answer is not None:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_store_that_is_not_there_is_told_with_its_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(StoreUnreachable, match=f"127.0.0.1:{port} does not answer") as caught:
        connect(f"http://127.0.0.1:{port}").status()
    assert caught.value.hint
    assert caught.value.exit_code == 7


def test_reading_request_that_broke_off_is_sent_again() -> None:
    with scripted(None, None, answer_of(STATUS)) as (url, requests):
        assert connect(url).status().serial == 1
    assert len(requests) == 3


def test_request_that_the_store_recognises_is_sent_again() -> None:
    body = b'{"id": 1}'
    with scripted(None, answer_of(body, status="201 Created")) as (url, requests):
        connect(url).evidence.add(b"{}")
    assert len(requests) == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.runs.create("/srv/demo.git", "main"),
        lambda client: client.runs.claim("worker-1"),
        lambda client: client.tokens.add(NewToken("admin")),
    ],
)
def test_request_that_must_not_arrive_twice_is_not_sent_again(ask: Callable[[StoreClient], object]) -> None:
    with scripted(None) as (url, requests), pytest.raises(StoreUnreachable):
        ask(connect(url))
    assert len(requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        answer_of(b"<html>hello</html>", kind="text/html"),
        answer_of(b"{}"),
        answer_of(b"[]"),
        answer_of(b'{"indexes": 1}'),
        answer_of(b'{"indexes": [{"name": "x"}]}'),
        answer_of(b"\xff"),
        answer_of(b"gone", status="500 Internal Server Error", kind="text/html"),
        answer_of(b"", status="302 Found"),
        b"nonsense\r\n\r\n",
    ],
)
def test_server_that_is_no_store_is_told_from_one(answer: bytes) -> None:
    with scripted(answer) as (url, _), pytest.raises(StoreUnreachable):
        connect(url).indexes.all()


def test_upload_that_broke_off_is_sent_again_from_its_beginning(tmp_path: Path) -> None:
    made = make_wheel()
    with scripted(None, answer_of(b"it is in", kind="text/plain")) as (url, requests):
        connect(url).files.upload("unstable", made.write(tmp_path))
    assert len(requests) == 2
    assert all(request.startswith(b"POST /unstable/legacy/ ") for request in requests)


def test_download_that_breaks_off_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    file = ReleaseFile("demo-1.0.tar.gz", "sdist", "0" * 64, 10, "/packages/x", "", "", None)
    with scripted(answer_of(b"x" * 10)[:-5]) as (url, _), pytest.raises(StoreUnreachable, match="broke off"):
        connect(url).files.download(file, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_token_travels_in_its_header_and_nowhere_else() -> None:
    with scripted(answer_of(STATUS)) as (url, requests):
        connect(url, token="conveyor-secret").status()
    head = requests[0].decode()
    assert "Authorization: Bearer conveyor-secret\r\n" in head
    assert "secret" not in head.splitlines()[0]


def test_token_is_sent_without_white_space_at_its_ends() -> None:
    with scripted(answer_of(STATUS)) as (url, requests):
        connect(url, token=" conveyor-secret\r\n").status()
    assert b"Authorization: Bearer conveyor-secret\r\n" in requests[0]


@pytest.mark.parametrize(
    "token", ["hunter2\nhunter3", "hunter2\x00", "hunter2\x7f.", "hünter2", "hunter2\udcff"]
)
def test_token_that_no_header_carries_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(InvalidInput, match="the token is not a token") as caught:
        connect("http://127.0.0.1:9", token=token)
    assert "nter" not in str(caught.value)


def test_store_below_a_path_is_asked_below_it() -> None:
    with scripted(answer_of(STATUS)) as (url, requests):
        connect(f"{url}/conveyor/").status()
    assert requests[0].startswith(b"GET /conveyor/api/v1/status ")


def test_url_that_is_none_is_refused() -> None:
    for url in ("localhost:8080", "ftp://host", ""):
        with pytest.raises(InvalidInput):
            connect(url)


@pytest.mark.parametrize("url", ["http://[bad/", "http://", "https:store"])
def test_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="is not the URL of a store"):
        connect(url)


def test_address_of_an_index_is_told_from_that_of_its_store() -> None:
    with pytest.raises(InvalidInput, match="is the address of an index") as caught:
        connect("http://127.0.0.1:8080/conveyor/testing/simple/")
    assert str(caught.value.hint).endswith(" http://127.0.0.1:8080/conveyor")


@pytest.mark.parametrize(
    "url", ["http://ada:hunter2@127.0.0.1:9/", "ftp://hunter2@host", "http://u:hunter2@[bad/"]
)
def test_url_with_a_password_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)
