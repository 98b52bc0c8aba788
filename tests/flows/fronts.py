"""What stands before a store in real life: a front that speaks TLS, and a network that breaks off."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 64 * 1024


@dataclass
class Front:
    """A front that passes connections on to a store, byte by byte."""

    url: str
    """Its own, without a slash at the end."""
    cut_after_bytes: int | None = None
    """The next connection that has brought its client so much is cut, once; ``None``: none is."""


@contextmanager
def running_front(store_url: str, *, certificate: tuple[str, str] | None = None) -> Iterator[Front]:
    """A front on a free port of loopback; with a certificate and its key (files) it speaks TLS."""
    behind = urlsplit(store_url)
    assert behind.hostname is not None
    address = (behind.hostname, behind.port or 80)
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        # A name under TLS: pip 24.2 to 26.0 cannot check the certificate of an address.
        place = "http://127.0.0.1" if tls is None else "https://localhost"
        front = Front(f"{place}:{listener.getsockname()[1]}")
        accepting = threading.Thread(target=_accept, args=(listener, address, tls, front))
        accepting.start()
        try:
            yield front
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            accepting.join()


def _accept(
    listener: socket.socket, address: tuple[str, int], tls: ssl.SSLContext | None, front: Front
) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the front ends
            return
        threading.Thread(target=_serve, args=(client, address, tls, front), daemon=True).start()


def _serve(client: socket.socket, address: tuple[str, int], tls: ssl.SSLContext | None, front: Front) -> None:
    """Pass one connection on until either side ends it, or it is to be cut."""
    with closing(client), suppress(OSError):
        if tls is not None:
            client = tls.wrap_socket(client, server_side=True)
        with closing(client), closing(socket.create_connection(address)) as store:
            threading.Thread(target=_pass_on, args=(client, store), daemon=True).start()
            brought = 0
            while piece := store.recv(PIECE_BYTES):
                client.sendall(piece)
                brought += len(piece)
                if front.cut_after_bytes is not None and brought >= front.cut_after_bytes:
                    front.cut_after_bytes = None
                    break
            client.shutdown(socket.SHUT_RDWR)  # closing alone is not seen while the other thread reads


def _pass_on(client: socket.socket, store: socket.socket) -> None:
    with suppress(OSError):
        while piece := client.recv(PIECE_BYTES):
            store.sendall(piece)
        store.shutdown(socket.SHUT_WR)
