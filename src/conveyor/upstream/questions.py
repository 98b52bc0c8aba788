"""Questions to an upstream: how long to wait for each, and the errors raised without an answer."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import aiohttp

from conveyor.errors import UpstreamFailed
from conveyor.upstream.connections import RefusedAddress, refused_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from conveyor.upstream.connections import Connections

CONNECT_TIMEOUT_SECONDS = 15.0
TOTAL_TIMES = 4
"""Answers other than files may take this many times the timeout, if they are never silent for one."""

_REACHABLE = "is the upstream reachable?"
_SLOW = "try again; the timeout is that of pip on this machine when the store was made"


class Questions:
    """Asks over one set of connections.

    ``timeout_seconds`` is how long an upstream may take to accept a connection, and how long it may be
    silent; connecting never waits longer than ``CONNECT_TIMEOUT_SECONDS``.
    """

    def __init__(self, connections: Connections, *, timeout_seconds: float) -> None:
        self._connections = connections
        self._silence = aiohttp.ClientTimeout(
            total=None,
            sock_connect=min(timeout_seconds, CONNECT_TIMEOUT_SECONDS),
            sock_read=timeout_seconds,
        )
        self._total_seconds = TOTAL_TIMES * timeout_seconds

    @asynccontextmanager
    async def asked(
        self,
        url: str,
        what: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        is_file: bool = False,
        is_page: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one question; ``what`` names it in errors.

        ``is_file``: it may take any time, as long as it is never silent; anything else must be answered and
        read within ``TOTAL_TIMES`` the timeout. ``is_page``: it may come packed by gzip, while a file's bytes
        are hashed as they are.

        Raises:
            UpstreamFailed: there was no answer in time, or it broke off.
        """
        sent = {"Accept-Encoding": "gzip" if is_page else "identity", **(headers or {})}
        with self._foreign_errors(what):
            async with (
                asyncio.timeout(None if is_file else self._total_seconds),
                self._connections.request(method, url, timeout=self._silence, headers=sent) as answer,
            ):
                yield answer

    @contextmanager
    def _foreign_errors(self, what: str) -> Iterator[None]:
        """Turn every network error into one of ours, which names the limit that was exceeded."""
        try:
            yield
        except aiohttp.ConnectionTimeoutError as error:
            within = f"{self._silence.sock_connect:g} seconds"
            raise UpstreamFailed(f"{what}: no connection within {within}", hint=_REACHABLE) from error
        except aiohttp.SocketTimeoutError as error:
            silent = f"{self._silence.sock_read:g} seconds"
            raise UpstreamFailed(f"{what}: upstream was silent for {silent}", hint=_SLOW) from error
        except TimeoutError as error:
            within = f"{self._total_seconds:g} seconds"
            raise UpstreamFailed(f"{what} did not come whole within {within}", hint=_SLOW) from error
        except aiohttp.ClientResponseError as error:
            raise UpstreamFailed(f"{what} was answered with {error.status} {error.message}") from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, RefusedAddress):
                raise refused_address(f"{error.host}:{error.port}") from error
            raise _not_had(what, error) from error
        except (
            aiohttp.ClientError,
            ssl.SSLError,
            OSError,
            ValueError,
        ) as error:  # the last: no host in the URL
            raise _not_had(what, error) from error


def _not_had(what: str, error: Exception) -> UpstreamFailed:
    return UpstreamFailed(f"{what} cannot be fetched: {type(error).__name__}", hint=_REACHABLE)
