"""Requests to a store: sent again where that is safe, answered with values or with errors of ours.

A connection that could not be made is tried again for every request: the store has seen nothing. One that
broke off is tried again only for requests that may arrive twice: reading, and writing what the store
recognises as the same (evidence, an identical file, a promotion, a step's state).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Retry, Timeout, Url, parse_url

from conveyor import errors
from conveyor.client.answers import read_verdicts
from conveyor.errors import ConveyorError, InvalidInput, PromotionRefused, StoreUnreachable, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CONNECT_ATTEMPTS = 3
BACKOFF_SECONDS = 0.2
CONNECT_SECONDS = 10.0
MAX_ERROR_CHARACTERS = 2000
"""How much of an answer that is none of ours is shown."""

Value = TypeVar("Value")


class Connection(ABC):
    """A way to one store, as one caller: sends requests, and reads answers with ``ask``."""

    url: str
    """The store as messages name it."""

    def ask(
        self,
        method: str,
        path: str,
        read: Callable[[dict[str, Any]], Value],
        *,
        json_body: object = None,
        body: bytes | None = None,
        may_repeat: bool | None = None,
    ) -> Value:
        """Send a request and read its JSON answer; ``read`` makes the value.

        ``may_repeat``: whether it may arrive twice; ``None``: reading requests may, others may not.
        """
        answer = self.send(method, path, json_body=json_body, body=body, may_repeat=may_repeat)
        try:
            return read(json.loads(answer.data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreUnreachable(
                f"{self.url} answered {path} with something that is no answer of a store ({error!r:.200})",
                hint="is this URL that of a store, and is it as new as this conveyor?",
            ) from error

    @abstractmethod
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
        """Send a request; the answer was a success. A streamed one is to be released by the caller.

        Raises:
            StoreUnreachable: the store did not answer, or with something that is no error of a store.
            ConveyorError: the error that the store answered with, as it was raised there.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the connection holds."""


class StoreConnection(Connection):
    """Sends requests to a server; may be shared by threads."""

    def __init__(self, url: str, *, token: str | None, timeout_seconds: float) -> None:
        self.url = _store_url(url)
        self._headers = {"User-Agent": "conveyor-client", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(
            timeout=Timeout(connect=min(CONNECT_SECONDS, timeout_seconds), read=timeout_seconds), maxsize=8
        )

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._pool.clear()

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
        """Send a request over HTTP; see ``Connection``."""
        repeatable = method in ("GET", "HEAD") if may_repeat is None else may_repeat
        sent = {**self._headers, **(headers or {})}
        if json_body is not None or isinstance(body, bytes):
            sent["Content-Type"] = "application/json"
        content = json.dumps(json_body).encode() if json_body is not None else body
        if not path.startswith("/"):  # anything else could name another host, which would get the token
            raise StoreUnreachable(f'"{path}" is no path on a store')
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                body=content,
                headers=sent,
                retries=_retries(repeatable=repeatable),
                redirect=False,
                preload_content=not is_streamed,
            )
            if 200 <= answer.status < 300:
                return answer
            data = answer.data
        except HTTPError as error:
            raise StoreUnreachable(
                f"{self.url} does not answer: {_cause(error)}",
                hint="is the store running, and is the URL right?",
            ) from error
        refusal = error_of(answer.status, answer.headers.get("Content-Type", ""), data)
        if isinstance(refusal, Unauthorized) and "Authorization" not in self._headers:
            refusal.hint = (
                "put a token into CONVEYOR_TOKEN; on the store's machine this makes one: "
                "conveyor store token create --user admin --data DIR"
            )
        raise refusal


def _store_url(url: str) -> str:
    """The URL without the slash at its end.

    Raises:
        InvalidInput: it is none of HTTP, or holds a password: errors and logs name the URL as it is.
    """
    if "@" in url.partition("//")[2].partition("/")[0]:
        raise InvalidInput(
            "the URL of a store holds no user and no password", hint="put a token into CONVEYOR_TOKEN"
        )
    try:
        parsed = parse_url(url)
    except LocationParseError:
        parsed = Url()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(f'"{url}" is not the URL of a store', hint="it begins with http:// or https://")
    return url.rstrip("/")


def error_of(status: int, content_type: str, data: bytes) -> ConveyorError:
    """The error that an answer tells of, of the class that the store raised."""
    text = data.decode(errors="replace")
    if content_type.startswith("application/problem+json"):
        try:
            return _from_problem(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
    if content_type.startswith("text/plain") and status in _CLASSES:
        return _from_plain_text(status, text)
    return StoreUnreachable(
        f"the store answered {status}: {text[:MAX_ERROR_CHARACTERS].strip() or 'nothing'}",
        hint="is this URL that of a store?",
    )


def _from_problem(problem: dict[str, Any]) -> ConveyorError:
    message, hint = str(problem["detail"]), problem.get("hint")
    kind = getattr(errors, str(problem["title"]), None)
    if not isinstance(kind, type) or not issubclass(kind, ConveyorError):
        kind = _CLASSES.get(int(problem["status"]), StoreUnreachable)
    if issubclass(kind, PromotionRefused):
        return kind(message, verdicts=read_verdicts(problem), hint=hint)
    if issubclass(kind, InvalidInput):
        return kind(message, faults=tuple(problem.get("faults", ())), hint=hint)
    return kind(message, hint=hint)


def _from_plain_text(status: int, text: str) -> ConveyorError:
    """What upload clients are told: what happened, one line per fault, the hint last."""
    lines = text.strip().splitlines() or [f"the store answered {status}"]
    hint = lines.pop().removeprefix("hint: ") if len(lines) > 1 and lines[-1].startswith("hint: ") else None
    kind = _CLASSES[status]
    if issubclass(kind, InvalidInput):
        return kind(lines[0], faults=tuple(lines[1:]), hint=hint)
    return kind("; ".join(lines), hint=hint)


_CLASSES: dict[int, type[ConveyorError]] = {
    400: errors.InvalidInput,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    502: errors.UpstreamFailed,
    503: errors.StorageFailed,
    507: errors.StorageFull,
}
"""For answers that name no class of ours."""


def _retries(*, repeatable: bool) -> Retry:
    return Retry(
        total=CONNECT_ATTEMPTS,
        connect=CONNECT_ATTEMPTS,
        read=CONNECT_ATTEMPTS if repeatable else 0,
        other=0,
        status=0,
        redirect=0,
        backoff_factor=BACKOFF_SECONDS,
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,
    )


def _cause(error: HTTPError) -> str:
    """The innermost reason, in a few words."""
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition("): ")[2] or type(reason).__name__
