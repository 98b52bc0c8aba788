"""Serves a store: initialises it, binds the port, runs the workers, reports readiness, stops gracefully.

The parent process binds and listens once, without ``SO_REUSEPORT``, and its workers inherit the socket: a
port that another server holds is refused (granian's own workers would share it silently with any process of
the same user), port 0 is known before anything starts, and a connection made while a worker is being
replaced waits instead of being refused.

Workers are forked after everything is imported but before anything is opened. A worker that dies is replaced.
When the parent dies, for whatever reason, the kernel ends its workers (``PR_SET_PDEATHSIG``): granian's own
would live on and hold the port.
"""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import multiprocessing
import os
import resource
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops
from granian.server.mp import MPServer

from conveyor.errors import Conflict, InvalidInput, StorageFailed
from conveyor.operations.care.initialisation import initialise_store, planned_upstream
from conveyor.operations.care.opening import opener_of_node
from conveyor.operations.store.facts import reachable, remember_address
from conveyor.server.app import make_app
from conveyor.server.logs import AccessLog, configure_logs
from conveyor.server.receiving import reply_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from conveyor.operations.store.store import Store
    from conveyor.settings import StoreSettings, UpstreamSettings

BACKLOG = 1024
CONNECTIONS = 4096
"""Connections that each worker accepts; more wait. An idle one is closed after 30 s and costs little."""
STOP_SECONDS = 60
"""How long a worker may finish its requests before it is killed."""
HELD_SECONDS = 0.2
"""How long after its start a worker holds back signals that stop it."""

_PR_SET_PDEATHSIG = 1


def serve(settings: StoreSettings, *, when_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``when_ready`` is called with the URL once the server answers.

    Raises:
        StorageFailed: the store's folder or database cannot be used, or the workers cannot start.
        Conflict: the port is taken, the store belongs to a newer conveyor or would mirror itself.
        InvalidInput: the host is not an address of this machine.
    """
    # 1. the port; a start refused here or by the next line leaves no folder behind
    listener = listen(settings.host, settings.port)
    let_go_of_silent_clients(listener, settings.client_pause_seconds)
    host, port = listener.getsockname()[:2]
    settings = replace(settings, host=host, port=port)
    url = settings.served_url
    refuse_to_mirror_itself(planned_upstream(settings), host, port)
    # 2. the store, so that its errors are reported here, and once
    if settings.access_log:
        AccessLog.check(settings.access_log)
    initialise_store(settings)

    # 3. the workers, until a signal
    def ready(url: str) -> None:
        remember_address(settings.data, url)
        when_ready(url)

    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    multiprocessing.set_start_method("fork", force=True)
    os.register_at_fork(before=_hold_signals, after_in_parent=_hear_signals)
    server = StoreServer(listener, settings, partial(_announce, url, ready))
    try:
        loader = partial(_load, settings, os.getpid(), opener_of_node(settings))
        server.serve(target_loader=loader, wrap_loader=False)
    except SystemExit as ended:
        if ended.code:
            raise StorageFailed("the server's workers ended", hint="see the messages above") from ended


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 chooses a free one.

    Raises:
        Conflict: another process already listens there.
        InvalidInput: the host is not an address of this machine, or the port cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        if error.errno == 98:
            raise Conflict(
                f"port {port} on {host} is taken", hint="end the other server, or choose another --port"
            ) from error
        raise InvalidInput(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint="give an address of this machine as --host, and a port above 1023",
        ) from error
    return listener


def let_go_of_silent_clients(listener: socket.socket, pause_seconds: int) -> None:
    """Have the kernel end connections whose client is gone or accepts no data for so long.

    The server below would wait indefinitely, with an open file for each. Accepted sockets inherit the option;
    it applies while there is data to be sent (tcp(7), ``TCP_USER_TIMEOUT``).
    """
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, pause_seconds * 1000)


def refuse_to_mirror_itself(upstream: UpstreamSettings, host: str, port: int) -> None:
    """Raise Conflict when the store's upstream is the store itself, which would ask itself endlessly."""
    parts = urlsplit(upstream.url)
    if (parts.port or {"http": 80, "https": 443}.get(parts.scheme)) != port:
        return
    ours = {"localhost", "127.0.0.1", "::1", host, socket.gethostname(), socket.getfqdn()}
    if parts.hostname in ours:
        raise Conflict(
            f"this store would mirror itself: its upstream is {upstream.redacted_url}",
            hint="choose another --port, or start with an empty folder and another PIP_INDEX_URL",
        )


class StoreServer(MPServer):
    """granian's multi-process server on a socket that is already listening."""

    _ssp: Any
    _sso: Any
    _sfd: Any
    _shd: Any

    def __init__(
        self, listener: socket.socket, settings: StoreSettings, announce: Callable[[], None]
    ) -> None:
        super().__init__(
            target="conveyor",
            interface=Interfaces.ASGI,
            workers=settings.workers,
            loop=Loops.uvloop,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=CONNECTIONS,
            respawn_failed_workers=True,
            respawn_interval=0.1,
            workers_kill_timeout=STOP_SECONDS,
            log_enabled=False,
        )
        self._listener = listener
        self._announce = announce

    def signal_handler_reload(self, *arguments: object, **named: object) -> None:
        """On SIGHUP, replace the workers one by one, which reopens the access log after a rotation.

        If it comes from a closed terminal, stop instead: nobody is left who could stop the server.
        """
        if os.isatty(0):
            self.signal_handler_interrupt()  # type: ignore[no-untyped-call]  # granian's own
        else:
            super().signal_handler_reload(*arguments, **named)  # type: ignore[no-untyped-call]  # granian's own

    def _init_shared_socket(self) -> None:
        # As granian does itself where the kernel cannot balance several listeners: one socket, inherited.
        self._listener.set_inheritable(True)
        self._ssp = None
        self._sso = self._listener
        self._sfd = self._listener.fileno()
        holder: Any = SocketHolder  # its arguments are missing in granian's annotations
        self._shd = holder(self._sfd, False, BACKLOG)

    def _spawn_workers(self, spawn_target: object, target_loader: object) -> None:
        super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]  # granian's own
        # After the fork, so that no worker inherits a thread in the middle of something.
        threading.Thread(target=self._announce, daemon=True).start()


def _load(settings: StoreSettings, parent: int, opener: Callable[[], Store]) -> ASGIApp:
    """The start of a worker: tie its life to the parent's, then compose the application."""
    _die_with(parent)
    configure_logs()
    app = make_app(settings, opener=opener, when_started=_hear_signals_soon)
    reply_at_once(app)
    return app


def _hold_signals() -> None:
    """Block the signals that stop a process.

    A worker that has just started would miss them, and its parent would wait for it and then kill it. Before
    it sets its own handlers it has those of its parent, and then granian runs uvloop's loop twice, which
    loses signals that come in between.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)


def _hear_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


def _hear_signals_soon() -> None:
    """In a worker: unblock them when the loop runs for the second time, which is within milliseconds."""
    asyncio.get_running_loop().call_later(HELD_SECONDS, _hear_signals)


_STOPPING = {signal.SIGTERM, signal.SIGINT}


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def _announce(url: str, when_ready: Callable[[str], None]) -> None:
    """Wait until a request is answered, then call ``when_ready``."""
    parts = urlsplit(reachable(url))
    while True:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.request("GET", "/healthz", headers={"Connection": "close"})
            if connection.getresponse().status == 200:
                break
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    when_ready(url)
