"""``conveyor python``: the interpreters of this machine, and the one that a project gets."""

from __future__ import annotations

import json
from pathlib import Path

import click

from conveyor.errors import ConveyorError, ProjectError
from conveyor.project.backend import ask_backend
from conveyor.project.interpreters import judge_places, pythons_to_test_on
from conveyor.project.settings import find_project


@click.group()
def command() -> None:
    """The interpreters of this machine, found by path: on PATH, in pyenv, in uv, in the system."""


@command.command("list", short_help="List the interpreters of this machine, and why each is used or not.")
@click.option(
    "--project", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The project to choose for, by a folder in it.  [default: that of the current folder, if any]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Write a line of JSON for each.")
def list_(folder: Path | None, as_json: bool) -> int:
    """List the interpreters of this machine and, in a project, why each is used or passed over.

    A project is built, trained and tested with the version in its .python-version; without that file, with
    the newest CPython that its requires-python allows. [tool.conveyor.test] pythons adds others to test on,
    and so do the indexes of a store.
    Exit code 8 or 10: the project cannot be served here; the error says why.
    """
    try:
        project = find_project(folder or Path(), ask=ask_backend)
    except ProjectError:
        if folder is not None:
            raise
        project = None
    failure: ConveyorError | None = None
    further: set[Path] = set()
    try:
        judged = judge_places(project)
        if project is not None:
            further = {one.path for one in pythons_to_test_on(project)[1:]}
    except ConveyorError as error:
        failure, judged = error, judge_places(None)
    for one in judged:
        found = one.interpreter
        name = found.name if found is not None else "-"
        if found is not None and found.path in further:
            use = "tests, as declared"
        elif one.passed_over is not None:
            use = f"passed over: {one.passed_over}"
        else:
            use = "chosen" if project is not None and failure is None else "found"
        if as_json:
            facts = {"path": str(one.place.path), "found_in": one.place.found_in}
            click.echo(json.dumps(facts | {"python": found and found.name, "use": use}))
        else:
            click.echo(f"{name:<12} {one.place.path}  ({one.place.found_in})  {use}")
    if failure is not None:
        raise failure
    return 0
