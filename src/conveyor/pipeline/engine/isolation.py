"""Isolation: children of a job are kept apart from the worker, and none outlives it.

Everything that a project brings runs in a *jail* (``jails``), where it sees neither the worker nor another
run, and reaches nothing but the store. On a machine that cannot isolate it runs as the worker's user in a
session of its own (``project.foreign``), with clean variables, its own home and temporary folder, and limits.

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
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.releases.evidence import Making
from conveyor.domain.runs.repositories import Reach
from conveyor.domain.words.notation import utc_text
from conveyor.pipeline.engine import watchdog
from conveyor.pipeline.engine.remotes import remote, submodule
from conveyor.pipeline.jails.door import Door
from conveyor.pipeline.jails.wall import Bubblewrap, run_user, why_not
from conveyor.project.foreign import RUN, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conveyor.domain.releases.evidence import Isolation
    from conveyor.project.git import Remote
    from conveyor.settings import JobLimits

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

    def making(self) -> Making:
        """When, in which run, for which store and how isolated a fact is found out here and now."""
        isolation: Isolation = "degraded" if self.wall is None else "jail"
        return Making(utc_text(datetime.now(UTC)), isolation, self.run, self.store)

    def remote(self, repository: str) -> Remote:
        """A repository as the keeper's git reaches it; raises as ``remotes.remote``."""
        return remote(repository, self.reach, self.keyring)

    def submodule(self, url: str, superproject: str) -> Remote:
        """A submodule's repository as the keeper's git reaches it; raises as ``remotes.submodule``."""
        return submodule(url, superproject, self.reach, self.keyring)

    def fresh(self, name: str) -> Path:
        """Make an empty folder of that name; anything that an interrupted attempt left in it is removed."""
        folder = self.folder / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    def variables(self) -> dict[str, str]:
        """Variables of children on top of the clean ones: a home, a temporary folder, caches and the mark."""
        home, temporary = self.folder / "home", self.folder / "tmp"
        for each in (home, temporary, self.cache):
            each.mkdir(parents=True, exist_ok=True)
        variables = {
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "UV_CACHE_DIR": str(self.cache / "uv"),
            "UV_LINK_MODE": "copy",  # also for uv as a child calls it: runs share the cache, not its files
            "XDG_CACHE_HOME": str(home / ".cache"),
            RUN: self.folder.name,
        }
        return variables | ({watchdog.MARK: self.executor} if self.executor else {})

    def around(
        self, index_url: str | None = None, on_line: Callable[[str], None] | None = None
    ) -> Surroundings:
        """What the programs of a job have in common that are resolved against an index."""
        return Surroundings(self.variables(), index_url, on_line, self.wall)

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
    place: Workplace, store_url: str, secrets: Sequence[Path], say: Callable[[str], None],
    limits: JobLimits,
) -> Iterator[Workplace]:  # fmt: skip
    """The workplace with a wall until the end of the block; without one where this machine cannot isolate.

    Args:
        place: where the jobs of one run work.
        store_url: the store that jails reach through their door, without a last slash.
        secrets: the worker's own files, which no jail may show; its caches are among them anyway.
        say: told why there is no wall.
        limits: the bounds of each jail.
    """
    reason = why_not()
    if reason is not None:
        say(f"jobs run without isolation: {reason}")
        yield place
        return
    os.umask(0o022)  # the user of the jails reads what is made here
    # A socket's address holds 107 bytes at most, and the folder of a run may be longer.
    with (
        run_user(USERS) as user,
        tempfile.TemporaryDirectory(prefix="conveyor-door-") as folder,
        Door(Path(folder), store_url) as door,
    ):
        wall = Bubblewrap(
            place.folder / "jails", user=user, door=door.path, store_url=store_url,
            limits=limits, secrets=(place.cache, *secrets),
        )  # fmt: skip
        yield replace(place, wall=wall)


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
