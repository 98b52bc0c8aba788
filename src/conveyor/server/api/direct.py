"""The API without a network: a client's requests, answered by the endpoints in the client's own process.

A command that works on a folder asks the same questions, in the same words, as one that asks a server; so
each command is written once, and what the API refuses is refused on a folder too.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import urllib3
from starlette.routing import compile_path

from conveyor.client.http import Connection
from conveyor.domain.access import must_have
from conveyor.errors import NotFound
from conveyor.server.api.endpoints import Call
from conveyor.server.api.routes import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conveyor.domain.access import Identity
    from conveyor.operations.store import Store
    from conveyor.server.api.endpoints import Endpoint


class DirectConnection(Connection):
    """Answers requests below ``/api/v1`` from an opened store, as one identity."""

    def __init__(self, store: Store, identity: Identity, *, name: str) -> None:
        """``name`` is what messages call the store; closing the store is left to who opened it."""
        self.url = name
        self._store = store
        self._identity = identity

    def close(self) -> None:
        """Nothing is held."""

    def send(
        self,
        method: str,
        path: str,
        *,
        json_body: object = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        may_repeat: bool | None = None,
        is_streamed: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """Call the endpoint; see ``Connection``. Errors are those that it raises, untouched."""
        del headers, may_repeat, is_streamed
        target = urlsplit(path)
        endpoint, parameters = _find(method, target.path)
        if endpoint.right is not None:
            must_have(self._identity, endpoint.right)
        content = json.dumps(json_body).encode() if json_body is not None else b"".join(_chunks(body))
        answered = endpoint.handler(
            Call(
                store=self._store,
                identity=self._identity,
                path=parameters,
                query=dict(parse_qsl(target.query, keep_blank_values=True)),
                body=content,
            )
        )
        rendered = b"" if answered.value is None else json.dumps(answered.value).encode()
        return urllib3.HTTPResponse(BytesIO(rendered), status=answered.status, preload_content=True)


def _find(method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
    """The endpoint that answers, and the decoded parameters in the path."""
    for endpoint in ENDPOINTS:
        matched = compile_path(f"/api/v1{endpoint.path}")[0].match(path)
        if matched and endpoint.method == method:
            return endpoint, {name: unquote(value) for name, value in matched.groupdict().items()}
    raise NotFound(f"there is nothing at {path} without a server", hint="name the server with --url")


def _chunks(body: bytes | Iterable[bytes] | None) -> Iterable[bytes]:
    return (body,) if isinstance(body, bytes) else body or ()
