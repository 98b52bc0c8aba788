"""Connections to a server: requests over HTTP, sent again where that is safe.

If a connection cannot be made, every request is tried again: the store has seen nothing. If a connection
breaks off, only requests that may arrive twice are tried again: reads, and writes that the store recognises
as the same (evidence, an identical file, a promotion, a step's state).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from conveyor.client.connection import (
    CHUNK_BYTES,
    CONNECT_SECONDS,
    RETRIES,
    SILENCE_SECONDS,
    Request,
    StoreAnswer,
    cause_of,
    no_answer,
    refusal,
    request_headers,
    store_url,
)
from conveyor.errors import StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BACKOFF_SECONDS = 0.2


class HttpConnection:
    """Sends requests to a server; may be shared by threads. See ``Connection``."""

    def __init__(self, url: str, *, token: str | Callable[[], str] | None = None) -> None:
        """``token``: sent with each request; a function gives the one that holds now."""
        self.url = store_url(url)
        self._token = token
        if not callable(token):
            request_headers(token)
        self._pool = urllib3.PoolManager(
            timeout=Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS), maxsize=8
        )

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._pool.clear()

    def send(self, request: Request) -> StoreAnswer:
        """Send a request and wait for the whole answer."""
        answer = self._answer(request, is_streamed=False)
        return StoreAnswer(answer.status, answer.data)

    @contextmanager
    def receive(self, path: str) -> Iterator[Iterator[bytes]]:
        """Read the content at a path, piece by piece."""
        answer = self._answer(Request("GET", path), is_streamed=True)
        try:
            yield answer.stream(CHUNK_BYTES)
        except HTTPError as error:
            raise StoreUnreachable(f"the download of {path} broke off: {error}") from error
        finally:
            answer.close()

    def _answer(self, request: Request, *, is_streamed: bool) -> urllib3.BaseHTTPResponse:
        """Return the successful answer to a request. The caller must read and close a streamed one."""
        if not request.path.startswith("/"):  # else it could name another host, which would get the token
            raise StoreUnreachable(f'"{request.path}" is not a path on a store')
        sent = request_headers(self._token() if callable(self._token) else self._token)
        content = request.content
        described = {"Content-Type": "application/json"} if isinstance(content, bytes) else {}
        try:
            answer = self._pool.request(
                request.method,
                self.url + request.path,
                body=content,
                headers={**sent, **described, **request.headers},
                retries=_retries(is_repeatable=request.is_repeatable),
                redirect=False,
                preload_content=not is_streamed,
            )
            if 200 <= answer.status < 300:
                return answer
            data = answer.data
        except HTTPError as error:
            raise no_answer(self.url, cause_of(error)) from error
        kind = answer.headers.get("Content-Type", "")
        raise refusal(answer.status, kind, data, is_anonymous="Authorization" not in sent)


def _retries(*, is_repeatable: bool) -> Retry:
    return Retry(
        total=RETRIES,
        connect=RETRIES,
        read=RETRIES if is_repeatable else 0,
        other=0,
        status=0,
        redirect=0,
        backoff_factor=BACKOFF_SECONDS,
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
