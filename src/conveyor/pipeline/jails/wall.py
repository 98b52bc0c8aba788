"""The wall around what a run starts: a jail for each program, or one for several that must meet.

What is behind it is decided per program, by its ``Sight``: the interpreter it is started with, what it reads
and what it writes. The worker's own files are refused as any of these.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from conveyor.errors import MissingTool, StepFailed, StorageFailed
from conveyor.pipeline.jails.jail import FIRST_FURTHER, Jail, Program
from conveyor.pipeline.jails.limits import exceeded, suspected
from conveyor.pipeline.jails.view import DOOR_PORT, folders_of_interpreter
from conveyor.project.foreign import CERTIFICATES, HANDED
from conveyor.settings import JobLimits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conveyor.domain.releases.evidence import Isolation
    from conveyor.pipeline.jails.hosts import HostsDoor
    from conveyor.project.foreign import Child, Sight

_STORE_INSIDE = f"http://127.0.0.1:{DOOR_PORT}"
FIRST_USER = 0x43_00_00_00
"""The first of the numbers that jails of a root's worker run as; no system hands out numbers there."""
USERS = 4096
KINDS: tuple[Isolation, ...] = ("jail", "shared-proc")
"""Kinds of jails, the best first."""


@dataclass(frozen=True)
class Bubblewrap:
    """A wall: every program gets a jail of its own; see ``project.foreign.Wall``."""

    scratch: Path
    """Where the folders of jails are made."""
    user: int | None = None
    """The user that jails run as, of a worker that is root; see ``run_user``."""
    door: Path | None = field(default=None, repr=False)
    """The socket of the door to the store."""
    hosts: HostsDoor | None = field(default=None, repr=False)
    """The way to the hosts that the policy names for builds; ``None``: there is none."""
    store_url: str | None = None
    """The store's address as the keeper reaches it, without a last slash."""
    limits: JobLimits = field(default_factory=JobLimits)
    secrets: tuple[Path, ...] = ()
    """Files and folders of the worker's own, which no jail may show."""
    kind: Isolation = "jail"
    """The kind of its jails."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """Variables by which a watchdog finds what belongs to this worker."""

    @property
    def uv_cache(self) -> Path:
        """The cache of the jails of one run: what one of them leaves there, no other run sees."""
        return self.scratch / "uv"

    def inward(self, text: str) -> str:
        """A text with the store's address as it is in a jail, where the door is."""
        return text if self.store_url is None else text.replace(f"{self.store_url}/", f"{_STORE_INSIDE}/")

    def outward(self, text: str) -> str:
        """A text of a jail with the store's address as the keeper reaches it."""
        return text if self.store_url is None else text.replace(f"{_STORE_INSIDE}/", f"{self.store_url}/")

    def path_in_store(self, url: str) -> str | None:
        """What stands behind the store's address in a URL as the keeper reaches it, from the slash on."""
        is_of_store = self.store_url is not None and url.startswith(f"{self.store_url}/")
        return url.removeprefix(str(self.store_url)) if is_of_store else None

    @property
    def longest_output(self) -> tuple[int, str]:
        """How much one program may write, in characters, and the sentence about one that wrote more."""
        return self.limits.log_bytes, exceeded("log_bytes", self.limits)

    def suspected(self, return_code: int, output: str) -> str | None:
        """The limit that may have made a program fail, as far as its own last words tell."""
        return suspected(return_code, output, self.limits)

    def start(self, command: Sequence[str], sight: Sight, folder: Path | None) -> Child:
        """Start a program in a jail of its own, which ends with it."""
        jail = self.opened(sight, folder, command[0])
        try:
            program = _started(jail, command, sight, folder)
        except BaseException:
            jail.__exit__(None, None, None)
            raise
        return _Alone(jail, program)

    def opened(self, sight: Sight, folder: Path | None, program: str = "") -> Jail:
        """Open a jail that shows what a program may see; to be closed by the same thread."""
        reads = [path.absolute() for path in sight.reads]
        started = [Path(program), *(path for path in reads if not path.is_dir())]
        for python in (*started, *(path / "bin" / "python" for path in reads)):
            if python.is_absolute():
                reads += folders_of_interpreter(python)
        writes = [path.absolute() for path in (*sight.writes, *((folder,) if folder is not None else ()))]
        outward = self.hosts if sight.is_build and self.hosts is not None and self.hosts.hosts else None
        if outward is not None:  # what this machine trusts besides, where its variables say so
            named = (Path(sight.variables[one]) for one in CERTIFICATES if one in sight.variables)
            reads += [path.absolute() for path in named if path.exists()]
        self.uv_cache.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            for path in writes:
                hand_over(path, self.user)
        jail = Jail(
            self.scratch, reads=[*dict.fromkeys(reads)], writes=[*dict.fromkeys(writes)], door=self.door,
            hosts=outward.path if outward is not None else None, user=self.user, limits=self.limits,
            secrets=self.secrets, shares_proc=self.kind == "shared-proc", marks=self.marks,
        )  # fmt: skip
        return jail.__enter__()

    @contextmanager
    def shared(self, sight: Sight, folder: Path) -> Iterator[Shared]:
        """A jail for several programs, until the end of the block; it shows what ``sight`` names."""
        jail = self.opened(sight, folder)
        try:
            yield Shared(jail, self)
        finally:
            jail.__exit__(None, None, None)


