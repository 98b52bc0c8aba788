"""Mail servers: real ones on loopback that keep the mails which they are handed."""

from __future__ import annotations

import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from postgres_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

PATIENCE_SECONDS = 60


@dataclass
class MailServer:
    """A server and the mails that it took."""

    port: int
    answer: str = "250 taken"
    """What it says to each mail."""
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    """(sender, receivers, mail) of each."""
    logins: list[tuple[str, str]] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """Called by the server for each mail."""
        del server, session
        if self.answer.startswith("250"):
            mail = message_from_bytes(cast("bytes", envelope.content), policy=default)
            self.mails.append((str(envelope.mail_from), list(envelope.rcpt_tos), mail))
        return self.answer

    def wait_for(self, count: int) -> list[EmailMessage]:
        """The mails once there are so many."""
        end = time.monotonic() + PATIENCE_SECONDS
        while len(self.mails) < count:
            assert time.monotonic() < end, f"{len(self.mails)} of {count} mails came"
            time.sleep(0.02)
        return [mail for _, _, mail in self.mails]


@contextmanager
def running_mail_server(
    *, starttls: tuple[str, str] | None = None, tls: tuple[str, str] | None = None
) -> Iterator[MailServer]:
    """A mail server on a free port; with a certificate and its key it speaks TLS and asks for a login."""
    mail_server = MailServer(free_port())

    def authenticate(
        _server: object, _session: object, _envelope: object, _way: str, given: object
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        mail_server.logins.append((given.login.decode(), given.password.decode()))
        return AuthResult(success=given.password == b"right", handled=False)

    def context(certificate: tuple[str, str] | None) -> ssl.SSLContext | None:
        if certificate is None:
            return None
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*certificate)
        return made

    is_closed = bool(starttls or tls)
    controller = Controller(
        mail_server,
        hostname="127.0.0.1",
        port=mail_server.port,
        ssl_context=context(tls),
        tls_context=context(starttls),
        require_starttls=bool(starttls),
        authenticator=authenticate if is_closed else None,
        auth_required=bool(starttls),
        auth_require_tls=bool(starttls),
    )
    controller.start()
    try:
        yield mail_server
    finally:
        controller.stop()
