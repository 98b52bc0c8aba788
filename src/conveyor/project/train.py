"""Training: run the declared command and check the files that it wrote.

A model is trained in the checkout that gets packaged; its files are declared, ignored by git and named by
digest from then on. A training command may print anything; only the files count.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import ProjectError, StepFailed
from conveyor.project.environment import Environment, make_environment, run_in
from conveyor.project.model import PayloadFile, payload_stamps, read_manifest, read_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conveyor.domain.distributions.models import ModelManifest
    from conveyor.project.settings import Project


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
    variables: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_seconds: float | None = None,
) -> TrainingResult:
    """Run the project's training command in an environment that has the project installed.

    A payload file that was there before must have been rewritten: a command that writes nothing does not
    succeed with old files.

    Args:
        project: the project, with its training command and payload.
        environment: where the command runs.
        variables: set for the command on top of the clean ones.
        on_line: called with each line that the command writes.
        timeout_seconds: the time after which training is ended; ``None`` means never.

    Raises:
        ProjectError: the project declares no training command.
        StepFailed: the command failed, or did not write a declared file; carries the log.
    """
    _refuse_untrainable(project)
    old = payload_stamps(project)
    done = run_in(
        environment,
        project.train,
        folder=project.root,
        variables=variables,
        on_line=on_line,
        timeout_seconds=timeout_seconds,
    )
    command = " ".join(project.train)
    if done.is_timed_out:
        raise StepFailed(f"training was ended after {timeout_seconds:g} s: {command}", log=done.output)
    if done.return_code:
        raise StepFailed(
            f"training failed with exit code {done.return_code}: {command}",
            log=done.output,
            hint=f"run it by hand: cd {shlex.quote(str(project.root))} && {_by_hand(project, environment)}",
        )
    stamps = payload_stamps(project)
    unwritten = [path for path in project.payload if stamps.get(path) in (None, old.get(path))]
    if unwritten:
        raise StepFailed(
            f"training succeeded but did not write {', '.join(unwritten)}",
            log=done.output,
            hint="correct train or payload under [tool.conveyor] in pyproject.toml",
        )
    return TrainingResult(read_payload(project), read_manifest(project), done.seconds)


def _by_hand(project: Project, environment: Environment) -> str:
    words = [str(environment.python), *project.train[1:]] if project.train[0] == "python" else project.train
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
            return Environment(Path(active))
        own = make_environment(own.path)
    if not is_installed_from(project, own):
        if on_line is not None:
            on_line(f"installing {project.display_name} into {own.path}")
        own.install("-e", ".", folder=project.root, on_line=on_line)
    return own


def is_installed_from(project: Project, environment: Environment) -> bool:
    """Whether an environment imports the project's package from this very checkout."""
    code = "import importlib.util as u, sys; s = u.find_spec(sys.argv[1]); print(s and s.origin)"
    if not environment.python.exists():
        return False
    done = run_in(environment, ["python", "-I", "-c", code, project.package])
    folder = project.root / project.package_folder
    return done.return_code == 0 and Path(done.output.strip()).is_relative_to(folder.resolve())
