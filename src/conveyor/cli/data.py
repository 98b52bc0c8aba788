"""``conveyor data``: files that training reads and git does not hold, each declared under its digest."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from conveyor.cli.output import of_project
from conveyor.errors import ProjectError
from conveyor.project.backend import ask_backend
from conveyor.project.data import bring, data_cache, datasets, declare, path_of
from conveyor.project.git import ignored_files
from conveyor.project.settings import find_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@click.group()
def command() -> None:
    """Data that training reads and git does not hold, declared in pyproject.toml by SHA-256."""


@command.command(short_help="Bring declared data into the checkout.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@of_project
def fetch(names: tuple[str, ...], folder: Path) -> None:
    """Bring declared data into the checkout: all of it, or the named.

    A file comes from the cache if it was downloaded before (~/.cache/conveyor/data), else from its address;
    a download that broke off is continued. A file with another digest is refused, and one that is here with
    another digest is never replaced.
    """
    project = find_project(folder, ask=ask_backend)
    with _progress() as tell:
        brought = bring(project, data_cache(), names=names, on_progress=tell)
    for one in brought:
        click.echo(f"{one.declared.sha256}  {one.path}")
    if not brought:
        click.echo("all of it is here already", err=True)


@command.command(short_help="Declare a file under its digest, or give it its new one.")
@click.argument("name")
@click.option("--path", help="Where it lies in the project.  [default: as declared, else data/NAME]")
@click.option("--url", help="Where it comes from: https:// or s3://.")
@click.option("--licence", help="Its licence, as SPDX names it.")
@of_project
def add(name: str, path: str | None, url: str | None, licence: str | None, folder: Path) -> None:
    """Declare a file in pyproject.toml under its SHA-256, or give a declared one its new digest.

    The file is the one at its path; without one it is downloaded from its address.
    """
    project = find_project(folder, ask=ask_backend)
    with _progress() as tell:
        declared = declare(project, name, data_cache(), path=path, url=url, licence=licence, on_progress=tell)
    where = path_of(name, declared)
    click.echo(f"{declared.sha256}  {where}")
    if declared.url is None and ignored_files(project.root, [where]):
        click.echo(
            f"note: git ignores {where} and it has no address, so no other machine can get it: "
            f"conveyor data add {name} --url URL",
            err=True,
        )


@command.command(short_help="Say which declared data is here.")
@of_project
def status(folder: Path) -> int:
    """Say which declared data is here, missing or changed. Exit code 8: some of it is missing or changed."""
    project = find_project(folder, ask=ask_backend)
    found = datasets(project, data_cache())
    for one in found:
        cached = " (in the cache)" if one.state == "missing" and one.is_cached else ""
        licence = f"  {one.declared.licence}" if one.declared.licence else ""
        click.echo(f"{one.state:<8} {one.name}  {one.path}{cached}{licence}")
    if not found:
        click.echo(f"{project.display_name} declares no data", err=True)
    return 0 if all(one.state == "here" for one in found) else ProjectError.exit_code


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a progress bar for each download on a terminal's standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield tell
