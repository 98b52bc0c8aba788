"""Connections to an upstream, and to the targets of its pages and redirects.

Rules for every request, and again for each redirect (decision 0009):

1. only http and https are allowed, and an https upstream must not lead to http;
2. the address is public, or of the kind that the upstream's own address has (``domain.words.addresses``). It
   is checked on the socket that is about to be connected, so a name that resolves differently the second time
   gains nothing. A proxy looks names up itself; in that case only addresses are checked;
3. there are at most ``MOST_REDIRECTS`` redirects;
4. the upstream's credentials are sent only to its own origin, those of a link only to its target. Cookies and
   ``.netrc`` are not used: other hosts get anonymous requests.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from conveyor.domain.words.addresses import address_kind, literal_address, may_lead_to
from conveyor.errors import UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from conveyor.domain.words.addresses import AddressKind

MOST_REDIRECTS = 5
CONNECTIONS = 128
"""More than the number of concurrent size queries, so that pages and files never wait behind those."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class RefusedAddress(OSError):
    """A name resolves to an address that the upstream must not lead to."""


class Connections:
    """The connections of one upstream; opened when first needed."""

    def __init__(self, url: str, *, cert: str | None = None, proxy: str | None = None) -> None:
        parts = urlsplit(url)
        self.root = without_user(urlunsplit(parts._replace(query="", fragment=""))).rstrip("/") + "/"
        """The upstream's URL without credentials; ends with a slash."""
        self._authorization = _authorization(url)
        self._cert = cert
        self._proxies = {"http": proxy, "https": proxy} if proxy else getproxies()
        self._is_proxy_for_all = proxy is not None
        self._home: frozenset[AddressKind] = frozenset()
        """Kinds of the upstream's own addresses, as they were when this process first asked."""
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        """Sessions, keyed by whether they go through a proxy."""

    async def close(self) -> None:
        """Close all connections; they are opened again when needed."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout: aiohttp.ClientTimeout,
        headers: Mapping[str, str],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request without a body, after its redirects; its bytes are as they were sent.

        Raises:
            UpstreamFailed: a rule of this module refuses it.
            aiohttp.ClientError, OSError, TimeoutError: it was not answered.
        """
        for _ in range(MOST_REDIRECTS + 1):
            proxy = self._proxy_for(url)
            self._check(url, is_proxied=proxy is not None)
            session = await self._session(is_proxied=proxy is not None)
            async with session.request(
                method,
                as_written(url),
                headers=self._headers(url, headers),
                timeout=timeout,
                proxy=proxy,
                allow_redirects=False,
                auto_decompress=False,
            ) as answer:
                target = answer.headers.get("Location")
                if answer.status not in _REDIRECTS or target is None:
                    yield answer
                    return
                url = joined(url, _location(target))
        raise UpstreamFailed(f"upstream sent us on more than {MOST_REDIRECTS} times, to {without_user(url)}")

    def _headers(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Add the credentials in the link itself, else the upstream's own for its own origin."""
        authorization = _authorization(url)
        if authorization is None and _origin(url) == _origin(self.root):
            authorization = self._authorization
        return {**headers, **({"Authorization": authorization} if authorization is not None else {})}

    def _check(self, url: str, *, is_proxied: bool) -> None:
        """Check rule 1, and rule 2 as far as possible before connecting through a proxy."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise UpstreamFailed(f"upstream leads to {without_user(url)}, which is not http or https")
        if parts.scheme == "http" and urlsplit(self.root).scheme == "https":
            raise UpstreamFailed(
                f"upstream is asked by https and leads to {without_user(url)}, which is not protected",
                hint="the upstream's links and redirects have to be https",
            )
        if is_proxied:
            address, home = _address(parts.hostname), _address(urlsplit(self.root).hostname or "")
            if address and not may_lead_to(address, home=[address_kind(home)] if home else []):
                raise refused_address(without_user(url))

    def _proxy_for(self, url: str) -> str | None:
        parts = urlsplit(url)
        if not self._is_proxy_for_all and proxy_bypass(parts.hostname or ""):
            return None
        return self._proxies.get(parts.scheme)

    async def _session(self, *, is_proxied: bool) -> aiohttp.ClientSession:
        if not is_proxied and not self._home:
            self._home = await self._kinds_at_home()
        session = self._sessions.get(is_proxied)
        if session is None:
            options: dict[str, Any] = {} if is_proxied else {"socket_factory": self._socket}
            context = ssl.create_default_context(cafile=self._cert)
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context, **options),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "conveyor"},
            )
            self._sessions[is_proxied] = session
        return session

    async def _kinds_at_home(self) -> frozenset[AddressKind]:
        """Empty if its name cannot be looked up now; requests to the upstream then say why."""
        parts = urlsplit(self.root)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return frozenset()
        return frozenset(address_kind(str(address[0])) for *_, address in found)

    def _socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that is about to be connected to; checks rule 2."""
        family, kind, protocol, _, address = found
        if not may_lead_to(str(address[0]), home=self._home):
            raise RefusedAddress("an address that the upstream may not lead to")
        return socket.socket(family, kind, protocol)


def joined(base_url: str, link: str) -> str:
    """The target of a link on a page or of a redirect; one with a scheme is kept unchanged."""
    link = link.strip()
    return link if urlsplit(link).scheme else urljoin(base_url, link)


def _location(value: str) -> str:
    """The target of a redirect: bytes that are not UTF-8 are Latin-1 in its host, and kept elsewhere."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
        netloc = urlsplit(text).netloc
        before, after = text.split(netloc, 1) if netloc else ("", text)
        return before + netloc + quote(after, safe=_SENDABLE, encoding="latin-1")


def as_written(url: str) -> URL:
    """A URL that is requested exactly as spelled: signatures cover the spelling (``%2F``, ``%40``, ``%3D``).

    Only characters that a request line cannot hold are encoded, and the host as in DNS (IDNA, RFC 5891). User
    and fragment are not sent.
    """
    netloc = urlsplit(url).netloc
    scheme, _, rest = url.partition("#")[0].partition("://")
    authority = netloc.rpartition("@")[2]
    if not authority.isascii():
        host, colon, port = authority.partition(":")
        authority = f"{URL.build(scheme=scheme, host=host).raw_host}{colon}{port}"
    return URL(quote(f"{scheme}://{authority}{rest.removeprefix(netloc)}", safe=_SENDABLE), encoded=True)


_SENDABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"<>')


def _authorization(url: str) -> str | None:
    """The header with user and password of a URL; ``None`` if it has no credentials."""
    parts = urlsplit(url)
    if not parts.username:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(credentials.encode()).decode()


def refused_address(where: str) -> UpstreamFailed:
    """The error of rule 2."""
    return UpstreamFailed(
        f"upstream leads to {where}, an address inside this network, which is not asked",
        hint="an upstream leads to public addresses, or to those of its own kind",
    )


def without_user(url: str) -> str:
    """A URL without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _address(host: str) -> str | None:
    """The address that a host is without a lookup; ``None`` for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    return literal_address(host)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
