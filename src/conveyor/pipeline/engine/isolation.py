"""Isolation: children of a job are kept apart from the worker, and none outlives it.

Everything that a project brings runs in a *jail* (``jails``), where it sees neither the worker nor another
run, and reaches nothing but the store and, while it builds, the hosts that the policy names. On a machine
that cannot isolate it runs as the worker's user in a session of its own (``project.foreign``), with clean
variables, its own home and temporary folder, and limits.

Children that are not in a jail carry their executor's id in their environment: when the executor dies, a
*watchdog* finds the remaining ones by that mark and ends them. The watchdog is a tiny process that waits for
the executor's end of a pipe to close; the kernel closes it on any death, ``kill -9`` included. A child that
clears its environment escapes the mark.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conveyor.domain.releases.evidence import Making
from conveyor.domain.runs.repositories import Reach
from conveyor.domain.words.notation import utc_text
from conveyor.pipeline.engine import watchdog
from conveyor.pipeline.engine.lfs import bring_lfs
from conveyor.pipeline.engine.remotes import remote, submodule
from conveyor.pipeline.jails.door import Door
from conveyor.pipeline.jails.hosts import HostsDoor
from conveyor.pipeline.jails.wall import Bubblewrap, means, run_user
from conveyor.project.foreign import RUN, Surroundings
from conveyor.project.submodules import bring_submodules
from conveyor.project.taking import refuse_links_out
from conveyor.settings import JobGrants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conveyor.domain.releases.evidence import Isolation
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.project.git import Remote
    from conveyor.settings import JobLimits

LARGEST_HOSTS_LOG = 2**20
"""Bytes, for a run."""
USERS = Path("/run/conveyor/users")
"""Where a root's workers on this machine note which users their runs have taken."""


