"""Virtual environments, made and filled by uv, and commands that run in them.

Where there is a wall, foreign code runs behind it alone. So an environment is filled in two steps: uv
resolves behind the wall, because it runs build backends for that; then it installs what was found here, into
an environment that is still empty, from wheels and by digest alone, which runs nothing of them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import ProjectError
from conveyor.project.foreign import Completed, Sight, Surroundings, clean_environment_variables, run_foreign
from conveyor.project.uv import run_uv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.project.interpreters import Interpreter

_NOTHING = Surroundings()


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    path: Path
    around: Surroundings = _NOTHING
    """For every program that is run in it or fills it."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    @property
    def interpreter(self) -> Interpreter:
        """What it was made with.

        Raises:
            ProjectError: that does not run.
        """
        from conveyor.project.interpreters import ask

        found = ask(Path(os.path.realpath(self.python)))
        if isinstance(found, str):
            raise ProjectError(f"the interpreter of {self.path} cannot be used: {found}")
        return found

    def telling(self, on_line: Callable[[str], None] | None) -> Environment:
        """The same, whose programs tell each line to another function."""
        return replace(self, around=replace(self.around, on_line=on_line))

    def install(
        self,
        *requirements: str,
        files: Sequence[str] = (),
        options: Sequence[str] = (),
        given: Sequence[Path] = (),
        folder: Path | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Install requirements, as ``uv pip install`` takes them.

        Behind a wall they replace what was there; else they are added to it.

        Args:
            requirements: such as ``tumor[test]==0.1.0``, or the path of a wheel; none is ever an option.
            files: paths of files of requirements.
            options: options of ``uv pip install``, such as ``-e .``, word by word; not behind a wall.
            given: the distributions of this machine that ``requirements`` name.
            folder: where relative paths start; ``None`` means the current folder.
            timeout_seconds: the time after which the installation is ended; ``None`` means never.

        Raises:
            ProjectError: the installation failed; the message is uv's last lines.
        """
        named = [word for file in files for word in ("-r", file)]
        if self.around.wall is None:
            words = ["pip", "install", "--python", str(self.python), *options, *named]
            words += ["--", *requirements] if requirements else []
            run_uv(words, self.around, folder=folder, timeout_seconds=timeout_seconds)
            return
        from conveyor.project.resolution import install_lock, lock_requirements

        if options:
            raise ProjectError(f"uv takes no options behind a wall: {' '.join(options)}")
        work = self.path.with_name(f"{self.path.name}-resolution")
        work.mkdir(exist_ok=True)
        lock = lock_requirements(work, self.interpreter, requirements, files, around=self.around, given=given)
        if any(self.path.glob("lib/*/site-packages/*.dist-info")):
            make_environment(self.path, python=str(self.interpreter.path), around=self.around)
        install_lock(self.python, lock, work, around=self.around)

    def words(self, command: Sequence[str]) -> list[str]:
        """A command as it is started here: ``python`` as its first word is this interpreter."""
        return [str(self.python), *command[1:]] if command[0] == "python" else list(command)

    def variables(self) -> dict[str, str]:
        """The variables that a child of this environment runs with: clean, with its programs first."""
        clean = clean_environment_variables()
        clean["PATH"] = f"{self.path / 'bin'}{os.pathsep}{clean.get('PATH', os.defpath)}"
        return clean | {"VIRTUAL_ENV": str(self.path), **self.around.variables}


def make_environment(
    path: Path, *, python: str | None = None, around: Surroundings | None = None
) -> Environment:
    """Make an empty virtual environment at ``path``; an environment that is there is replaced.

    Args:
        path: its folder.
        python: path or version of the interpreter; ``None`` means the one that runs now.
        around: for uv, and for every program of the environment.

    Raises:
        ProjectError: uv could not make it, or ``path`` holds something else.
    """
    if path.exists() and any(path.iterdir()) and not (path / "pyvenv.cfg").is_file():
        raise ProjectError(f"{path} is neither a virtual environment nor empty", hint="move it elsewhere")
    around = around or Surroundings()
    words = ["venv", "--quiet", "--clear", "--no-project", "--python", python or sys.executable, str(path)]
    run_uv(words, replace(around, on_line=None), is_clean=True)
    return Environment(path.absolute(), around)


def run_in(
    environment: Environment,
    command: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    hands: int | None = None,
    timeout_seconds: float | None = None,
) -> Completed:
    """Run a command in an environment; ``python`` as its first word is the environment's interpreter.

    Args:
        environment: the environment whose programs come first on the ``PATH``.
        command: the words of the command.
        folder: the working folder; ``None`` means the current one.
        variables: set on top of those of the environment.
        reads: files and folders that it may read, besides the environment and its folder.
        writes: files and folders that it may change, besides its folder.
        hands: as ``Sight`` has it.
        timeout_seconds: the time after which it is killed with its children; ``None`` means never.

    Raises:
        MissingTool: there is no such program.
    """
    around = environment.around
    sight = Sight(
        variables=environment.variables() | dict(variables or {}),
        reads=(environment.path, *reads),
        writes=(*((folder,) if folder is not None else ()), *writes),
        holds=around.holds,
        hands=hands,
        wall=around.wall,
    )
    return run_foreign(
        environment.words(command), sight, folder=folder, on_line=around.on_line,
        timeout_seconds=timeout_seconds,
    )  # fmt: skip
