"""Places where a worker may run: as root, as an ordinary user, and in a container; each is a command's words.

The container is one of bubblewrap's: namespaces of its own and a ``/proc`` of which parts are covered, as
container engines make it. In such a place an ordinary user cannot mount a ``/proc`` of a jail's own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import conveyor

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT, USER, CONTAINER = "root", "user", "user in a container"
NOBODYS = 0x42_00_00_01
"""A user that no system has."""
PLACES = (ROOT, USER, CONTAINER) if os.geteuid() == 0 else (USER, CONTAINER)


def words_for(place: str) -> list[str]:
    """The words before a command that put it into a place."""
    if place == ROOT or (place == USER and os.geteuid() != 0):
        return []
    words = ["bwrap", "--dev-bind", "/", "/"]
    if place == CONTAINER:
        words += ["--unshare-pid", "--unshare-ipc", "--proc", "/proc"]
    if os.geteuid() != 0:
        return [*words, "--"]
    # What the worker is made of may lie where only root looks.
    needed = {Path(sys.executable).parent.parent, Path(os.path.realpath(sys.executable)).parent.parent}
    needed |= {Path(conveyor.__file__).parent.parent, Path(__file__).parent.parent}
    closed = {parent for one in needed for parent in one.parents if not parent.stat().st_mode & 0o001}
    for parent in sorted(closed, key=lambda one: len(one.parts))[:1]:
        words += ["--perms", "0755", "--tmpfs", str(parent)]
        for one in sorted(one for one in needed if one.is_relative_to(parent)):
            between = [above for above in reversed(one.parents) if above.is_relative_to(parent)][1:]
            words += [word for above in between for word in ("--perms", "0755", "--dir", str(above))]
            words += ["--ro-bind", str(one), str(one)]
    change = ["setpriv", f"--reuid={NOBODYS}", f"--regid={NOBODYS}", "--clear-groups", "--"]
    return [*words, "--", *change]


@contextmanager
def folder_in(place: str) -> Iterator[Path]:
    """A folder that a worker in a place owns; pytest's own ones are root's alone."""
    with tempfile.TemporaryDirectory(prefix="conveyor-placed-") as name:
        if place != ROOT and os.geteuid() == 0:
            give(Path(name))
        yield Path(name)


def give(path: Path) -> None:
    """Make a file or folder, and all in it, the ordinary user's."""
    for one in (path, *path.rglob("*")):
        os.chown(one, NOBODYS, NOBODYS, follow_symlinks=False)
