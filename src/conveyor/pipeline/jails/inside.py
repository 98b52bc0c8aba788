"""The agent of a jail: its first program, which starts the others there on the keeper's word.

A script for a bare interpreter (``-I -S``): it imports nothing but the standard library, and little of that,
because it starts with each jail. Its arguments are the descriptor of a socket to the keeper and, if the jail
has a door to the store, a port and the path of that door's socket.

Each message is a line of JSON after its length in four bytes, big-endian; descriptors ride on the length.

- ``{"start": ID, "command": [...], "variables": {...}, "folder": PATH}`` with the descriptor of its output,
  and of further ones that it inherits as 3, 4, ...; the reply is ``{"started": ID}``, or ``{"failed": ID,
  "error": TEXT}``; then, some time later, ``{"ended": ID, "code": N}``, negative for a signal
- ``{"signal": ID, "number": N}``: to the whole session of that program
- ``{"ask": ID, "port": N}`` or ``{"ask": ID, "socket": PATH}``: does something listen there?
  ``{"told": ID, "answers": true}``
- ``{"limits": {NAME: [SOFT, HARD]}}``: before the first start, resource limits; without a reply

The jail ends when the keeper hangs up: no program runs that no keeper has asked for.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from typing import Any

LENGTH = struct.Struct(">I")
_MOST_DESCRIPTORS = 8
_ABOVE = 16
_CHUNK_BYTES = 256 * 1024
_PATIENCE_SECONDS = 1.0


class Agent:
    """Starts programs and tells how they ended."""

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        self._telling = threading.Lock()
        self._pids: dict[int, int] = {}

    def serve(self) -> None:
        """Do what the keeper asks, until it hangs up."""
        self._tell({"up": os.getpid()})
        while (heard := self._hear()) is not None:
            message, descriptors = heard
            try:
                if "start" in message:
                    self._start(message, descriptors)
                elif "signal" in message:
                    self._signal(message)
                elif "ask" in message:
                    there = answers(message.get("port"), message.get("socket"))
                    self._tell({"told": message["ask"], "answers": there})
                elif "limits" in message:
                    for name, value in message["limits"].items():
                        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), tuple(value))
            finally:
                for one in descriptors:
                    os.close(one)
        self._end()

    def _end(self) -> None:
        """End what runs and wait for it: the kernel counts nobody's processor time that nobody waits for."""
        for pid in list(self._pids.values()):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        name = message["start"]
        # Moved above those that the program is to have, so that none is overwritten before it is passed on.
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for one in descriptors]
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        for one, target in zip((high[0], *high), (1, 2, *range(3, 2 + len(high))), strict=True):
            actions.append((os.POSIX_SPAWN_DUP2, one, target))
        try:
            os.chdir(message["folder"])
            pid = os.posix_spawn(
                _program(message["command"][0], message["variables"]), message["command"],
                message["variables"], file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE],
            )  # fmt: skip
        except OSError as error:
            self._tell({"failed": name, "error": error.strerror})
            return
        finally:
            for one in high:
                os.close(one)
        self._pids[name] = pid
        self._tell({"started": name})
        threading.Thread(target=self._wait, args=(name, pid), daemon=True).start()

    def _wait(self, name: int, pid: int) -> None:
        try:
            # Its number stays taken while it may be signalled.
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            del self._pids[name]
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:  # the jail ends, and has waited for it
            return
        self._tell({"ended": name, "code": os.waitstatus_to_exitcode(status)})

    def _signal(self, message: dict[str, Any]) -> None:
        pid = self._pids.get(message["signal"])
        if pid is not None:
            try:
                os.killpg(pid, message["number"])
            except ProcessLookupError:
                return

    def _tell(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode()
        with self._telling:
            try:
                self._keeper.sendall(LENGTH.pack(len(line)) + line)
            except BrokenPipeError:
                os._exit(0)

    def _hear(self) -> tuple[dict[str, Any], list[int]] | None:
        head, descriptors, _, _ = socket.recv_fds(self._keeper, LENGTH.size, _MOST_DESCRIPTORS)
        for one in descriptors:
            os.set_inheritable(one, False)
        rest = exactly(self._keeper, LENGTH.size - len(head)) if head else None
        if rest is None:
            return None
        body = exactly(self._keeper, *LENGTH.unpack(head + rest))
        return None if body is None else (json.loads(body), list(descriptors))


def _program(word: str, variables: dict[str, str]) -> str:
    """The path of a program, looked for on the ``PATH`` that it will have."""
    if "/" in word:
        return word
    for folder in variables.get("PATH", os.defpath).split(os.pathsep):
        path = f"{folder}/{word}"
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(2, os.strerror(2))


def exactly(connection: socket.socket, size: int) -> bytes | None:
    """So many bytes of a connection; ``None`` if it ends before."""
    parts = []
    while size:
        try:
            part = connection.recv(size)
        except ConnectionResetError:
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def answers(port: int | None, path: str | None) -> bool:
    """Whether something listens on a port of the loopback, or on a Unix socket."""
    try:
        if port is not None:
            with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS):
                return True
        # A socket's address holds 107 bytes at most, and the folder of a run may be longer.
        folder, name = os.path.split(str(path))
        at = os.open(folder, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_PATIENCE_SECONDS)
                connection.connect(f"/proc/self/fd/{at}/{name}")
                return True
        finally:
            os.close(at)
    except OSError:
        return False


def relay(port: int, door: str) -> None:
    """Carry each connection to the port of this jail's loopback on to the store's door."""
    listener = socket.create_server(("127.0.0.1", port), backlog=256)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_carry, args=(connection, door), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _carry(connection: socket.socket, door: str) -> None:
    with connection, socket.socket(socket.AF_UNIX) as store:
        try:
            store.connect(door)
        except OSError:  # the keeper is gone, and soon this jail
            return
        back = threading.Thread(target=_pump, args=(store, connection), daemon=True)
        back.start()
        _pump(connection, store)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


if __name__ == "__main__":
    os.umask(0o022)
    os.set_inheritable(int(sys.argv[1]), False)
    if len(sys.argv) > 2:
        relay(int(sys.argv[2]), sys.argv[3])
    Agent(socket.socket(fileno=int(sys.argv[1]))).serve()
    os._exit(0)
