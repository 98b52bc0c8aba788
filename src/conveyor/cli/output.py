"""What commands share: options that fill records or name a project, tables and JSON, verdicts and notes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from conveyor.domain.words.records import Column, Field, Option, Record, as_json, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from conveyor.domain.indexes.projects import SizeOfProject, StatusOfProject
    from conveyor.domain.releases.gates.judged import Verdict

Result = TypeVar("Result")
R = TypeVar("R", bound=Record)


def of_project(command: Callable[..., Result]) -> Callable[..., Result]:
    """Add the option ``--project`` to a command, which receives the folder as ``folder``."""
    return click.option(
        "--project", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path(),
        help="The project's folder, or one in it.  [default: the current one]",
    )(command)  # fmt: skip


def seen_by_worker(given: str) -> str:
    """The path of a repository as a worker elsewhere in the file system finds it; a URL as it is."""
    return str(Path(given).resolve()) if Path(given).exists() else given


@dataclass(frozen=True)
class Filled(Generic[R]):
    """Fields of a record, taken from options: called with the command's own fields, it makes the record."""

    record: type[R]
    given: Mapping[str, Any]

    def __call__(self, **known: object) -> R:
        """The record."""
        return self.record(**self.given, **known)


def filling(
    record: type[Record], *, arguments: Collection[str] = (), without: Collection[str] = ()
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Add an option to a command for each field of a record; the command receives a ``Filled`` as ``asked``.

    ``arguments`` are the fields that become positional arguments, ``without`` the fields that the command
    fills itself or leaves out.
    """
    filled = [field for field in shape_of(record) if field.name not in without]

    def add(function: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(function)
        def wrapped(*others: object, **options: object) -> Result:
            values = {field.name: options.pop(field.name) for field in filled}
            given = {name: value for name, value in values.items() if value not in (None, ())}
            return function(*others, asked=Filled(record, given), **options)

        command: Callable[..., Result] = wrapped
        for field in reversed(filled):
            command = (_argument if field.name in arguments else _option)(field)(command)
        return command

    return add


def _argument(field: Field) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    return click.argument(field.name, metavar=_told(field).metavar)


def _option(field: Field) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    told = _told(field)
    return click.option(
        f"--{told.name}",
        field.name,
        required=field.is_required,
        multiple=field.is_list,
        is_flag=field.is_flag,
        type=click.Choice(field.words) if field.words else None,
        metavar=None if field.words or field.is_flag else told.metavar or told.name.upper(),
        help=f"{field.doc}  [several times]" if field.is_list else field.doc,
    )


def _told(field: Field) -> Option:
    name = field.name.removeprefix("is_").replace("_", "-")
    return next((mark for mark in field.marks if isinstance(mark, Option)), Option(name))


def show(found: Iterable[Record], record: type[Record], *, as_text: bool) -> None:
    """Write records as a table of aligned columns (nothing if there are no records), or as JSON."""
    rows = list(found)
    if not as_text:
        click.echo(json.dumps(as_json(rows), indent=2))
        return
    columns = [_column(field) for field in shape_of(record)]
    shown = [(heading, cell) for heading, cell in columns if heading is not None]
    table = [[heading for heading, _ in shown], *([cell(row) for _, cell in shown] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table if rows else ():
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _column(field: Field) -> tuple[str | None, Callable[[Record], str]]:
    """The heading of a field, and the function that makes its cell from a record."""
    heading = field.name.removeprefix("is_").replace("_", " ").upper()
    mark = next((mark for mark in field.marks if isinstance(mark, Column)), Column(heading))
    return mark.heading, mark.cell or (lambda row: _cell(getattr(row, field.name)))


def _cell(value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def tell_line(line: str) -> None:
    """Show a line of what another program says, indented, on standard error."""
    click.echo(f"  {line}", err=True)


def counted(number: int, noun: str) -> str:
    """``1 blob``, ``2 blobs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def verdict_lines(
    verdicts: Iterable[Verdict], *, complete: Callable[[str | None], str | None] = lambda step: step
) -> list[str]:
    """A line for each verdict, followed by a line with the next step, if there is one.

    ``complete`` names the store in the commands of next steps.
    """
    lines = []
    for verdict in verdicts:
        lines.append(f"  {verdict.outcome:<10} {verdict.gate}: {verdict.reason}")
        if verdict.next_step:
            lines.append(f"             → {complete(verdict.next_step)}")
    return lines


def note_unknown(name: str, found: StatusOfProject | SizeOfProject) -> None:
    """Note that the store has nothing of a project: its name may be mistyped."""
    if not found.is_known:
        click.echo(f'note: nothing of "{name}" is here yet', err=True)
