"""The API without a network: a client's requests, answered by the endpoints in the client's own process.

A command that works on a folder makes the same requests as one that works on a server, so each command is
written once, and requests that the API refuses are refused for a folder too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from starlette.routing import compile_path

from conveyor.client.connection import StoreAnswer
from conveyor.domain.people.access import must_have
from conveyor.errors import NotFound
from conveyor.server.api.endpoints import Call, Document, StoredDocument
from conveyor.server.api.routes import ENDPOINTS

if TYPE_CHECKING:
    from conveyor.client.connection import Request
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store
    from conveyor.server.api.endpoints import Endpoint


class DirectConnection:
    """Answers requests below ``/api/v1`` from an opened store, as one identity. See ``Connection``."""

    def __init__(self, store: Store, identity: Identity, *, name: str) -> None:
        """``name`` is the store's name in messages; the caller who opened the store closes it."""
        self.url = name
        self._store = store
        self._identity = identity

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def send(self, request: Request) -> StoreAnswer:
        """Call the endpoint; its errors are raised unchanged."""
        target = urlsplit(request.path)
        endpoint, parameters = _find(request.method, target.path)
        if endpoint.right is not None:
            must_have(self._identity, endpoint.right)
        content = request.content or b""
        if endpoint.takes_file is not None:  # none of the commands on a folder sends one
            raise _not_here(request.path)
        answered = endpoint.handler(
            Call(
                store=self._store,
                identity=self._identity,
                path=parameters,
                query=dict(parse_qsl(target.query, keep_blank_values=True)),
                body=content if isinstance(content, bytes) else b"".join(content),
            )
        )
        if isinstance(answered.value, Document):
            return StoreAnswer(answered.status, answered.value.content)
        if isinstance(answered.value, StoredDocument):
            return StoreAnswer(answered.status, b"".join(answered.value.pieces(self._store.blobs)))
        rendered = b"" if answered.value is None else json.dumps(answered.json).encode()
        return StoreAnswer(answered.status, rendered)

    def receive(self, path: str) -> NoReturn:
        """Files are not sent without a server; raises NotFound."""
        raise _not_here(path)


def _find(method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
    """The endpoint that answers, and the decoded parameters in the path."""
    for endpoint in ENDPOINTS:
        matched = compile_path(f"/api/v1{endpoint.path}")[0].match(path)
        if matched and endpoint.method == method:
            return endpoint, {name: unquote(value) for name, value in matched.groupdict().items()}
    raise _not_here(path)


def _not_here(path: str) -> NotFound:
    return NotFound(f"there is nothing at {path} without a server", hint="name the server with --url")
