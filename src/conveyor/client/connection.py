"""Connections to a store: requests, answers, and the protocol of every connection.

``HttpConnection`` connects to a server; ``conveyor.server.api.direct`` calls the API without a network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote, urlencode

from conveyor.domain.words.records import Record, as_json, read_record
from conveyor.errors import InvalidInput, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PUT"})
"""Requests of these methods may arrive twice (RFC 9110, section 9.2.2). A second DELETE is an error here."""

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Request:
    """A request to a store."""

    method: str
    path: str
    """The path on the store, with its query; begins with a slash."""
    json_body: object = None
    """A record or a JSON value."""
    body: bytes | Iterable[bytes] | None = None
    """Sent if there is no ``json_body``: bytes are JSON already; anything else states its type in ``headers``
    and can be read again from its beginning."""
    headers: Mapping[str, str] = field(default_factory=dict)
    may_repeat: bool = False
    """Whether the store recognises it when it arrives twice, although its method does not promise that."""

    @property
    def content(self) -> bytes | Iterable[bytes] | None:
        """The body as it is sent."""
        return self.body if self.json_body is None else json.dumps(as_json(self.json_body)).encode()

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again if nobody knows whether it arrived."""
        return self.may_repeat or self.method in REPEATABLE_METHODS


@dataclass(frozen=True)
class StoreAnswer:
    """The answer to a request that succeeded."""

    status: int
    body: bytes


class Connection(Protocol):
    """A connection to one store as one caller; may be shared by threads."""

    @property
    def url(self) -> str:
        """The name of the store in messages."""

    def send(self, request: Request) -> StoreAnswer:
        """Send a request and wait for the whole answer.

        Raises:
            StoreUnreachable: there was no answer, or it was not an answer of a store.
            ConveyorError: the error that the store answered with, as it was raised there.
        """

    def receive(self, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """Read the content at a path, piece by piece; raises as ``send``, also if it breaks off later."""

    def close(self) -> None:
        """Release the resources of the connection."""


def ask_for(connection: Connection, request: Request, record: type[R]) -> R:
    """Send a request and read the record that answers it; fields that are unknown here are ignored.

    Raises:
        StoreUnreachable: as ``Connection.send``, or the answer is something else.
        ConveyorError: as ``Connection.send``.
    """
    return _told(connection, request, record, connection.send(request))


def ask_for_any(connection: Connection, request: Request, record: type[R]) -> R | None:
    """Send a request whose answer may be empty; raises as ``ask_for``."""
    answer = connection.send(request)
    return _told(connection, request, record, answer) if answer.body else None


def ask_for_all(connection: Connection, request: Request, name: str, record: type[R]) -> tuple[R, ...]:
    """Send a request whose answer is a list of records under a name; raises as ``ask_for``."""
    value = _parsed(connection, request, connection.send(request))
    listed = value.get(name) if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise _not_of_a_store(connection, request, f"there is no list {name}")
    return tuple(_read(connection, request, record, one) for one in listed)


def _told(connection: Connection, request: Request, record: type[R], answer: StoreAnswer) -> R:
    return _read(connection, request, record, _parsed(connection, request, answer))


def _parsed(connection: Connection, request: Request, answer: StoreAnswer) -> object:
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise _not_of_a_store(connection, request, repr(error)) from error


def _read(connection: Connection, request: Request, record: type[R], value: object) -> R:
    try:
        return read_record(record, value, what="the answer", is_told=True)
    except InvalidInput as error:
        raise _not_of_a_store(connection, request, "; ".join(error.faults)) from error


def _not_of_a_store(connection: Connection, request: Request, problem: str) -> StoreUnreachable:
    return StoreUnreachable(
        f"{connection.url} answered {request.path} with something that is not an answer of a store "
        f"({problem[:200]})",
        hint="is this the URL of a store, and is the store as new as this conveyor?",
    )


def api_path(*parts: str | int, **query: str | int | None) -> str:
    """The path of these parts; values that are ``None`` are left out of the query.

    A slash in a name does not begin another part.
    """
    path = "/".join(["/api/v1", *(quote(str(part), safe="") for part in parts)])
    asked = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(asked)}" if asked else path
