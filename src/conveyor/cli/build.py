"""``conveyor build``: build the sdist and the wheel of a project, and check them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from conveyor.cli.output import counted, of_project, tell_line
from conveyor.errors import ProjectError
from conveyor.project.archives import sha256_of_file
from conveyor.project.backend import ask_backend
from conveyor.project.build import build_distributions, build_tag
from conveyor.project.foreign import Surroundings
from conveyor.project.git import repository_top
from conveyor.project.settings import find_project, find_root


@click.command()
@of_project
@click.option("--tag", help="The release to build, from a fresh clone that knows only this tag.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the files go.  [default: dist/]")
@click.option("--index-url", help="The only index to take build requirements from.")
@click.option("--verbose", "-v", is_flag=True, help="Show what the build backend prints.")
def command(folder: Path, tag: str | None, out: Path | None, index_url: str | None, verbose: bool) -> None:
    """Build the sdist, then the wheel from it, by the project's own backend, and open both.

    Every tracked file of the package and every file of the model must be inside with the same bytes, and
    nothing else of the checkout; name and version must be right. Texts, templates and whole folders of tests
    that are left out are named; sources of compiled modules are not.

    Without --tag, the commit that is checked out is built, as the release that its tag names or as a
    development version (conveyor version). In a repository of several projects, the tag says which is built:
    demo/v1.2.0.
    """
    started = time.monotonic()
    around = Surroundings(index_url=index_url, on_line=tell_line if verbose else None)
    if tag is None:
        root = find_project(folder, ask=partial(ask_backend, around=around)).root
        built = build_distributions(root, out or root / "dist", around=around, on_wait=tell_line)
    else:
        built = build_tag(_start(folder), tag, out, around=around, on_wait=tell_line)
    project = built.project
    if tag is not None and not tag.endswith(str(built.version)):
        click.echo(f"{tag} is built as {built.version}, the canonical spelling", err=True)
    if built.line is not None:
        line = built.line
        click.echo(
            f"set {line.path}, line {line.number}, in the clone: {line.stating(built.version)}", err=True
        )
    for file in (built.sdist, built.wheel):
        click.echo(f"{sha256_of_file(file)}  {file.stat().st_size:>9}  {file}")
    for note in built.notes:
        click.echo(f"note: {note}", err=True)
    checked = "name, version, every file inside"
    if project.payload:
        checked += f", {counted(len(project.payload), 'file')} of the payload"
    click.echo(
        f"built {project.display_name} {built.version} in {time.monotonic() - started:.1f} s; opened both: "
        f"{checked} are right",
        err=True,
    )


def _start(folder: Path) -> Path:
    """The project's folder, or the top of a repository whose projects lie in folders."""
    try:
        return find_root(folder)
    except ProjectError:
        try:
            return repository_top(folder)
        except ProjectError:
            pass
        raise
