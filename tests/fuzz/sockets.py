"""Requests written byte by byte to a socket, for what no client sends."""

from __future__ import annotations

import base64
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from makers import ADMIN_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TIMEOUT_SECONDS = 20
ADMIN = "Authorization: Basic " + base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
BOUNDARY = b"bdry"
FORM = "Content-Type: multipart/form-data; boundary=bdry"


@dataclass(frozen=True)
class Reply:
    """What came back until the server closed the connection; status 0: nothing."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, raw: bytes) -> Reply:
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return cls(int(first.split(" ")[1]) if first else 0, headers, body)


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A connection to a store."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS) as connection:
        yield connection


def request_head(method: str, target: str | bytes, *headers: str) -> bytes:
    """A request's head, told to close afterwards."""
    path = target if isinstance(target, bytes) else target.encode()
    lines = "".join(f"{header}\r\n" for header in ("Host: store", "Connection: close", *headers))
    return method.encode() + b" " + path + b" HTTP/1.1\r\n" + lines.encode("latin-1") + b"\r\n"


def exchange(url: str, *pieces: bytes, is_ended: bool = False) -> Reply:
    """Send pieces one by one, read to the end; ``is_ended``: tell the server that nothing more will come."""
    with connected(url) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if is_ended:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # the server has answered and closed before it had everything
            pass
        return Reply.of(received(connection))


def received(connection: socket.socket) -> bytes:
    """Everything until the server closes; one that neither closes nor sends in time fails the test."""
    parts = []
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def form_part(name: str | bytes, value: bytes, *, filename: str | None = None) -> bytes:
    """One part of a form."""
    raw_name = name if isinstance(name, bytes) else name.encode()
    shown = b'; filename="' + filename.encode() + b'"' if filename is not None else b""
    disposition = b'Content-Disposition: form-data; name="' + raw_name + b'"' + shown
    return b"--" + BOUNDARY + b"\r\n" + disposition + b"\r\n\r\n" + value + b"\r\n"


def upload_head(length: int | None, *headers: str, path: str = "/unstable/legacy/") -> bytes:
    """The head of an upload by an administrator; ``None``: the body comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return request_head("POST", path, ADMIN, FORM, size, *headers)


def chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces as chunks of HTTP/1.1, and the end."""
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
