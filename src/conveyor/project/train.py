"""Training: run the declared command and check the files that it wrote.

A model is trained in the checkout that gets packaged; its files are declared, ignored by git and named by
digest from then on. A training command may print anything; only the files count.

What training reads is in git or declared as data: a file that git ignores is on this machine alone, so
opening one is an error that says how to declare it. A Python command is watched for that
(``opened``); what it starts as other programs, and what C code opens, is not seen.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from conveyor.errors import ProjectError, StepFailed
from conveyor.project import opened
from conveyor.project.data import path_of
from conveyor.project.environment import Environment, make_environment, run_in
from conveyor.project.git import ignored_files
from conveyor.project.interpreters import python_of
from conveyor.project.model import PayloadFile, payload_stamps, read_manifest, read_payload
from conveyor.project.taking import opened_plainly, put_file
from conveyor.settings import JOB_GRANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from conveyor.domain.distributions.models import ModelManifest
    from conveyor.project.foreign import Completed
    from conveyor.project.settings import Project


OPENED = "opened"
LARGEST_NOTES_BYTES = 256 * 2**20


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run."""

    payload: tuple[PayloadFile, ...]
    manifest: ModelManifest | None
    """The model's manifest (``model.json``); ``None`` if the project does not write one."""
    seconds: float


def train(
    project: Project,
    environment: Environment,
    *,
    where: Project | None = None,
    granted: Collection[str] | None = None,
    timeout_seconds: float | None = None,
) -> TrainingResult:
    """Run the project's training command in an environment that has the project installed.

    A payload file that was there before must have been rewritten: a command that writes nothing does not
    succeed with old files.

    Args:
        project: the project, with its training command and payload.
        environment: where the command runs.
        where: the same project in another clone, to run the command there and take the payload from it;
            ``None`` means that it is run in the project itself.
        granted: the names of variables that a project may declare, in a worker, whose environment holds
            secrets; ``None``: any, on a developer's own machine.
        timeout_seconds: the time after which training is ended; ``None`` means never.

    Raises:
        ProjectError: the project declares no training command, or variables that are not granted.
        StepFailed: the command failed, read a file that git ignores and nothing declares, or did not write a
            declared file; carries the log.
    """
    _refuse_untrainable(project)
    there = where or project
    variables = declared_variables(project, granted)
    old = payload_stamps(there)
    with tempfile.TemporaryDirectory(prefix="conveyor-train-") as scratch:
        notes = Path(scratch) / "notes"
        notes.mkdir()
        done = run_in(
            environment,
            watched(project.train, notes / OPENED, there.root),
            folder=there.root,
            variables=variables | dict(environment.around.variables),
            reads=(Path(opened.__file__),),
            writes=(notes,),
            timeout_seconds=timeout_seconds,
        )
        undeclared = undeclared_files(project, notes)
    _refuse_bad(project, environment, done, undeclared, timeout_seconds)
    stamps = payload_stamps(there)
    unwritten = [path for path in project.payload if stamps.get(path) in (None, old.get(path))]
    if unwritten:
        raise StepFailed(
            f"training succeeded but did not write {', '.join(unwritten)}",
            log=done.output,
            hint="correct train or payload under [tool.conveyor] in pyproject.toml",
        )
    if where is not None:
        for path in project.payload:
            with opened_plainly(where.root, path) as trained:
                put_file(project.root, path, trained)
    return TrainingResult(read_payload(project), read_manifest(project), done.seconds)


def _refuse_bad(
    project: Project, environment: Environment, done: Completed, undeclared: Sequence[str],
    timeout_seconds: float | None,
) -> None:  # fmt: skip
    """Refuse a training that took too long, failed, or read what others do not have; raises StepFailed."""
    command = " ".join(project.train)
    if done.is_timed_out:
        raise StepFailed(f"training was ended after {timeout_seconds:g} s: {command}", log=done.output)
    if undeclared:
        raise StepFailed(
            f"training read {', '.join(undeclared)}, which git ignores and nothing declares"
            + (f", and failed with exit code {done.return_code}" if done.return_code else ""),
            log=done.output,
            hint="declare it in the project, so that others get it too: conveyor data add "
            f"{_name_for(undeclared[0])} --path {shlex.quote(undeclared[0])} --url URL",
        )
    if done.return_code:
        absent = [name for name in project.declared.train.env if name not in os.environ]
        unset = f"; these variables are declared and not set here: {', '.join(absent)}" if absent else ""
        raise StepFailed(
            f"training failed with exit code {done.return_code}: {command}{unset}",
            log=done.output,
            hint=f"run it by hand: cd {shlex.quote(str(project.root))} && {_by_hand(project, environment)}",
        )


