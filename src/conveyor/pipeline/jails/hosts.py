"""The way to the hosts that the policy names for builds, held by the keeper: a proxy that tunnels, for TLS.

A Unix socket that speaks one method of HTTP, ``CONNECT`` (RFC 9110, section 9.3.6): what pip, uv, curl, git,
npm and cargo do by themselves when ``HTTPS_PROXY`` names a proxy. Only jails of builds have the socket, and
only while the policy names a host for their project. The keeper looks the name up and connects, so that what
was judged is what is reached; what is said in the tunnel is between the build and the host.

A refusal says why in its status line, because that is the part that clients show.
"""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from contextlib import suppress
from socketserver import StreamRequestHandler
from typing import TYPE_CHECKING, Self, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from conveyor.domain.words.addresses import address_kind, may_be_opened, pattern_for
from conveyor.errors import Forbidden
from conveyor.pipeline.jails.door import BoundedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType


CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 600.0
"""After so long without a byte in either direction a tunnel ends."""
_LONGEST_HEAD = 64 * 1024
_PIECE = 64 * 1024


class HostsDoor:
    """A proxy to the hosts that the policy names. Use ``with``; ``path`` is its socket."""

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self.path = folder / "hosts.sock"
        self.hosts: tuple[str, ...] = ()
        """The patterns of the policy; none until the run knows its project."""
        self._note = note

    def __enter__(self) -> Self:
        self._server = _Proxy(str(self.path), _Tunnel)
        self._server.door = self
        self._server.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.end()

    def connect(self, method: str, target: str) -> socket.socket:
        """A connection to a host that the policy names; what is asked for and refused is noted.

        Raises:
            Forbidden: the policy does not name it, it has a private address, or it cannot be reached.
        """
        try:
            found = self._connected(method, target)
        except Forbidden as refusal:
            self._note(f"refused {target[:200]}: {refusal.message}")
            raise
        self._note(f"opened {target}")
        return found

    def _connected(self, method: str, target: str) -> socket.socket:
        host, colon, port = target.rpartition(":")
        host = host.strip("[]")
        if method != "CONNECT" or not colon or not port.isdecimal() or not host.isprintable():
            raise Forbidden("builds reach hosts over TLS alone: by CONNECT HOST:PORT")
        pattern = pattern_for(host, int(port), self.hosts)
        if pattern is None:
            raise Forbidden(
                f"the policy names no host {host[:200]}:{port} for builds; it names {', '.join(self.hosts)}"
            )
        proxy = getproxies().get("https")
        if proxy is not None and not proxy_bypass(host):
            return _through(proxy, host, int(port))
        try:
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Forbidden(f"{host} cannot be looked up") from error
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        closed = [one for one in addresses if not may_be_opened(one, pattern)]
        if closed:
            raise Forbidden(
                f"{host} leads to {closed[0]}, a {address_kind(closed[0])} address: the policy must name that"
            )
        return _reached(addresses, int(port), host)


def _reached(addresses: list[str], port: int, host: str) -> socket.socket:
    for one in addresses:
        with suppress(OSError):
            return socket.create_connection((one, port), timeout=CONNECT_SECONDS)
    raise Forbidden(f"{host}:{port} does not answer")


def _through(proxy: str, host: str, port: int) -> socket.socket:
    """The same through the proxy of this machine, which looks names up itself."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = _reached([str(parts.hostname)], parts.port or 3128, "this machine's proxy")
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {b64encode(pair).decode()}")
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD and (piece := connection.recv(1)):
        head += piece
    if head.split(b" ")[1:2] != [b"200"]:
        connection.close()
        raise Forbidden(f"this machine's proxy does not connect to {host}:{port}")
    return connection


class _Proxy(BoundedServer):
    door: HostsDoor


class _Tunnel(StreamRequestHandler):
    timeout = CONNECT_SECONDS
    rbufsize = 0  # nothing behind the head of the request may be read before the tunnel is there

    def handle(self) -> None:
        """Read the head of a request, connect, and carry bytes until one side has ended."""
        head = b""
        while not head.endswith((b"\r\n\r\n", b"\n\n")) and len(head) < _LONGEST_HEAD:
            if not (piece := self.rfile.read(1)):
                return
            head += piece
        words = head.split(b"\n", 1)[0].decode("latin-1").split()
        try:
            method, target = words[0], words[1]
            other = cast("_Proxy", self.server).door.connect(method, target)
        except IndexError:
            return
        except Forbidden as refusal:
            self.wfile.write(f"HTTP/1.1 403 {refusal.message}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        with other:
            self.wfile.write(b"HTTP/1.1 200 connected\r\n\r\n")
            for one in (self.connection, other):
                one.settimeout(SILENCE_SECONDS)
            back = threading.Thread(target=_carry, args=(other, self.connection), daemon=True)
            back.start()
            _carry(self.connection, other)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_PIECE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
