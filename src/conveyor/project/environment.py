"""Virtual environments, made and filled by uv, and the variables that children run with.

An index that is given is the only one: installing with ``index_url`` reads no configuration of this machine,
so that every installed file was served by that index. With no index, uv follows the user's configuration.

The output of child processes is read line by line while they run.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool, ProjectError
from conveyor.project.foreign import Completed, Sight, clean_environment_variables, run_foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from conveyor.project.foreign import Wall

_FINDING = threading.Lock()
PYLOCK = "pylock.toml"
"""The only name under which both uv and pip take a file for a lock (PEP 751)."""

__all__ = [
    "PYLOCK",
    "Completed",
    "Environment",
    "clean_environment_variables",
    "make_environment",
    "run_in",
    "run_uv",
]


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    path: Path
    holds: tuple[int, ...] = ()
    """As ``Sight`` has it, for every program that is run in it or fills it."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def install(
        self,
        *requirements: str,
        index_url: str | None = None,
        options: Sequence[str] = (),
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Completed:
        """Install requirements, as ``uv pip install`` takes them.

        Args:
            requirements: such as ``tumor[test]==0.1.0``, or the path of a wheel; none is ever an option.
            index_url: the only index to take from; ``None`` follows the user's configuration.
            options: options of ``uv pip install``, such as ``--only-binary=:all:`` or ``-e .``, word by word.
            folder: where relative paths start; ``None`` means the current folder.
            variables: set for uv and for whatever it builds.
            on_line: called with each line that uv writes.
            timeout_seconds: the time after which the installation is ended; ``None`` means never.

        Raises:
            ProjectError: the installation failed; the message is uv's last lines.
        """
        words = ["pip", "install", "--python", str(self.python), *options]
        words += ["--", *requirements] if requirements else []
        return run_uv(
            words, index_url=index_url, folder=folder, variables=variables, on_line=on_line,
            timeout_seconds=timeout_seconds, holds=self.holds,
        )  # fmt: skip

    def install_lock(
        self,
        lock: Path,
        *,
        index_url: str | None = None,
        may_link: bool = False,
        variables: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Completed:
        """Have exactly the files of a lock installed, and nothing else; no configuration is read.

        Args:
            lock: a file of the name ``PYLOCK``.
            index_url: the only index for what an sdist is built with.
            may_link: as for ``run_uv``.
            variables: set for uv and for whatever it builds.
            on_line: called with each line that uv writes.
            timeout_seconds: the time after which the installation is ended; ``None`` means never.

        Raises:
            ProjectError: a file has other bytes, or cannot be installed.
        """
        words = ["--preview-features", "pylock", "pip", "sync", "--python", str(self.python), str(lock)]
        return run_uv(
            words, index_url=index_url, is_clean=True, may_link=may_link, variables=variables,
            on_line=on_line, timeout_seconds=timeout_seconds, holds=self.holds,
        )  # fmt: skip

    def words(self, command: Sequence[str]) -> list[str]:
        """A command as it is started here: ``python`` as its first word is this interpreter."""
        return [str(self.python), *command[1:]] if command[0] == "python" else list(command)

    def variables(self) -> dict[str, str]:
        """The variables that a child of this environment runs with: clean, with its programs first."""
        clean = clean_environment_variables()
        clean["PATH"] = f"{self.path / 'bin'}{os.pathsep}{clean.get('PATH', os.defpath)}"
        return clean | {"VIRTUAL_ENV": str(self.path)}


def make_environment(path: Path, *, python: str | None = None, holds: tuple[int, ...] = ()) -> Environment:
    """Make an empty virtual environment at ``path``; an environment that is there is replaced.

    Args:
        path: its folder.
        python: path or version of the interpreter; ``None`` means the one that runs now.
        holds: descriptors that uv, and every program of the environment, keep open.

    Raises:
        ProjectError: uv could not make it, or ``path`` holds something else.
    """
    if path.exists() and any(path.iterdir()) and not (path / "pyvenv.cfg").is_file():
        raise ProjectError(f"{path} is neither a virtual environment nor empty", hint="move it elsewhere")
    words = ["venv", "--quiet", "--clear", "--no-project", "--python", python or sys.executable, str(path)]
    run_uv(words, is_clean=True, holds=holds)
    return Environment(path.absolute(), holds)


def run_in(
    environment: Environment,
    command: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
    wall: Wall | None = None,
) -> Completed:
    """Run a command in an environment; ``python`` as its first word is the environment's interpreter.

    Args:
        environment: the environment whose programs come first on the ``PATH``.
        command: the words of the command.
        folder: the working folder; ``None`` means the current one.
        variables: set on top of the clean ones.
        reads: files and folders that it may read, besides the environment and its folder.
        writes: files and folders that it may change, besides its folder.
        on_line: called with each line of output, standard output and error together.
        timeout_seconds: the time after which it is killed with its children; ``None`` means never.
        wall: what keeps it apart; ``None``: nothing does.

    Raises:
        MissingTool: there is no such program.
    """
    words = environment.words(command)
    sight = Sight(
        variables=environment.variables() | dict(variables or {}),
        reads=(environment.path, *reads),
        writes=(*((folder,) if folder is not None else ()), *writes),
        holds=environment.holds,
        wall=wall,
    )
    return run_foreign(words, sight, folder=folder, on_line=on_line, timeout_seconds=timeout_seconds)


def user_environment_variables() -> dict[str, str]:
    """The user's variables without an active environment, for tools that follow the user's configuration."""
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def run_uv(
    words: Sequence[str],
    *,
    index_url: str | None = None,
    is_clean: bool = False,
    may_link: bool = False,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
    holds: tuple[int, ...] = (),
) -> Completed:
    """Run uv; with an ``index_url``, or if ``is_clean``, without any configuration of this machine.

    uv copies packages out of its cache, unless ``may_link``. If they were links, a file that a test or a
    training changes would change in the cache and in every environment of every later run.

    Raises:
        ProjectError: uv ended with an error; the message is its last lines.
        MissingTool: uv is not installed.
    """
    is_clean = is_clean or index_url is not None
    command = [find_uv(), "--no-progress", *(("--no-config",) if is_clean else ()), *words]
    base = clean_environment_variables() if is_clean else user_environment_variables()
    if index_url is not None:  # not as an argument: it may hold a password, and anyone can list processes
        base["UV_DEFAULT_INDEX"] = index_url
    # uv runs the build backends of whatever it installs from source.
    sight = Sight(
        variables=base | dict(variables or {}) | {"UV_LINK_MODE": "hardlink" if may_link else "copy"},
        index_url=index_url,
        writes=(folder,) if folder is not None else (),
        holds=holds,
    )
    done = run_foreign(command, sight, folder=folder, on_line=on_line, timeout_seconds=timeout_seconds)
    if done.is_timed_out:
        raise ProjectError(f"uv {words[0]} was ended after {timeout_seconds} s")
    if done.return_code:
        said = done.output.strip()[-4000:] or f"exit code {done.return_code}"
        raise ProjectError(f"uv {' '.join(words[:2])} failed:\n{said}")
    return done


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
