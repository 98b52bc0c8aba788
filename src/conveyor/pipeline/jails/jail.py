"""A jail, opened: programs started in it run apart from this process, and none outlives the jail.

The keeper starts bubblewrap with the *agent* (``inside``) as its only program, and starts the others through
the agent's socket. So nothing foreign runs before the jail is whole and tied to the keeper's life; and
several programs, a service and the tests that talk to it, can share one.

The jail has ended when its first process has, which the kernel lets happen only when no other one is left in
it. That, and not the return of ``bwrap``, is what ``close`` waits for: what a program has written is read
after that. If the keeper is killed, the kernel ends the jail.
"""

from __future__ import annotations

import json
import marshal
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any, Self

from conveyor.errors import MissingTool, StepFailed
from conveyor.pipeline.jails import inside
from conveyor.pipeline.jails.inside import LENGTH_BYTES, exactly
from conveyor.pipeline.jails.limits import Group, control_group, exceeded, of_each_process, watched
from conveyor.pipeline.jails.view import (
    DOOR,
    DOOR_PORT,
    HOME,
    HOSTS,
    HOSTS_PORT,
    SHARED_MEMORY_BYTES,
    USER,
    View,
    arguments_of,
    folders_of_interpreter,
    identity_of,
    read_host,
    refuse_secrets,
    without_keys,
)
from conveyor.project.foreign import RUN, note_if_killed
from conveyor.settings import JobLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

UP_SECONDS = 30.0
FIRST_FURTHER = 3
_AGENT_SECONDS = 0.5
_LONGEST_MESSAGE = 64 * 1024
_NOT_INSIDE = {
    "TEMP", "TMP", "UV_CACHE_DIR", "XDG_CACHE_HOME",
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "all_proxy", "http_proxy", "https_proxy", "no_proxy",
}  # fmt: skip
"""Variables that name proxies of the machine, which no jail reaches, and folders of the keeper's: without
these, programs use their home and temporary folder."""

