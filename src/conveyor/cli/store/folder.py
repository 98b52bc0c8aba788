"""Options of the commands that maintain a store's folder, and progress on standard error."""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from conveyor.cli.store.place import Place, completed_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


def on_a_folder(function: Callable[..., Result]) -> Callable[..., Result]:
    """Add the option ``--data`` for an existing store to a command, which receives it as ``data``.

    Commands in the hints of its errors are completed with this folder.
    """

    @wraps(function)
    def wrapped(*arguments: object, data: Path, **options: object) -> Result:
        with completed_hints(Place(data, None, None)):
            return function(*arguments, data=data, **options)

    option: Callable[[Callable[..., Result]], Callable[..., Result]] = click.option(
        "--data",
        type=EXISTING_FOLDER,
        required=True,
        metavar="DIR",
        help="The store's folder; servers may be serving it.",
    )
    return option(wrapped)


def with_grace(function: Callable[..., Result]) -> Callable[..., Result]:
    """Add the option ``--grace`` to a command, which receives hours as ``grace``."""
    option: Callable[[Callable[..., Result]], Callable[..., Result]] = click.option(
        "--grace",
        type=click.FloatRange(min=0),
        default=24.0,
        show_default=True,
        metavar="HOURS",
        help="Ignore blobs that no row names if they are younger.",
    )
    return option(function)


def with_threads(function: Callable[..., Result]) -> Callable[..., Result]:
    """Add the option ``--threads`` to a command, which receives their number as ``threads``."""

    @click.option(
        "--threads",
        type=click.IntRange(1, 64),
        metavar="N",
        help="Files read at a time.  [default: one per processor]",
    )
    @wraps(function)
    def wrapped(*arguments: object, threads: int | None, **options: object) -> Result:
        from conveyor.blobs.inventory import default_threads

        return function(*arguments, threads=threads or default_threads(), **options)

    return wrapped


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int, int], None]]:
    """Show a progress bar on a terminal's standard error; called with (blobs done, all blobs, bytes done)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} blobs, {task.fields[mebibytes]:,.0f} MiB"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=0, mebibytes=0)

        def told(done: int, of: int, size_bytes: int) -> None:
            bar.update(task, completed=done, total=of, mebibytes=size_bytes / 1024**2)

        yield told
