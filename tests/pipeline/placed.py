"""Places where a worker may run: as root, as an ordinary user, and in a container; each is a command's words.

The container of every round is one of bubblewrap's: namespaces of its own and a ``/proc`` of which parts are
covered, as container engines make it. In such a place an ordinary user cannot mount a ``/proc`` of a jail's
own. The long rounds have a container of runc, which Docker, Podman and Kubernetes start theirs with.
"""

from __future__ import annotations

import json
import os
import subprocess
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
    for parent, needed in hidden():
        words += ["--perms", "0755", "--tmpfs", str(parent)]
        for one in needed:
            between = [above for above in reversed(one.parents) if above.is_relative_to(parent)][1:]
            words += [word for above in between for word in ("--perms", "0755", "--dir", str(above))]
            words += ["--ro-bind", str(one), str(one)]
    change = ["setpriv", f"--reuid={NOBODYS}", f"--regid={NOBODYS}", "--clear-groups", "--"]
    return [*words, "--", *change]


def hidden() -> list[tuple[Path, list[Path]]]:
    """The folders that only root looks into, with what of a worker lies there: its interpreter, its code."""
    needed = {Path(sys.executable).parent.parent, Path(os.path.realpath(sys.executable)).parent.parent}
    needed |= {Path(conveyor.__file__).parent.parent, Path(__file__).parent.parent}
    closed = {parent for one in needed for parent in one.parents if not parent.stat().st_mode & 0o001}
    tops = [one for one in closed if not closed & set(one.parents)]
    return [(top, sorted(one for one in needed if one.is_relative_to(top))) for top in tops]


def bundle(folder: Path, command: list[str], user: int) -> list[str]:
    """The words that run a command in a container of runc, by its defaults, with the folders of this machine.

    Its rights are the few of runc's own specification, which are those of other engines or fewer, and its
    ``/proc`` is covered like theirs; the network is that of the machine, where the store of the tests is.
    """
    root = folder / "rootfs"
    root.mkdir(parents=True)
    subprocess.run(["runc", "spec", "--bundle", folder], check=True)
    asked = json.loads((folder / "config.json").read_text())
    asked["process"] |= {
        "terminal": False, "user": {"uid": user, "gid": user}, "args": command, "cwd": "/",
        "env": [f"PATH={os.environ['PATH']}"],
    }  # fmt: skip
    asked["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 8192, "soft": 8192}]
    asked["linux"]["namespaces"] = [one for one in asked["linux"]["namespaces"] if one["type"] != "network"]
    for entry in Path("/").iterdir():
        if entry.is_symlink():
            (root / entry.name).symlink_to(entry.readlink())
        elif entry.is_dir():
            (root / entry.name).mkdir()
            if entry.name not in {"dev", "proc", "sys"}:
                shown = {"destination": str(entry), "type": "bind", "source": str(entry)}
                asked["mounts"].append(shown | {"options": ["bind", "rw"]})
    for number, (parent, needed) in enumerate(hidden()):
        (folder / f"cover-{number}").mkdir()  # a tmpfs gets the rights of what it covers
        covered = {"destination": str(parent), "type": "bind", "source": str(folder / f"cover-{number}")}
        asked["mounts"].append(covered | {"options": ["bind", "rw"]})
        for one in needed:
            shown = {"destination": str(one), "type": "bind", "source": str(one)}
            asked["mounts"].append(shown | {"options": ["bind", "ro"]})
    (folder / "config.json").write_text(json.dumps(asked))
    return ["runc", "--root", str(folder / "state"), "run", "--bundle", str(folder), folder.name]


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
