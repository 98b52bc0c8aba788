"""Posting to receivers: only where administrators allowed it, and never for long."""

from __future__ import annotations

import socket
from dataclasses import replace
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from certificates import make_certificate, serving_tls
from conveyor.domain.notices.mail import MailSettings
from conveyor.errors import Forbidden, UpstreamFailed
from conveyor.upstream import receivers
from conveyor.upstream.receivers import Poster, Postman
from mail_servers import running_mail_server
from receiving_programs import running_program

if TYPE_CHECKING:
    from pathlib import Path

    from mail_servers import MailServer


async def posted(url: str, *, is_local: bool) -> int | str:
    """The status, or the reason why there is none."""
    poster = Poster()
    try:
        return await poster.post(url, headers={"webhook-id": "msg_1"}, body=b"{}", is_local=is_local)
    except UpstreamFailed as error:
        return error.message
    finally:
        await poster.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])  # noqa: S104 - asked, not bound
async def test_address_of_this_machine_is_not_connected_to_unless_it_is_local(host: str) -> None:
    """A name is checked when it is connected to: what it led to at its registration says nothing."""
    with running_program() as program:
        port = program.url.rpartition(":")[2]
        told = await posted(f"https://{host}:{port}/", is_local=False)
        assert "was not registered with --local" in str(told)
        assert program.posted == []
        assert await posted(program.url, is_local=True) == 204


async def test_http_is_refused_unless_it_is_local() -> None:
    with running_program() as program:
        assert "--local" in str(await posted(program.url, is_local=False))
        assert program.posted == []


async def test_certificate_that_nobody_trusts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setattr(receivers, "TOTAL_SECONDS", 5.0)
    with running_program() as program, serving_tls(program.handler, certificate) as server:
        url = f"https://127.0.0.1:{server.server_port}/"
        assert "certificate" in str(await posted(url, is_local=True))
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        assert await posted(url, is_local=True) == 204


async def test_silence_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "TOTAL_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert await posted(url, is_local=True) == "no answer within 0.3 seconds"


async def test_nobody_there_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    assert "refused" in str(await posted(f"http://127.0.0.1:{port}/", is_local=True)).lower()
    assert "no connection" in str(await posted("http://nowhere.invalid/", is_local=True))


MAIL = EmailMessage()
MAIL["Subject"] = "demo 1.0 is in stable now"


def settings_of(server: MailServer, *, is_tls: bool = False, user: str | None = None) -> MailSettings:
    password = None if user is None else "right"
    return MailSettings("127.0.0.1", server.port, "store@team.example", is_tls, user, password)


async def handed(settings: MailSettings) -> str:
    """What the mail server said, or why it was not told."""
    postman = Postman(settings)
    try:
        return await postman.send(MAIL, to="qa@team.example")
    except UpstreamFailed as error:
        return f"again: {error.message}"
    except Forbidden as error:
        return f"never: {error.message}"
    finally:
        postman.close()


async def test_mail_is_handed_over_on_this_machine_without_tls_but_never_a_password() -> None:
    with running_mail_server() as server:
        assert await handed(settings_of(server)) == "250"
        assert [(sender, to) for sender, to, _ in server.mails] == [
            ("store@team.example", ["qa@team.example"])
        ]
        told = await handed(settings_of(server, user="store"))
        assert told == "again: the mail server offers no TLS, so it is not told a password"


@pytest.mark.parametrize("kind", ["tls", "starttls"])
async def test_mail_goes_over_tls_with_user_and_password(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    given: Any = {kind: certificate}
    with running_mail_server(**given) as server:
        settings = settings_of(server, is_tls=kind == "tls", user="store")
        assert "certificate" in await handed(settings)
        assert server.logins == []
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        assert await handed(settings) == "250"
        assert "again: 535" in await handed(replace(settings, password="wrong"))
        assert set(server.logins) == {("store", "right"), ("store", "wrong")}
        assert "right" not in repr(settings)


async def test_answer_of_the_mail_server_says_whether_it_is_tried_again() -> None:
    with running_mail_server() as server:
        server.answer = "451 come back later"
        assert await handed(settings_of(server)) == "again: 451 come back later"
        server.answer = "550 no such person"
        assert await handed(settings_of(server)) == "never: 550 no such person"
    assert "again: the mail server: " in await handed(settings_of(server))