@dataclass(frozen=True)
class Workplace:
    """The folder in which the jobs of one run work, and the variables of their children."""

    folder: Path
    """The run's own folder; its content may be deleted when the run has ended."""
    cache: Path
    """The worker's caches, shared by its runs so that a file is fetched once."""
    executor: str | None = None
    """The executor whose mark the children carry; ``None`` if no engine takes work over."""
    wall: Bubblewrap | None = None
    """The wall around jobs; ``None``: this machine cannot isolate, or the run is not to be."""
    run: int | None = None
    """The run's number in the store; ``None`` if the store has none, as for a job on a CI host."""

    reach: Reach = field(default_factory=Reach)
    """The repositories that the run may read."""
    keyring: Path | None = None
    """The folder of the credentials of repositories, if the worker has any."""
    told: Callable[[str], str] = str
    """What is written down of a text: the store by its public URL (``Keeper.told``)."""
    store: str | None = None
    """The store's public URL; ``None``: as far as is known, it has none."""
    output: Callable[[str, str], None] | None = None
    """Called with each line of a log and the log's name; ``None``: nobody looks on."""
    private_index: str | None = None
    """The index that the run enters, if it is private; ``None``: everybody may read what the run reads."""
    netrc: Path | None = None
    """The token of a run into a private index, for the keeper's own installers."""
    grants: JobGrants = field(default_factory=JobGrants)
    """What the operator of this worker gives to jobs."""

    def making(self) -> Making:
        """When, in which run, for which store and how isolated a fact is found out here and now."""
        return Making(utc_text(datetime.now(UTC)), self.isolation, self.run, self.store)

    @property
    def isolation(self) -> Isolation:
        """The kind of jail that holds the programs of the project, as evidence says it."""
        return "degraded" if self.wall is None else self.wall.kind

    def remote(self, repository: str) -> Remote:
        """A repository as the keeper's git reaches it; raises as ``remotes.remote``."""
        return remote(repository, self.reach, self.keyring)

    def complete(self, clone: Path, repository: str, *, name: str) -> None:
        """Bring into a fresh clone what git leaves out: files of Git LFS and submodules that may be read.

        The logs ``NAME lfs`` and ``NAME submodules`` say which stay away, and why.

        Raises:
            ProjectError: a link in it, or in one of its submodules, leads out of the clone; nothing of it has
                been read then.
        """
        refuse_links_out(clone)
        for what, notes in (
            ("lfs", bring_lfs(clone, repository, self.reach, self.keyring)),
            ("submodules", bring_submodules(clone, repository, self._submodule)),
        ):
            if notes:
                with self.log(f"{name} {what}") as write:
                    for note in notes:
                        write(f"left out: {note}")
        if (clone / ".gitmodules").exists():
            refuse_links_out(clone)

    def _submodule(self, url: str, superproject: str) -> Remote:
        return submodule(url, superproject, self.reach, self.keyring)

    def open_hosts(self, hosts: Sequence[str]) -> None:
        """Let builds reach these hosts, as the policy names them; the log ``hosts`` tells of each attempt."""
        if self.wall is not None and self.wall.hosts is not None:
            self.wall.hosts.hosts = tuple(hosts)

    def fresh(self, name: str) -> Path:
        """Make an empty folder of that name; anything that an interrupted attempt left in it is removed."""
        folder = self.folder / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    @property
    def uv_cache(self) -> Path:
        """The cache of the keeper's own uv: its own for each private index.

        A run names by digest what is installed for it, so that out of a shared one it would get what it may
        not read.
        """
        own = f"-{self.private_index.replace('/', '+')}" if self.private_index is not None else ""
        return self.cache / f"uv{own}"

    def variables(self) -> dict[str, str]:
        """Variables of children on top of the clean ones: a home, a temporary folder, caches and the mark."""
        home, temporary = self.folder / "home", self.folder / "tmp"
        for each in (home, temporary, self.cache):
            each.mkdir(parents=True, exist_ok=True)
        variables = {
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "UV_CACHE_DIR": str(self.uv_cache),
            "UV_LINK_MODE": "copy",  # also for uv as a child calls it: runs share the cache, not its files
            "XDG_CACHE_HOME": str(home / ".cache"),
            RUN: self.folder.name,
        }
        return variables | self.marks()

    def marks(self) -> dict[str, str]:
        """The variable by which the watchdog finds what the run has started."""
        return {watchdog.MARK: self.executor} if self.executor else {}

    def around(
        self, index_url: str | None = None, on_line: Callable[[str], None] | None = None
    ) -> Surroundings:
        """What the programs of a job have in common that are resolved against an index."""
        return Surroundings(self.variables(), index_url, on_line, self.wall, netrc=self.netrc)

    def report(self, name: str) -> Path:
        """The path of a file that is kept: ``logs/NAME`` without spaces; a slash in it begins a folder."""
        path = self.folder / "logs" / name.replace(" ", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def read_log(self, name: str) -> str:
        """What ``log`` has written under that name; empty if it was never called."""
        path = self.report(f"{name}.log")
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @contextmanager
    def log(self, name: str) -> Iterator[Callable[[str], None]]:
        """Yield a function that writes each line to ``logs/NAME.log`` at once; each attempt empties it."""
        with self.report(f"{name}.log").open("w", encoding="utf-8", buffering=1) as file:

            def write(line: str) -> None:
                told = self.told(line)
                print(told, file=file)
                if self.output is not None:
                    self.output(name, told)

            yield write


@contextmanager
def isolated(
    place: Workplace, worker: Keeper, secrets: Sequence[Path], say: Callable[[str], None],
    limits: JobLimits,
) -> Iterator[Workplace]:  # fmt: skip
    """The workplace with a wall until the end of the block; without one where this machine cannot isolate.

    Args:
        place: where the jobs of one run work.
        worker: the worker with the token of the run, which the keeper's end of the door adds where the store
            asks for one.
        secrets: the worker's own files, which no jail may show; its caches are among them anyway.
        say: told why there is no wall.
        limits: the bounds of each jail.
    """
    # A socket's address holds 107 bytes at most, and the folder of a run may be longer.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conveyor-door-")))
        if worker.is_private:
            place = replace(place, private_index=worker.index, netrc=_write_netrc(folder / "netrc", worker))
        found = means()
        if found.kind != "jail":
            how = (
                "without isolation"
                if found.kind == "degraded"
                else "in jails that show this container's /proc"
            )
            say(f"jobs run {how}: {found.lacking}")
        if found.kind == "degraded":
            yield place
            return
        os.umask(0o022)  # the user of the jails reads what is made here
        token = worker.token if worker.is_private else None
        user = stack.enter_context(run_user(USERS))
        door = stack.enter_context(Door(folder, worker.store_url, token=token))
        hosts = stack.enter_context(HostsDoor(folder, partial(_append, place.report("hosts.log"))))
        wall = Bubblewrap(
            place.folder / "jails", user=user, door=door.path, hosts=hosts, store_url=worker.store_url,
            limits=limits, kind=found.kind, marks=place.marks(),
            secrets=(place.cache, folder / "netrc", *secrets),
        )  # fmt: skip
        yield replace(place, wall=wall)


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        if file.tell() < LARGEST_HOSTS_LOG:  # a jail can ask without end
            file.write(f"{line}\n")
            if file.tell() >= LARGEST_HOSTS_LOG:
                file.write("further attempts are not noted\n")


def _write_netrc(path: Path, worker: Keeper) -> Path:
    """The token of a run, for the host of its store, as uv reads it: on no command line and in no log."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    host = urlsplit(worker.store_url).hostname
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"machine {host} login __token__ password {worker.token}\n")
    return path


@contextmanager
def watched(executor: str) -> Iterator[None]:
    """Leave no child of ``executor`` behind at the end of the block, nor when this process is killed."""
    command = [sys.executable, "-I", "-S", str(Path(watchdog.__file__)), executor]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/", env={"PATH": os.defpath},
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            assert process.stdin is not None  # noqa: S101 - a pipe was asked for
            process.stdin.close()
            process.wait()