def declared_variables(project: Project, granted: Collection[str] | None) -> dict[str, str]:
    """The variables of this process that training may see, because they are declared by name.

    Raises:
        ProjectError: some are not among those that are granted.
    """
    refused = [
        name
        for name in project.declared.train.env
        if granted is not None and (name not in granted or name.startswith("CONVEYOR_"))
    ]
    if refused:
        able = " ".join(name for name in refused if not name.startswith("CONVEYOR_"))
        raise ProjectError(
            f"{project.display_name} declares {', '.join(refused)} for its training, "
            "which this worker does not give to projects",
            hint=f'whoever runs the worker names what it gives: {JOB_GRANTS["train_env"]}="{able}"'
            if able
            else "take it out of env in [tool.conveyor.train]: names with CONVEYOR_ are the worker's own",
        )
    return {name: os.environ[name] for name in project.declared.train.env if name in os.environ}


def watched(command: Sequence[str], notes: Path, folder: Path) -> list[str]:
    """The command; if it is Python running a module or a script, noting the files that it opens."""
    words = list(command)
    if words[0] != "python":
        return words
    at = 1
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-m", "-c", "-"):
        at += 2 if words[at] in ("-W", "-X") else 1
    if at + (words[at : at + 1] == ["-m"]) >= len(words) or words[at] in ("-c", "-"):
        return words
    return [*words[:at], opened.__file__, str(notes), str(folder), *words[at:]]


_GENERATED = {"__pycache__", ".venv", "venv", ".git", ".tox", ".nox", "node_modules"}
_GENERATED_ENDS = (".egg-info", ".dist-info")
_NO_DATA = (".py", ".pyc", ".pyd", ".so", ".egg-link", ".pth")


def undeclared_files(project: Project, notes: Path) -> tuple[str, ...]:
    """The files that were read, or looked for in vain, that git ignores and the project does not declare.

    Files that the command wrote itself do not count, nor do code and environments. ``notes`` is the folder in
    which it noted the files that it opened.
    """
    try:
        with opened_plainly(notes, OPENED, largest=LARGEST_NOTES_BYTES) as file:
            lines = file.read().decode("utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return ()
    written = {line[2:] for line in lines if line.startswith("w ")}
    declared = {path_of(name, one) for name, one in project.declared.datasets.items()}
    declared |= {*project.payload, *project.version_files}
    found = []
    for path in dict.fromkeys(line[2:] for line in lines if line.startswith("r ")):
        parts = PurePosixPath(path).parts
        is_generated = any(one in _GENERATED or one.endswith(_GENERATED_ENDS) for one in parts)
        is_folder = (project.root / path).is_dir()
        if not (path in written or path in declared or is_generated or is_folder or path.endswith(_NO_DATA)):
            found.append(path)
    return ignored_files(project.root, found)


def _name_for(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(path).stem).strip("-") or "NAME"


def _by_hand(project: Project, environment: Environment) -> str:
    words = environment.words(project.train)
    return shlex.join(words)


def _refuse_untrainable(project: Project) -> None:
    if not project.train:
        raise ProjectError(
            f"{project.display_name} declares no training command",
            hint='add one to pyproject.toml, under [tool.conveyor]: train = ["python", "-m", "MODULE"]',
        )


def training_environment(project: Project, *, on_line: Callable[[str], None] | None = None) -> Environment:
    """The environment to train in on a laptop, with the project installed in it, editable.

    1. ``.venv`` of the project;
    2. else the active environment, if this very checkout is installed there;
    3. else a new ``.venv``.

    Raises:
        ProjectError: the project declares no training command, so none is needed; or it cannot be installed.
    """
    _refuse_untrainable(project)
    own = Environment(project.root / ".venv")
    if not own.python.exists():
        active = os.environ.get("VIRTUAL_ENV")
        if active and is_installed_from(project, Environment(Path(active))):
            return Environment(Path(active)).telling(on_line)
        own = make_environment(own.path, python=str(python_of(project).path))
    if not is_installed_from(project, own):
        if on_line is not None:
            on_line(f"installing {project.display_name} into {own.path}")
        own.telling(on_line).install(options=("-e", "."), folder=project.root)
    return own.telling(on_line)


def is_installed_from(project: Project, environment: Environment) -> bool:
    """Whether an environment imports the project's package from this very checkout."""
    code = "import importlib.util as u, sys; s = u.find_spec(sys.argv[1]); print(s and s.origin)"
    if not environment.python.exists():
        return False
    done = run_in(environment, ["python", "-I", "-c", code, project.package])
    folder = project.root / project.package_folder
    return done.return_code == 0 and Path(done.output.strip()).is_relative_to(folder.resolve())
