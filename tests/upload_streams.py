"""Uploads to a running store, as twine sends them: one, or parallel streams that go on until ended."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import urllib3
from urllib3.filepost import encode_multipart_formdata

from distributions_made import make_wheel
from makers import ADMIN_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributions_made import Made

AUTHORIZATION = urllib3.util.make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")
JSON_PAGE = "application/vnd.pypi.simple.v1+json"
WAIT_SECONDS = 60


def form(made: Made) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an upload as twine sends it."""
    fields = [(name, value) for name, values in made.form.items() for value in values]
    body, content_type = encode_multipart_formdata(
        [*fields, ("content", (made.filename, made.content, "application/octet-stream"))]
    )
    return body, {**AUTHORIZATION, "Content-Type": content_type}


def upload(url: str, made: Made) -> urllib3.BaseHTTPResponse:
    """Upload to "unstable" on a connection of its own."""
    body, headers = form(made)
    with urllib3.PoolManager(retries=False, timeout=WAIT_SECONDS) as pool:
        return pool.request("POST", f"{url}/unstable/legacy/", body=body, headers=headers)


def digests_on_page(url: str, project: str = "demo") -> dict[str, str]:
    """SHA-256 by filename, as the page in "unstable" says; empty when there is no such page."""
    with urllib3.PoolManager(retries=False, timeout=WAIT_SECONDS) as pool:
        answer = pool.request("GET", f"{url}/unstable/simple/{project}/", headers={"Accept": JSON_PAGE})
    if answer.status == 404:
        return {}
    return {file["filename"]: file["hashes"]["sha256"] for file in answer.json()["files"]}


class UploadStreams:
    """Clients that upload one new version after the other; each ends when its server does."""

    def __init__(self, url: str, numbers: Iterator[int], streams: int) -> None:
        self._url = url
        self._numbers = numbers
        self._is_ending = False
        self._changed = threading.Condition()
        self.acknowledged: dict[str, str] = {}
        """SHA-256 by filename, of every upload that was answered 200."""
        self.refused: list[str] = []
        """What the server said to the others; there should be none."""
        self._threads = [threading.Thread(target=self._keep_uploading) for _ in range(streams)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int) -> dict[str, str]:
        """Wait until so many more were acknowledged; returns all that are."""
        with self._changed:
            until = len(self.acknowledged) + more
            done = self._changed.wait_for(
                lambda: len(self.acknowledged) >= until or self.refused, timeout=WAIT_SECONDS
            )
            assert done, f"{len(self.acknowledged)} uploads in {WAIT_SECONDS} seconds"
            return dict(self.acknowledged)

    def end(self) -> None:
        """Let every client finish what it is at."""
        self._is_ending = True
        for thread in self._threads:
            thread.join()

    def _keep_uploading(self) -> None:
        while not self._is_ending:
            made = make_wheel(version=str(next(self._numbers)), extra={"demo/payload": os.urandom(5_000)})
            try:
                answer = upload(self._url, made)
            except urllib3.exceptions.HTTPError:  # the server is gone: what became of it, nobody was told
                return
            with self._changed:
                if answer.status == 200:
                    self.acknowledged[made.filename] = made.sha256
                else:
                    self.refused.append(f"{answer.status} {answer.data.decode()}")
                self._changed.notify_all()


@contextmanager
def upload_streams(
    url: str, *, numbers: Iterator[int] | None = None, streams: int = 8
) -> Iterator[UploadStreams]:
    """So many parallel streams of uploads; ``numbers`` become versions, each used once."""
    started = UploadStreams(url, numbers or count(), streams)
    try:
        yield started
    finally:
        started.end()
    assert started.refused == []