_PROXY = {
    **dict.fromkeys(("https_proxy", "HTTPS_PROXY"), f"http://127.0.0.1:{HOSTS_PORT}"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,::1"),
    "JAVA_TOOL_OPTIONS": f"-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={HOSTS_PORT}",  # Maven and others
}
"""Variables by which clients find the way to the hosts that the policy names."""


class Jail:
    """A place for foreign programs. Use ``with``, in the thread that opens it: it ends with that thread."""

    def __init__(
        self, scratch: Path, *, reads: Sequence[Path] = (), writes: Sequence[Path] = (),
        door: Path | None = None, hosts: Path | None = None, user: int | None = None,
        limits: JobLimits | None = None, secrets: Sequence[Path] = (), shares_proc: bool = False,
        marks: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._asked = (tuple(reads), tuple(writes), door, hosts, user)
        self._scratch = scratch
        self._limits = limits or JobLimits()
        self._secrets = tuple(secrets)
        self._shares_proc = shares_proc
        # Of bubblewrap itself: one whose keeper was killed while it started is found by them.
        self._marks = {**(marks or {}), "_CONVEYOR_JAILS": str(scratch)}
        self._spent: str | None = None
        self._stack = ExitStack()
        self._told: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self._number = 0
        self._sending = threading.Lock()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jail-", dir=self._scratch)))
            reads, writes, door, hosts, user = self._asked
            view = _view(
                folder, reads, writes, door=door, hosts=hosts, user=user,
                memory_bytes=self._limits.memory_bytes,
            )  # fmt: skip
            view = replace(view, shares_proc=self._shares_proc)
            refuse_secrets(view, self._secrets)
            group = stack.enter_context(control_group(f"conveyor-{folder.name}", self._limits))
            stack.callback(self._note_spent, group)
            folders = (*view.writes, view.home, view.temporary)
            first = self._open(view, group, stack)
            stack.enter_context(watched(folders, self._limits, group, first, self._stop))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        *,
        further: Sequence[int] = (),
    ) -> Program:
        """Start a program; ``further`` are descriptors that it inherits, from ``FIRST_FURTHER`` on.

        Raises:
            MissingTool: there is no such program in the jail.
        """
        self._number += 1
        number = self._number
        told = self._told[number] = SimpleQueue()
        reading, writing = os.pipe()
        try:
            self._send(
                {
                    "start": number, "command": list(command), "folder": str(folder),
                    "variables": {one: value for one, value in variables.items() if one not in _NOT_INSIDE}
                    | {"HOME": HOME, "TMPDIR": "/tmp"}  # noqa: S108 - of the jail
                    | (_PROXY if self._asked[3] is not None else {}),
                },
                (writing, *further),
            )  # fmt: skip
        except OSError:  # its agent is gone
            told.put({})
        finally:
            os.close(writing)
        first = told.get()
        if "started" not in first:
            os.close(reading)
            if "errno" not in first:
                note_if_killed(-signal.SIGKILL, "", variables.get(RUN))
            why = os.strerror(int(first["errno"])) if "errno" in first else "the jail has ended"
            raise MissingTool(f"{command[0]} cannot be run: {why}")
        return Program(self, number, told, os.fdopen(reading, encoding="utf-8", errors="replace"))

    def answers(self, *, port: int | None = None, path: Path | None = None) -> bool:
        """Whether something in the jail listens on a port of its loopback, or on a Unix socket."""
        self._number += 1
        number = self._number
        told = self._told[number] = SimpleQueue()
        self._send({"ask": number, **({"port": port} if port is not None else {"socket": str(path)})})
        return bool(told.get().get("answers"))

    def signal(self, number: int, which: int) -> None:
        """Send a signal to a program's session."""
        with suppress(OSError):
            self._send({"signal": number, "number": int(which)})

    @property
    def spent(self) -> str | None:
        """The limit that ended programs of the jail, as a sentence; ``None``: none did. Final once closed."""
        return self._spent

    def _stop(self, why: str) -> None:
        self._spent = why
        self._kill()

    def _note_spent(self, group: Group | None) -> None:
        if group is None or self._spent is not None:
            return
        if group.memory_kills():
            self._spent = exceeded("memory_bytes", self._limits)
        elif group.refused_processes():
            self._spent = exceeded("processes", self._limits)

    def _open(self, view: View, group: Group | None, stack: ExitStack) -> int | None:
        """Start bubblewrap and its agent; the number of the jail's first process, if it was told."""
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        words = arguments_of(view, read_host())
        listing = os.memfd_create("arguments")
        os.write(listing, b"".join(word.encode() + b"\0" for word in words))
        os.lseek(listing, 0, os.SEEK_SET)
        keys = _filter_of_calls()
        telling, told = os.pipe()
        errors = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))  # noqa: SIM115
        python = os.path.realpath(sys.executable)
        command = [python, "-I", "-S", inside.__file__, str(theirs.fileno())]
        for there, port, path in ((view.door, DOOR_PORT, DOOR), (view.hosts, HOSTS_PORT, HOSTS)):
            command += [str(port), path] if there is not None else []
        command = [*_become(view.user), *command]
        barred = [word for one in keys for word in ("--seccomp", str(one))]
        try:
            child = subprocess.Popen(
                ["bwrap", "--args", str(listing), "--info-fd", str(told), *barred, "--", *command],
                env={"PATH": os.defpath, **self._marks}, cwd="/",
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                pass_fds=(listing, told, theirs.fileno(), *keys), start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            os.close(telling)
            raise MissingTool("bwrap is not installed", hint="install bubblewrap") from error
        finally:
            theirs.close()
            for one in (listing, told, *keys):
                os.close(one)
        number, first = _first_process(telling)
        self._kill = partial(_kill, first)
        stack.callback(_end, child, first, ours)
        ours.settimeout(UP_SECONDS)
        self._keeper = ours
        if self._hear() is None:
            note_if_killed(child.wait(UP_SECONDS), "")
            errors.seek(0)
            raise StepFailed(
                f"no jail can be opened on this machine: {errors.read().strip()[-500:] or 'it ended at once'}"
            )
        ours.settimeout(None)
        if group is not None and number is not None:  # all there is of the jail: none of it is foreign yet
            group.add((child.pid, number, *_children(number)))
        try:
            self._send({"limits": of_each_process(self._limits, has_group=group is not None)})
        except OSError as error:
            note_if_killed(-signal.SIGKILL, "")
            raise StepFailed("a jail ended as soon as it was open") from error
        threading.Thread(target=self._listen, daemon=True).start()
        return number

    def _listen(self) -> None:
        """Pass each message on to whoever waits for it; at the end, tell all that the jail has ended."""
        with suppress(OSError):
            while (message := self._hear()) is not None:
                for key in ("started", "failed", "ended", "told"):
                    if key in message and message[key] in self._told:
                        self._told[message[key]].put(message)
        for told in list(self._told.values()):
            told.put({})

    def _hear(self) -> dict[str, Any] | None:
        head = exactly(self._keeper, LENGTH_BYTES)
        size = int.from_bytes(head, "big") if head is not None else 0
        body = exactly(self._keeper, size) if 0 < size <= _LONGEST_MESSAGE else None
        try:
            message = json.loads(body) if body is not None else None
        except ValueError:
            return None  # no agent says that: the jail counts as ended
        return message if isinstance(message, dict) else None

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        body = marshal.dumps(message)
        with self._sending:
            head = len(body).to_bytes(LENGTH_BYTES, "big")
            socket.send_fds(self._keeper, [head], list(descriptors))
            self._keeper.sendall(body)


class Program:
    """A program that was started in a jail; see ``project.foreign.Child``."""

    def __init__(self, jail: Jail, number: int, told: SimpleQueue[dict[str, Any]], output: IO[str]) -> None:
        self._jail, self._number, self._told = jail, number, told
        self.output = output
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; negative when a signal ended it, or its jail.

        Any number of threads may wait: the one that is told puts it back for the next.
        """
        if self._code is None:
            try:
                told = self._told.get(timeout=timeout)
            except Empty:
                raise TimeoutError from None
            self._told.put(told)
            if self._code is None:
                self._code = int(told.get("code", -signal.SIGKILL))
        return self._code

    def poll(self) -> int | None:
        """Its exit code; ``None`` while it runs."""
        with suppress(TimeoutError):
            return self.wait(0)
        return None

    def terminate(self) -> None:
        """Ask it, and whatever it started in its session, to end."""
        self._jail.signal(self._number, signal.SIGTERM)

    def end(self) -> str | None:
        """End its session; what has left it ends with the jail."""
        self._jail.signal(self._number, signal.SIGKILL)
        self.wait()
        return self._jail.spent


def _view(
    scratch: Path, reads: Sequence[Path], writes: Sequence[Path], *, door: Path | None,
    hosts: Path | None, user: int | None, memory_bytes: int,
) -> View:  # fmt: skip
    """What was asked for, the agent, and a home, a temporary folder and an identity that are made here."""
    for name in ("home", "tmp", "etc"):
        (scratch / name).mkdir()
    for name, content in identity_of(USER if user is None else user).items():
        (scratch / "etc" / name).write_text(content, encoding="utf-8")
    if user is not None:
        for name in ("home", "tmp"):
            os.chown(scratch / name, user, user)
    ours = (Path(inside.__file__), *folders_of_interpreter(Path(sys.executable)))
    return View(
        reads=(*dict.fromkeys((*reads, *ours)),), writes=tuple(writes), temporary=scratch / "tmp",
        home=scratch / "home", identity=scratch / "etc", door=door, hosts=hosts, user=user,
        shared_memory_bytes=min(SHARED_MEMORY_BYTES, memory_bytes),
    )  # fmt: skip


def _filter_of_calls() -> list[int]:
    """A descriptor of what keeps programs from the kernel's keys; none where the machine is not known."""
    content = without_keys(os.uname().machine)
    if content is None:
        return []
    found = os.memfd_create("filter")
    os.write(found, content)
    os.lseek(found, 0, os.SEEK_SET)
    return [found]


def _become(user: int | None) -> list[str]:
    """The words that make a program run as a user without any right of root's."""
    if user is None:
        return []
    setpriv = shutil.which("setpriv") or "/usr/bin/setpriv"
    return [
        setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all",
        "--inh-caps=-all", "--no-new-privs", "--",
    ]  # fmt: skip


def _first_process(telling: int) -> tuple[int | None, int | None]:
    """Number and descriptor of the first process of the jail; bubblewrap tells the number, in pieces."""
    said = b""
    with os.fdopen(telling, "rb", buffering=0) as told:
        while not said.rstrip().endswith(b"}"):
            piece = told.read(4096)
            if not piece:
                return None, None
            said += piece
    number = int(json.loads(said)["child-pid"])
    return number, os.pidfd_open(number)


def _children(process: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return [one for child in map(int, listed) for one in (child, *_children(child))]


def _kill(first: int | None) -> None:
    if first is not None:
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(first, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes], first: int | None, keeper: socket.socket) -> None:
    """End a jail and return when nothing lives in it.

    The agent is to end what it has started, since the kernel forgets the processor time of whoever is killed
    with the first process; something foreign may keep it from that, and then the jail is killed.
    """
    if first is not None:
        with suppress(OSError):  # it has ended by itself
            keeper.shutdown(socket.SHUT_WR)
        select.select([first], [], [], _AGENT_SECONDS)
        _kill(first)
        select.select([first], [], [])
        os.close(first)
    child.kill()
    child.wait()
