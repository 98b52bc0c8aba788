"""The keys of issuers of ID tokens, as the issuers publish them, kept for a while.

A key that is not known is asked for once more, so that an issuer may change its keys at any time; but not
more than once in ``PAUSE_SECONDS``, or strangers could make the store ask without end. Asked for over TLS
alone, without redirects, and no further than a bounded answer goes.

Source: OpenID Connect Discovery 1.0, section 4.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from conveyor.domain.people.publishers import read_keys
from conveyor.errors import Forbidden, InvalidInput, UpstreamFailed

if TYPE_CHECKING:
    from conveyor.domain.people.publishers import IssuerKey

KEPT_SECONDS = 600.0
PAUSE_SECONDS = 20.0
TOTAL_SECONDS = 10.0
LARGEST_ANSWER = 256 * 1024
"""Bytes."""
MOST_ISSUERS = 100


@dataclass
class _Kept:
    keys: dict[str, IssuerKey] = field(default_factory=dict)
    asked_at: float = float("-inf")
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Issuers:
    """The keys of the issuers that a store knows; one per process."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    async def key(self, issuer: str, key_id: str) -> IssuerKey:
        """The key of that id; the caller knows the issuer, of which there are few.

        Raises:
            Forbidden: the issuer has no such key.
            UpstreamFailed: it did not say which keys it has.
        """
        while issuer not in self._kept and len(self._kept) >= MOST_ISSUERS:
            del self._kept[next(iter(self._kept))]
        kept = self._kept.setdefault(issuer, _Kept())
        async with kept.turn:
            age = time.monotonic() - kept.asked_at
            if age > KEPT_SECONDS or (key_id not in kept.keys and age > PAUSE_SECONDS):
                kept.keys = await _keys_of(issuer)
                kept.asked_at = time.monotonic()
        if key_id not in kept.keys:
            raise Forbidden(
                f"{issuer} has no key {key_id[:100]!r}",
                hint="let the job ask for a new ID token",
            )
        return kept.keys[key_id]


async def _keys_of(issuer: str) -> dict[str, IssuerKey]:
    timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS)
    async with aiohttp.ClientSession(
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "conveyor"},
    ) as session:
        where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            told = json.loads(await _read(session, where))
            stated, address = told["issuer"], str(told["jwks_uri"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UpstreamFailed(f"{where} does not say where the keys are") from error
        if stated != issuer:
            raise UpstreamFailed(f"{where} is that of another issuer, {str(stated)[:200]}")
        if urlsplit(address).scheme != "https":
            raise UpstreamFailed(f"{issuer} publishes its keys without TLS")
        try:
            return read_keys(await _read(session, address))
        except InvalidInput as error:
            raise UpstreamFailed(f"{address}: {error.message}") from error


async def _read(session: aiohttp.ClientSession, url: str) -> bytes:
    # By name, not by ``trust_env``: that would send the credentials of a ``.netrc``.
    proxy = None if proxy_bypass(urlsplit(url).hostname or "") else getproxies().get("https")
    try:
        async with session.get(url, allow_redirects=False, proxy=proxy) as answer:
            if answer.status != 200:
                raise UpstreamFailed(f"{url} was answered with {answer.status}")
            content = bytearray()
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) > LARGEST_ANSWER:
                    raise UpstreamFailed(f"{url} was answered with more than {LARGEST_ANSWER} bytes")
            return bytes(content)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise UpstreamFailed(f"{url} does not answer: {reason}", hint="is the issuer reachable?") from error
