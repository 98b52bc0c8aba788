"""``conveyor build``: build the sdist and the wheel of a project, and check them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from conveyor.project.backend import ask_backend
from conveyor.project.build import build_distributions, build_tag
from conveyor.project.model import sha256_of_file
from conveyor.project.settings import find_project


@click.command(short_help="Build the sdist and the wheel of this project and check them.")
@click.option(
    "--project", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path(),
    help="The project's folder, or one in it.  [default: the current one]",
)  # fmt: skip
@click.option("--tag", help="The release to build, from a fresh clone that knows only this tag.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the files go.  [default: dist/]")
@click.option("--index-url", help="The only index to take build requirements from.")
@click.option("--verbose", "-v", is_flag=True, help="Show what the build backend prints.")
def command(folder: Path, tag: str | None, out: Path | None, index_url: str | None, verbose: bool) -> None:
    """Build the sdist, then the wheel from it, by the project's own backend, and open both.

    Every tracked file of the package and every file of the model must be inside with the same bytes, and
    nothing else of the checkout; name and version must be right. Without --tag, the commit that is checked
    out is built as a development version.
    """

    def show(line: str) -> None:
        click.echo(f"  {line}", err=True)

    started = time.monotonic()
    on_line = show if verbose else None
    project = find_project(folder, ask=partial(ask_backend, index_url=index_url, on_line=on_line))
    out = out or project.root / "dist"
    if tag is None:
        built = build_distributions(project.root, out, index_url=index_url, on_line=on_line)
    else:
        built = build_tag(project.root, tag, out, index_url=index_url, on_line=on_line)
    for file in (built.sdist, built.wheel):
        click.echo(f"{sha256_of_file(file)}  {file.stat().st_size:>9}  {file}")
    for note in built.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(
        f"built {project.display_name} {built.version} in {time.monotonic() - started:.1f} s; opened both: "
        f"name, version, every tracked file and {len(project.payload)} payload files are right",
        err=True,
    )
