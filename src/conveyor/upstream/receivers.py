"""Messages on their last way: posted to programs that administrators registered, handed to a mail server.

Rules of each request:

1. ``https``, unless the receiver was registered as local;
2. the address is public, unless the receiver was registered as local. It is checked on the socket that is
   about to be connected, so a name that resolves differently the second time gains nothing. A proxy looks
   names up itself; in that case only literal addresses are checked (as for an upstream, decision 0009);
3. no redirect is followed: a message is for whoever was registered;
4. it ends after ``TOTAL_SECONDS``, and of the answer only the status is looked at.

Mails go to the mail server of the settings (RFC 5321), over TLS unless it is on this machine; a user name and
a password are never sent without TLS. The server is the operator's own, so its address is not checked. Each
mail has a connection of its own: there are few, and a server may close one that is idle at any time.

Both have threads of their own: a name server or a mail server that does not answer must not hold up the
threads that answer requests.
"""

from __future__ import annotations

import asyncio
import os
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from conveyor.domain.words.addresses import address_kind, literal_address
from conveyor.errors import Forbidden, UpstreamFailed
from conveyor.upstream.connections import RefusedAddress, as_written

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage

    from conveyor.domain.notices.mail import MailSettings

TOTAL_SECONDS = 15.0
LOOKUPS_AT_ONCE = 8
_REFUSED = "its address is one of this machine or a private network, and it was not registered with --local"


class Poster:
    """Posts messages; one per process. It opens its connections when they are first needed."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}
        """(whether local, whether through a proxy) → its session."""
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="receivers")

    async def close(self) -> None:
        """Close all connections; lookups that are under way end by themselves."""
        while self._sessions:
            await self._sessions.popitem()[1].close()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, is_local: bool) -> int:
        """The status of the answer to a message.

        Raises:
            UpstreamFailed: a rule of this module refuses it, or nobody answered in time; says why in one
            line.
        """
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        if not is_local:
            address = literal_address(parts.hostname or "")
            if parts.scheme != "https" or (address is not None and address_kind(address) != "public"):
                raise UpstreamFailed(_REFUSED)
        try:
            session = self._session(is_local=is_local, is_proxied=proxy is not None)
            async with session.post(
                as_written(url), headers=dict(headers), data=body, proxy=proxy, allow_redirects=False
            ) as answer:
                return answer.status
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, RefusedAddress):
                raise UpstreamFailed(_REFUSED) from error
            raise UpstreamFailed(f"no connection: {_reason(error.os_error)}") from error
        except TimeoutError as error:
            raise UpstreamFailed(f"no answer within {TOTAL_SECONDS:g} seconds") from error
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise UpstreamFailed(f"no answer: {_reason(error)}") from error

    def _session(self, *, is_local: bool, is_proxied: bool) -> aiohttp.ClientSession:
        session = self._sessions.get((is_local, is_proxied))
        if session is None:
            options: dict[str, Any] = {} if is_local or is_proxied else {"socket_factory": _public_socket}
            options |= {"ssl": ssl.create_default_context(), "resolver": _Resolver(self._lookups)}
            connector = aiohttp.TCPConnector(limit=0, force_close=True, **options)
            session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "conveyor", "Content-Type": "application/json"},
            )
            self._sessions[is_local, is_proxied] = session
        return session


def _public_socket(found: tuple[Any, ...]) -> socket.socket:
    """A socket for an address that is about to be connected to; checks rule 2."""
    family, kind, protocol, _, address = found
    if address_kind(str(address[0])) != "public":
        raise RefusedAddress("not a public address")
    return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """The system's own lookup, on threads that nothing else waits for."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name; raises OSError."""
        look_up = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=kind, proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is held."""


def _reason(error: BaseException) -> str:
    """One line about an error, without addresses of this network."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(number)
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0][:200]


STEP_SECONDS = 10.0
"""How long the server may take for each step."""
MAILS_AT_ONCE = 4


class Postman:
    """Hands mails to one server; one per process. It has threads of its own, as the server may be slow."""

    def __init__(self, settings: MailSettings) -> None:
        self.sender = settings.sender
        self._settings = settings
        self._threads = ThreadPoolExecutor(MAILS_AT_ONCE, thread_name_prefix="mail")

    def close(self) -> None:
        """Take no more mails; those that are under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def send(self, mail: EmailMessage, *, to: str) -> str:
        """Hand over one mail; returns what the answer is called in lists.

        Raises:
            Forbidden: the server will never take it.
            UpstreamFailed: it did not take it now; says why in one line.
        """
        hand_over = partial(_hand_over, self._settings, mail, to)
        return await asyncio.get_running_loop().run_in_executor(self._threads, hand_over)


def _hand_over(settings: MailSettings, mail: EmailMessage, to: str) -> str:
    tls = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(settings.host, settings.port, timeout=STEP_SECONDS, context=tls)
            if settings.is_tls
            else smtplib.SMTP(settings.host, settings.port, timeout=STEP_SECONDS)
        ) as server:
            server.ehlo_or_helo_if_needed()
            if not settings.is_tls and (server.has_extn("starttls") or not _is_here(settings.host)):
                server.starttls(context=tls)  # raises if the server does not offer it
            if settings.user is not None:
                if not settings.is_tls and not isinstance(server.sock, ssl.SSLSocket):
                    raise UpstreamFailed("the mail server offers no TLS, so it is not told a password")
                server.login(settings.user, settings.password or "")
            server.send_message(mail, from_addr=settings.sender, to_addrs=[to])
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        raise _refused(code, text) from error
    except smtplib.SMTPResponseException as error:
        raise _refused(error.smtp_code, error.smtp_error) from error
    except (smtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UpstreamFailed(f"the mail server: {reason[:200]}") from error
    return "250"


def _refused(code: int, text: bytes | str) -> UpstreamFailed | Forbidden:
    """5yz is for ever (RFC 5321, section 4.2.1), but for a password that an operator may yet correct."""
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    line = f"{code} {said.splitlines()[0] if said else ''}".strip()[:200]
    is_final = 550 <= code <= 559 or code in (501, 521)
    return Forbidden(line) if is_final else UpstreamFailed(line)


def _is_here(host: str) -> bool:
    """Whether the mail server is on this machine, where nobody can listen in between."""
    address = literal_address(host)
    return host == "localhost" or (address is not None and address_kind(address) == "loopback")
