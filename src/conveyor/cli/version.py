"""``conveyor version``: what this tree would be called, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.output import of_project
from conveyor.project.backend import ask_backend
from conveyor.project.settings import find_project
from conveyor.project.trees import version_of_checkout

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--explain", is_flag=True, help="Give the reasons, on standard error.")
@of_project
def command(explain: bool, folder: Path) -> None:
    """Print the version of this tree: that of its release tag, or a development version.

    A development version is one more than the highest release in the commit's history, with the number of
    commits since and the commit itself: 1.2.4.dev5+g1a2b3c4d5. Moving tags (v1, latest), experiment tags
    (model-churn-7) and tags of other projects never count. Where a build would bear a version that names
    something else, this is an error that says what to do: uncommitted changes, a history that is cut off, two
    tags of one version, a tag that the version stated in the project contradicts, no repository.
    """
    answer = version_of_checkout(find_project(folder, ask=ask_backend))
    if explain:
        for reason in answer.reasons:
            click.echo(f"- {reason}", err=True)
    click.echo(str(answer.checked()))