@dataclass(frozen=True)
class Shared:
    """A jail that is open, as a wall: what is started behind it meets there."""

    jail: Jail
    outer: Bubblewrap

    @property
    def uv_cache(self) -> Path:
        """As ``Bubblewrap`` has it."""
        return self.outer.uv_cache

    def inward(self, text: str) -> str:
        """As ``Bubblewrap`` has it."""
        return self.outer.inward(text)

    def outward(self, text: str) -> str:
        """As ``Bubblewrap`` has it."""
        return self.outer.outward(text)

    def path_in_store(self, url: str) -> str | None:
        """As ``Bubblewrap`` has it."""
        return self.outer.path_in_store(url)

    @property
    def longest_output(self) -> tuple[int, str]:
        """As ``Bubblewrap`` has it."""
        return self.outer.longest_output

    def suspected(self, return_code: int, output: str) -> str | None:
        """As ``Bubblewrap`` has it."""
        return self.outer.suspected(return_code, output)

    def start(self, command: Sequence[str], sight: Sight, folder: Path | None) -> Child:
        """Start a program in the jail, whatever else its ``Sight`` names."""
        return _started(self.jail, command, sight, folder)

    def answers(self, port: int | None, path: Path | None) -> bool:
        """Whether something in the jail listens on a port of its loopback, or on a Unix socket."""
        return self.jail.answers(port=port, path=path)


def _started(jail: Jail, command: Sequence[str], sight: Sight, folder: Path | None) -> Program:
    where = folder or Path("/tmp")  # noqa: S108 - of the jail
    if sight.hands is None:
        return jail.start(command, sight.variables, where)
    variables = {**sight.variables, HANDED: str(FIRST_FURTHER)}
    return jail.start(command, variables, where, further=(sight.hands,))


class _Alone:
    """The only program of a jail, which ends with it."""

    def __init__(self, jail: Jail, program: Program) -> None:
        self._jail, self._program = jail, program
        self.output: IO[str] = program.output

    def poll(self) -> int | None:
        return self._program.poll()

    def wait(self, timeout: float | None = None) -> int:
        return self._program.wait(timeout)

    def terminate(self) -> None:
        self._program.terminate()

    def end(self) -> str | None:
        self._jail.__exit__(None, None, None)
        return self._jail.spent


@dataclass(frozen=True)
class Means:
    """How this machine can isolate."""

    kind: Isolation
    """As evidence says it; ``degraded``: not at all."""
    lacking: str | None
    """Why not better, as a sentence; ``None``: nothing is lacking."""


@lru_cache
def means() -> Means:
    """The best kind of jail that can be opened here: a whole one; one with the container's ``/proc``; none.

    In a container whose engine covers parts of ``/proc`` the kernel refuses an ordinary user another one. A
    jail without processes of its own could be opened nowhere else, and what it starts could outlive it.
    """
    user = FIRST_USER + USERS if os.geteuid() == 0 else None
    lacking = None
    with tempfile.TemporaryDirectory(prefix="conveyor-probe-") as scratch:
        for kind in KINDS:
            try:
                with Jail(Path(scratch), user=user, shares_proc=kind == "shared-proc"):
                    return Means(kind, lacking)
            except (MissingTool, StepFailed) as error:
                lacking = lacking or error.message
            except PermissionError as error:  # a root of a container, without the rights that make it one
                lacking = lacking or (
                    f"root may not do here what jails take ({error.strerror}); let the worker be another user"
                )
    return Means("degraded", lacking)


@contextmanager
def run_user(locks: Path) -> Iterator[int | None]:
    """A user for the jails of one run that no other run of this machine's worker has meanwhile.

    Yields ``None`` unless this process is root.

    Args:
        locks: a folder for the files that say which numbers are taken.

    Raises:
        StorageFailed: all are.
    """
    if os.geteuid() != 0:
        yield None
        return
    locks.mkdir(parents=True, exist_ok=True)
    for number in range(FIRST_USER, FIRST_USER + USERS):
        held = os.open(locks / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            continue
        try:
            yield number
        finally:
            os.close(held)
        return
    raise StorageFailed(f"{USERS} runs are under way on this machine", hint="wait until one has ended")


def hand_over(path: Path, user: int) -> None:
    """Make a user the owner of a file or folder and of all that is in it; links are not followed.

    What belongs to that user already is left alone: a program of the user's may be at work in it, and could
    put a link where this looked for a folder.

    A file that has other names elsewhere (git links the objects of a clone) becomes a copy of its own first.
    """
    left = [path] if path.lstat().st_uid != user else []
    while left:
        at = left.pop()
        found = at.lstat()
        if stat.S_ISDIR(found.st_mode):
            left += at.iterdir()
        elif stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and found.st_uid != user:
            own = at.with_name(f"{at.name}.own")
            shutil.copy2(at, own)
            own.replace(at)
        if found.st_uid != user:
            os.chown(at, user, user, follow_symlinks=False)
