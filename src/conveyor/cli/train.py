"""``conveyor train``: train the model of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.output import of_project, tell_line
from conveyor.project.backend import ask_backend
from conveyor.project.settings import find_project
from conveyor.project.train import train, training_environment

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@of_project
def command(folder: Path) -> None:
    """Run the training command that pyproject.toml declares, and list the files that it wrote.

    It runs in the project's .venv; else in the active environment, if this checkout is installed there; else
    in a new .venv.
    """
    project = find_project(folder, ask=ask_backend)
    environment = training_environment(project, on_line=tell_line)
    click.echo(f"training {project.display_name} in {environment.path}: {' '.join(project.train)}", err=True)
    result = train(project, environment)
    for file in result.payload:
        click.echo(f"{file.sha256}  {file.size_bytes:>9}  {file.path}")
    if result.manifest is not None:
        for metric, value in result.manifest.metrics.items():
            click.echo(f"{metric} = {value:g}")
        click.echo(f"metrics on {result.manifest.split}", err=True)
    click.echo(f"trained in {result.seconds:.1f} s", err=True)
