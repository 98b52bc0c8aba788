"""The agent of a jail: its first program, which starts the others there on the keeper's word.

A script for a bare interpreter (``-I -S``). It starts with each jail, so it imports nothing that takes longer
than the interpreter itself: modules of C in place of ``socket`` and ``threading``, and no ``json``. Its
arguments are the descriptor of a socket to the keeper and, for each way out of the jail, a port and the path
of the socket behind it.

Each message comes after its length in four bytes, big-endian; descriptors ride on the length. The keeper
writes them by ``marshal``, since the agent trusts it; the agent writes JSON, since what comes out of a jail
is not to be trusted.

- ``{"start": ID, "command": [...], "variables": {...}, "folder": PATH}`` with the descriptor of its output,
  and of further ones that it inherits as 3, 4, ...; the reply is ``{"started": ID}``, or ``{"failed": ID,
  "errno": N}``; then, some time later, ``{"ended": ID, "code": N}``, negative for a signal
- ``{"signal": ID, "number": N}``: to the whole session of that program
- ``{"ask": ID, "port": N}`` or ``{"ask": ID, "socket": PATH}``: does something listen there?
  ``{"told": ID, "answers": 1}``, or 0
- ``{"limits": {NAME: [SOFT, HARD]}}``: before the first start, resource limits; without a reply

The jail ends when the keeper hangs up: no program runs that no keeper has asked for.
"""

from __future__ import annotations

import _socket
import _thread
import errno
import fcntl
import marshal
import os
import resource
import sys

TYPE_CHECKING = False  # typing takes longer than all of the above
if TYPE_CHECKING:
    from typing import Any

LENGTH_BYTES = 4
_DESCRIPTOR_BYTES = 4
_MOST_DESCRIPTORS = 8
_ABOVE = 16
_CHUNK_BYTES = 256 * 1024
_PATIENCE_SECONDS = 1.0
_KILL, _PIPE = 9, 13
"""Numbers of signals, signal(7); the module of that name makes enumerations first."""
_SET_DUMPABLE = 4
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_JOIN_SESSION_KEYRING = 1


class Agent:
    """Starts programs and tells how they ended."""

    def __init__(self, keeper: _socket.socket) -> None:
        self._keeper = keeper
        self._telling = _thread.allocate_lock()
        self._pids: dict[int, int] = {}

    def serve(self) -> None:
        """Do what the keeper asks, until it hangs up."""
        self._tell(up=os.getpid())
        while (heard := self._hear()) is not None:
            message, descriptors = heard
            try:
                if "start" in message:
                    self._start(message, descriptors)
                elif "signal" in message:
                    self._signal(message)
                elif "ask" in message:
                    there = answers(message.get("port"), message.get("socket"))
                    self._tell(told=message["ask"], answers=int(there))
                elif "limits" in message:
                    for name, value in message["limits"].items():
                        _limit(getattr(resource, f"RLIMIT_{name}"), *value)
            finally:
                for one in descriptors:
                    os.close(one)
        self._end()

    def _end(self) -> None:
        """End what runs and wait for it: the kernel counts nobody's processor time that nobody waits for."""
        for pid in list(self._pids.values()):
            _signal_session(pid, _KILL)
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            return

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
                message["variables"], file_actions=actions, setsid=True, setsigdef=[_PIPE],
            )  # fmt: skip
        except OSError as error:
            self._tell(failed=name, errno=error.errno or errno.ENOENT)
            return
        finally:
            for one in high:
                os.close(one)
        self._pids[name] = pid
        self._tell(started=name)
        _thread.start_new_thread(self._wait, (name, pid))

    def _wait(self, name: int, pid: int) -> None:
        try:
            # Its number stays taken while it may be signalled.
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            del self._pids[name]
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:  # the jail ends, and has waited for it
            return
        self._tell(ended=name, code=os.waitstatus_to_exitcode(status))

    def _signal(self, message: dict[str, Any]) -> None:
        pid = self._pids.get(message["signal"])
        if pid is not None:
            _signal_session(pid, message["number"])

    def _tell(self, **numbers: int) -> None:
        line = b"{%s}" % ", ".join(f'"{name}": {number}' for name, number in numbers.items()).encode()
        with self._telling:
            try:
                self._keeper.sendall(len(line).to_bytes(LENGTH_BYTES, "big") + line)
            except BrokenPipeError:
                os._exit(0)

    def _hear(self) -> tuple[dict[str, Any], list[int]] | None:
        space = _socket.CMSG_LEN(_MOST_DESCRIPTORS * _DESCRIPTOR_BYTES)
        head, riding, _, _ = self._keeper.recvmsg(LENGTH_BYTES, space)
        descriptors = [
            int.from_bytes(data[at : at + _DESCRIPTOR_BYTES], sys.byteorder)
            for _, kind, data in riding
            if kind == _socket.SCM_RIGHTS
            for at in range(0, len(data), _DESCRIPTOR_BYTES)
        ]
        for one in descriptors:
            os.set_inheritable(one, False)
        rest = exactly(self._keeper, LENGTH_BYTES - len(head)) if head else None
        if rest is None:
            return None
        body = exactly(self._keeper, int.from_bytes(head + rest, "big"))
        return None if body is None else (marshal.loads(body), descriptors)  # noqa: S302 - of the keeper


