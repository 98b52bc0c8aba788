"""``conveyor new``: make a project."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from conveyor.project.scaffold import NewProject, create_project

if TYPE_CHECKING:
    from conveyor.project.settings import ProjectKind


@click.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(["package", "model"]), default="package", show_default=True,
    help="A package, or a package that carries a trained model.",
)  # fmt: skip
@click.option("--path", type=click.Path(path_type=Path), help="The folder of the project.  [default: ./NAME]")
@click.option("--description", help="One line: what it is for.")
@click.option("--author", help='"Name" or "Name <address>".')
def command(name: str, kind: str, path: Path | None, description: str | None, author: str | None) -> None:
    """Make the project NAME: source, tests, docs, a git repository and its first commit.

    The folder must be empty, or not exist yet. No network is needed.
    """
    new = NewProject(name, cast("ProjectKind", kind), path, description, author)
    made = create_project(new)
    if made.borrowed_identity:
        click.echo(
            f"git knows no name and address here: the first commit is by {made.borrowed_identity} "
            "(yours: git config --global user.name / user.email)",
            err=True,
        )
    click.echo(f"made {made.folder}: {len(made.files)} files, commit {made.commit[:10]} on main")
    step = "conveyor train && conveyor build" if kind == "model" else "conveyor build"
    click.echo(
        f"next:  cd {shlex.quote(str(path or name))} && pip install -e '.[test]' && pytest && {step}",
        err=True,
    )
