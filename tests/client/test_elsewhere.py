"""Publishing to stores of others: which requests they get, and what is said when they refuse one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from conveyor.client.elsewhere import elsewhere, publish_elsewhere
from conveyor.errors import InvalidInput, StepFailed
from conveyor.project.archives import open_sdist, open_wheel
from distributions_made import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from packaging.metadata import RawMetadata

KNOWN = {"CONVEYOR_PUBLISH_USER": "ada", "CONVEYOR_PUBLISH_PASSWORD": "se cret"}


class _Store(BaseHTTPRequestHandler):
    """A store that takes wheels, and says of anything else that it may not be deployed, as Nexus does."""

    def do_POST(self) -> None:
        server: _Server = self.server  # type: ignore[assignment] # as it is made below
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + body).get_payload()
        names = [(part.get_param("name", header="content-disposition"), part) for part in parts]  # type: ignore[union-attr] # it is multipart
        fields = [(str(name), part.get_payload()) for name, part in names if name != "content"]  # type: ignore[union-attr]
        server.got.append((str(self.headers["Authorization"]), fields))
        is_wheel = ("filetype", "bdist_wheel") in fields
        answer = b"" if is_wheel else b"sdist is not allowed in pypi-hosted"
        self.send_response(200 if is_wheel else 400)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Nothing."""


class _Server(ThreadingHTTPServer):
    got: list[tuple[str, list[tuple[str, object]]]]


@contextmanager
def running_store_of_others() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Store) as server:
        server.got = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def release(folder: Path) -> list[tuple[Path, RawMetadata]]:
    sdist, wheel = make_sdist("demo", "1.0").write(folder), make_wheel("demo", "1.0").write(folder)
    return [(sdist, open_sdist(sdist).metadata), (wheel, open_wheel(wheel).metadata)]


def test_refusal_says_what_arrived_before_and_what_the_store_said(tmp_path: Path) -> None:
    with running_store_of_others() as server:
        target = elsewhere(f"http://127.0.0.1:{server.server_port}/repository/pypi-hosted/", KNOWN)
        with pytest.raises(StepFailed, match=r"did not take demo-1\.0\.tar\.gz: 400") as refused:
            publish_elsewhere(target, release(tmp_path))
    assert "demo-1.0-py3-none-any.whl arrived before" in refused.value.message
    assert refused.value.log == "sdist is not allowed in pypi-hosted"
    (authorization, fields), _ = server.got
    assert authorization == "Basic YWRhOnNlIGNyZXQ="
    assert {("name", "demo"), ("version", "1.0"), (":action", "file_upload")} <= set(fields)
    assert "metadata_version" in dict(fields)
    assert "se cret" not in repr(target)


def test_store_that_does_not_answer_is_told_with_what_arrived(tmp_path: Path) -> None:
    target = elsewhere("http://127.0.0.1:1/", KNOWN)
    with pytest.raises(StepFailed, match="nothing arrived before"):
        publish_elsewhere(target, release(tmp_path))


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://nexus.example/repository/pypi/", "in the clear"),
        ("https://ada:secret@nexus.example/", "must not hold"),
        ("nexus.example", "is not an address"),
        ("file:///srv/files", "is not an address"),
    ],
)
def test_address_that_would_give_the_password_away_is_refused(url: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault) as refused:
        elsewhere(url, {})
    assert len(refused.value.faults) == 2  # the missing password is named at once
    assert "secret" not in str(refused.value)
