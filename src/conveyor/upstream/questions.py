"""Questions to an upstream: how long each is waited for, and what is raised when there is no answer."""

from __future__ import annotations

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
"""A small answer may take so many times the timeout in all, as long as it is never silent for one."""


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
        self._small = aiohttp.ClientTimeout(
            total=TOTAL_TIMES * timeout_seconds,
            sock_connect=self._silence.sock_connect,
            sock_read=timeout_seconds,
        )

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
        """The answer to one question; ``what`` was asked stands in errors.

        ``is_file``: it may take any time, as long as it is never silent. ``is_page``: it may come compressed,
        while a file's bytes are hashed as they are.

        Raises:
            UpstreamFailed: there was no answer in time, or it broke off.
        """
        sent = dict(headers or {}) if is_page else {"Accept-Encoding": "identity", **(headers or {})}
        timeout = self._silence if is_file else self._small
        with _foreign_errors(what):
            async with self._connections.request(
                method, url, timeout=timeout, headers=sent, is_decompressed=is_page
            ) as answer:
                yield answer


@contextmanager
def _foreign_errors(what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise UpstreamFailed(
            f"{what} did not come in time", hint="try again; is the upstream slow?"
        ) from error
    except aiohttp.ClientResponseError as error:
        raise UpstreamFailed(f"{what} was answered with {error.status} {error.message}") from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, RefusedAddress):
            raise refused_address(f"{error.host}:{error.port}") from error
        raise _not_had(what, error) from error
    except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:  # the last: no URL, no host
        raise _not_had(what, error) from error


def _not_had(what: str, error: Exception) -> UpstreamFailed:
    return UpstreamFailed(f"{what} cannot be had: {type(error).__name__}", hint="is the upstream reachable?")