def _limit(which: int, soft: int, hard: int) -> None:
    """Set a resource limit, or what this machine allows if that is less: more is refused (getrlimit(2))."""
    _, most = resource.getrlimit(which)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(which, (soft, hard))


def _signal_session(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _program(word: str, variables: dict[str, str]) -> str:
    """The path of a program, looked for on the ``PATH`` that it will have."""
    if "/" in word:
        return word
    for folder in variables.get("PATH", os.defpath).split(os.pathsep):
        path = f"{folder}/{word}"
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def exactly(connection: _socket.socket, size: int) -> bytes | None:
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
    if port is not None:
        return _listens(_socket.AF_INET, ("127.0.0.1", port))
    # A socket's address holds 107 bytes at most, and the folder of a run may be longer.
    folder, name = os.path.split(str(path))
    try:
        at = os.open(folder, os.O_PATH)
    except OSError:
        return False
    try:
        return _listens(_socket.AF_UNIX, f"/proc/self/fd/{at}/{name}")
    finally:
        os.close(at)


def _listens(family: int, address: str | tuple[str, int]) -> bool:
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_PATIENCE_SECONDS)
        connection.connect(address)
    except OSError:
        return False
    finally:
        connection.close()
    return True


def relay(port: int, door: str) -> None:
    """Carry each connection to the port of this jail's loopback on to a socket of the keeper's."""
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(256)

    def accept() -> None:
        while True:
            number, _ = listener._accept()  # type: ignore[attr-defined]
            _thread.start_new_thread(_carry, (_socket.socket(fileno=number), door))

    _thread.start_new_thread(accept, ())


def _carry(connection: _socket.socket, door: str) -> None:
    store = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        store.connect(door)
        is_answered = _thread.allocate_lock()
        is_answered.acquire()
        _thread.start_new_thread(_pump, (store, connection, is_answered))
        _pump(connection, store)
        is_answered.acquire()
    except OSError:  # the keeper is gone, and soon this jail
        return
    finally:
        connection.close()
        store.close()


def _pump(source: _socket.socket, target: _socket.socket, done: _thread.LockType | None = None) -> None:
    try:
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
        target.shutdown(_socket.SHUT_WR)
    except OSError:
        return
    finally:
        if done is not None:
            done.release()


def close_to_others() -> None:
    """Keep the programs of the jail, which run as the same user, from tracing this one (prctl(2)).

    They could speak to the keeper in its place. And leave the keeper's keyring (keyctl(2)), which every
    program inherits, for an empty one. The module ``ctypes`` takes longer than all else here.
    """
    import _ctypes

    here = _ctypes.dlopen(None, 0)  # type: ignore[arg-type] # as ctypes does
    _ctypes.call_cdeclfunction(_ctypes.dlsym(here, "prctl"), (_SET_DUMPABLE, 0, 0, 0, 0))
    keyctl = _KEYCTL.get(os.uname().machine)
    if keyctl is not None:  # a kernel without keys refuses it, and has none to lose
        _ctypes.call_cdeclfunction(_ctypes.dlsym(here, "syscall"), (keyctl, _JOIN_SESSION_KEYRING, None))


if __name__ == "__main__":
    close_to_others()
    os.umask(0o022)
    os.set_inheritable(int(sys.argv[1]), False)
    for port, socket_path in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        relay(int(port), socket_path)
    Agent(_socket.socket(fileno=int(sys.argv[1]))).serve()
    os._exit(0)
