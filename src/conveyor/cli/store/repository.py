"""``conveyor store repository``: the repositories for which runs may be requested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.runs.repositories import NewRepository, Repository

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.group("repository", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Register, list and remove the repositories that pipeline runs may be requested for."""


@command.command("add", short_help="Allow runs of the repository URL to release PROJECT.")
@filling(NewRepository, arguments=("project",), without=("url",))
@click.argument("repository", metavar="URL")
@on_a_store
def add(asked: Filled[NewRepository], repository: str, place: Place) -> None:
    """Allow runs of the repository URL to be requested and to release PROJECT (administrators).

    URL is the repository as a worker can reach it, without credentials.
    """
    wanted = asked(url=_absolute(repository))
    with place.client() as client:
        client.repositories.add(wanted)
    click.echo(f"runs of {wanted.url} may release {wanted.project}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List the registered repositories, by project."""
    with place.client() as client:
        show(client.repositories.all(), Repository, as_text=not as_json)


@command.command("remove", short_help="Stop runs of the repository URL from releasing PROJECT.")
@click.argument("project")
@click.argument("repository", metavar="URL")
@on_a_store
def remove(project: str, repository: str, place: Place) -> None:
    """Stop runs of the repository URL from releasing PROJECT (administrators)."""
    with place.client() as client:
        client.repositories.remove(project, _absolute(repository))
    click.echo(f"runs of {_absolute(repository)} no longer release {project}")


def _absolute(url: str) -> str:
    """A path as a worker elsewhere in the file system finds it; a URL as it is."""
    return str(Path(url).resolve()) if Path(url).exists() else url
