"""Connections to a store: requests, answers, and the protocol of every connection.

``HttpConnection`` connects to a server; ``conveyor.server.api.direct`` calls the API without a network.
``fetch`` reads one document for a command that asks nothing else: it needs no pool, and this module imports
no library for HTTP, which costs more than the request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from conveyor.domain.words.records import Record, as_json, read_record
from conveyor.errors import ConveyorError, InvalidInput, StoreUnreachable, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PUT"})
"""Requests of these methods may arrive twice (RFC 9110, section 9.2.2). A second DELETE is an error here."""

RETRIES = 3
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""How long a store may stay silent."""
CHUNK_BYTES = 1024 * 1024
"""Files are sent and received in pieces of this size."""

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


def fetch(url: str, request: Request, *, token: str | None = None) -> bytes:
    """The body of the answer to one GET of a store at ``url``; tried again while there is no answer.

    Raises:
        InvalidInput: ``url`` is not the URL of a store, or ``token`` cannot be a token.
        StoreUnreachable, ConveyorError: as ``Connection.send``.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    address, headers = store_url(url), request_headers(token)
    parts = urlsplit(address)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    for attempt in range(RETRIES + 1):
        connection = kind(str(parts.hostname), parts.port, timeout=SILENCE_SECONDS)
        try:
            connection.request("GET", parts.path + request.path, headers=headers)
            answer = connection.getresponse()
            data, content_type = answer.read(), answer.headers.get("Content-Type", "")
            break
        except (OSError, HTTPException) as error:
            if attempt == RETRIES:
                raise no_answer(address, str(error) or type(error).__name__) from error
        finally:
            connection.close()
    if 200 <= answer.status < 300:
        return data
    raise refusal(answer.status, content_type, data, is_anonymous=token is None)


def request_headers(token: str | None) -> dict[str, str]:
    """The headers of every request; raises InvalidInput if ``token`` cannot be a token."""
    headers = {"User-Agent": "conveyor-client", "Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {checked_token(token, source='the token')}"
    return headers


def cause_of(error: Exception) -> str:
    """The innermost reason of an error of urllib3, in a few words."""
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition("): ")[2] or type(reason).__name__


def no_answer(url: str, cause: str) -> StoreUnreachable:
    """The error that says that a store cannot be reached."""
    return StoreUnreachable(
        f"{url} does not answer: {cause}", hint="is the store running, and is the URL right?"
    )


def refusal(status: int, content_type: str, data: bytes, *, is_anonymous: bool) -> ConveyorError:
    """The error that a store has answered with."""
    from conveyor.client.problems import error_of  # it knows every gate: imported when there is an error

    error = error_of(status, content_type, data)
    if isinstance(error, Unauthorized) and is_anonymous:
        error.hint = (
            "put a token into CONVEYOR_TOKEN; an administrator makes one on the store's machine: "
            "conveyor store token create --user NAME --data DIR"
        )
    return error


def store_url(url: str) -> str:
    """The URL without the slash at its end.

    Raises:
        InvalidInput: it is not an HTTP URL, is that of an index, or holds a password: errors and logs show
            the URL as it is.
    """
    if "@" in url.partition("//")[2].partition("/")[0]:
        raise InvalidInput(
            "the URL of a store must not hold a user or a password", hint="put a token into CONVEYOR_TOKEN"
        )
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not url.isprintable() or " " in url:
        raise InvalidInput(f'"{url}" is not the URL of a store', hint="it begins with http:// or https://")
    *above, index, last = ["", *parts.path.strip("/").split("/")]
    if last in ("simple", "legacy") and index:
        raise InvalidInput(
            f"{url} is the address of an index, not of a store",
            hint="give what stands before the index, such as "
            f"{parts.scheme}://{parts.netloc}{'/'.join(['', *filter(None, above)])}",
        )
    return url.rstrip("/")


def lock_request(
    project: str, version: str, *, python: str | None = None, index: str | None = None
) -> Request:
    """Asks for the lock of a release; by default that of its most mature, newest test."""
    path = api_path("projects", project, "releases", version, "pylock.toml", python=python, index=index)
    return Request("GET", path)


def checked_token(text: str, *, source: str) -> str:
    """Return the token in a text, without the white space that shells and editors leave at its ends.

    ``source`` says where it was read. Errors name the source and never the text: libraries for HTTP would
    repeat a header that they refuse, and so write the secret into logs.

    Raises:
        InvalidInput: it is empty, or holds a character that no header can carry.
    """
    token = text.strip()
    if not token:
        raise InvalidInput(f"{source} is empty", hint="put a token there, or omit it to be anonymous")
    if not (token.isascii() and token.isprintable()):
        raise InvalidInput(
            f"{source} is not a token: it holds a line break, or another character that no token has",
            hint="copy the token again, all of it and nothing else",
        )
    return token


def api_path(*parts: str | int, **query: str | int | None) -> str:
    """The path of these parts; values that are ``None`` are left out of the query.

    A slash in a name does not begin another part.
    """
    path = "/".join(["/api/v1", *(quote(str(part), safe="") for part in parts)])
    asked = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(asked)}" if asked else path
