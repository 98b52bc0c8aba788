"""Options that several commands of the pipeline share, and how they are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


def _engine_url(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    """A URL of PostgreSQL; a password on the command line is refused: every user of the machine sees it."""
    if not given:
        return None
    scheme, _, rest = given.partition("://")
    if scheme.partition("+")[0] not in ("postgresql", "postgres") or not rest:
        raise InvalidInput("the engine's database is not PostgreSQL", hint="postgresql://USER@HOST/DATABASE")
    is_typed = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    if is_typed and urlsplit(given).password is not None:
        raise InvalidInput(
            "a password on the command line is seen by everybody on this machine",
            hint="put the URL into CONVEYOR_ENGINE_URL, or the password into a file that PGPASSFILE names",
        )
    return given


def options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options with these names, which several commands share, in this order."""
    known = {
        "repo": click.option(
            "--repo", "repository", default=".", show_default=True, help="Path or URL of the repository."
        ),
        "ref": click.option("--ref", required=True, help="The tag, branch or commit to carry."),
        "project": click.option(
            "--project", metavar="NAME",
            help="Which of a commit's projects.  [default: the only one, or the only one that it changes]",
        ),
        "index": click.option(
            "--index", help="Where its release enters the store.  [default: the only index where it can]"
        ),
        "credentials": click.option(
            "--credentials", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
            envvar="CONVEYOR_WORKER_CREDENTIALS",
            help="The worker's credentials file.  [env: CONVEYOR_WORKER_CREDENTIALS]",
        ),
        "store": click.option(
            "--store", "store_url", envvar="CONVEYOR_URL", help="URL of the store.  [default: as in the file]"
        ),
        "state": click.option(
            "--state", type=click.Path(path_type=Path, file_okay=False), envvar="CONVEYOR_STATE",
            help="Folder for the engine's state, logs, caches.  [default: ~/.local/state/conveyor]",
        ),
        "engine": click.option(
            "--engine", "engine_url", metavar="URL", envvar="CONVEYOR_ENGINE_URL", callback=_engine_url,
            help="PostgreSQL database for the engine's state, which workers on several machines share; "
            "a password comes by the variable or a password file.  [default: a file in the state folder] "
            " [env: CONVEYOR_ENGINE_URL]",
        ),
        "json": click.option("--json", "as_json", is_flag=True, help="Write the outcome as a line of JSON."),
    }  # fmt: skip

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            function = known[name](function)
        return function

    return add


def state_folder(given: Path | None) -> Path:
    """The worker's state folder: the one given, or that of this user."""
    if given is not None:
        return given.absolute()
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).absolute() / "conveyor"


def seen_by_worker(given: str) -> str:
    """A path as a worker elsewhere in the file system finds it; a URL as it is."""
    return str(Path(given).resolve()) if Path(given).exists() else given
