"""Calls of uv, which makes and fills environments.

An index that is given is the only one: with it, no configuration of this machine is read, so that every
installed file was served by that index. With no index, uv follows the user's configuration.

uv itself is no foreign code; what it starts may be. It runs the build backends of whatever it installs from
source, and whatever the installed packages of an environment hook into the start of its interpreter (``.pth``
files). A call that can do either goes behind the wall, where there is one; see ``environment``.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool, ProjectError
from conveyor.project.foreign import (
    Completed,
    Sight,
    Surroundings,
    clean_environment_variables,
    run_foreign,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PYLOCK = "pylock.toml"
"""The only name under which both uv and pip take a file for a lock (PEP 751)."""
_FINDING = threading.Lock()


def run_uv(
    words: Sequence[str],
    around: Surroundings | None = None,
    *,
    is_clean: bool = False,
    may_link: bool = False,
    folder: Path | None = None,
    timeout_seconds: float | None = None,
) -> Completed:
    """Run uv; with an index, or if ``is_clean``, without any configuration of this machine.

    uv copies packages out of its cache, unless ``may_link``. If they were links, a file that a test or a
    training changes would change in the cache and in every environment of every later run.

    It is this process's child, whatever wall ``around`` names: ``run_uv_behind`` puts it there.

    Raises:
        ProjectError: uv ended with an error; the message is its last lines.
        MissingTool: uv is not installed.
    """
    around = around or Surroundings()
    is_clean = is_clean or around.index_url is not None
    command = [find_uv(), "--no-progress", *(("--no-config",) if is_clean else ()), *words]
    base = clean_environment_variables() if is_clean else user_environment_variables()
    if around.index_url is not None:  # no argument: it may hold a password, and anyone can list processes
        base["UV_DEFAULT_INDEX"] = around.index_url
    if around.netrc is not None:  # without a wall the backends that uv starts can read it, like anything
        base["NETRC"] = str(around.netrc)
    sight = Sight(
        variables={**base, **around.variables, "UV_LINK_MODE": "hardlink" if may_link else "copy"},
        writes=(folder,) if folder is not None else (),
        holds=around.holds,
    )
    return _run(command, sight, words, around.on_line, folder, timeout_seconds)


def sync_lock(
    python: Path,
    lock: Path,
    around: Surroundings,
    *,
    may_build: bool = True,
    may_link: bool = False,
    timeout_seconds: float | None = None,
) -> None:
    """Have exactly the files of a lock in an environment, and nothing else; no configuration is read.

    Args:
        python: the interpreter of the environment.
        lock: a file of the name ``PYLOCK``.
        around: names the only index for what an sdist is built with.
        may_build: whether sdists may be built.
        may_link: as for ``run_uv``.
        timeout_seconds: the time after which the installation is ended; ``None`` means never.

    Raises:
        ProjectError: a file has other bytes, or cannot be installed.
    """
    words = ["--preview-features", "pylock", "pip", "sync", "--python", str(python)]
    words += [str(lock)] if may_build else ["--no-build", str(lock)]
    run_uv(words, around, is_clean=True, may_link=may_link, timeout_seconds=timeout_seconds)


def run_uv_behind(
    words: Sequence[str],
    around: Surroundings,
    *,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    timeout_seconds: float | None = None,
) -> Completed:
    """Run uv behind the wall, with a cache of its own there; raises as ``run_uv`` does.

    Args:
        words: those of the command.
        around: names the wall, and the index, which uv reaches by another address there.
        reads: what it may read, interpreters among it.
        writes: what it may change.
        timeout_seconds: the time after which it is ended; ``None`` means never.
    """
    wall = around.wall
    assert wall is not None  # noqa: S101 - the caller has one
    uv = find_uv()
    command = [uv, "--no-progress", "--no-config", "--cache-dir", str(wall.uv_cache), *words]
    variables = {**clean_environment_variables(), **around.variables, "UV_LINK_MODE": "copy"}
    if around.index_url is not None:
        variables["UV_DEFAULT_INDEX"] = wall.inward(around.index_url)
    sight = Sight(
        variables, reads=(Path(uv), *reads), writes=(wall.uv_cache, *writes),
        holds=around.holds, is_build=True, wall=wall,
    )  # fmt: skip
    return _run(command, sight, words, around.on_line, None, timeout_seconds)


def _run(
    command: Sequence[str], sight: Sight, words: Sequence[str], on_line: Callable[[str], None] | None,
    folder: Path | None, timeout_seconds: float | None,
) -> Completed:  # fmt: skip
    done = run_foreign(command, sight, folder=folder, on_line=on_line, timeout_seconds=timeout_seconds)
    if done.is_timed_out:
        raise ProjectError(f"uv {words[0]} was ended after {timeout_seconds} s")
    if done.return_code:
        said = done.output.strip()[-4000:] or f"exit code {done.return_code}"
        raise ProjectError(f"uv {' '.join(words[:2])} failed:\n{said}")
    return done


def user_environment_variables() -> dict[str, str]:
    """The user's variables without an active environment, for tools that follow the user's configuration."""
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def find_uv() -> str:
    """The path of uv, which is a dependency of ours.

    Raises:
        MissingTool: it has been removed.
    """
    try:
        from uv import find_uv_bin

        # It asks sysconfig, which answers None to a thread while another fills its table (CPython 3.11).
        with _FINDING:
            return str(find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise MissingTool("uv is not installed", hint="pip install uv") from error
