"""Puts the help of every command into the command reference while the documentation is built.

The page `reference/commands.md` holds a marker line; here it becomes one heading and one block per command,
exactly what `conveyor COMMAND --help` prints. So the page cannot say anything the program does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

MARKER = "<!-- the help of every command -->"
WIDTH = 100


def walk(command: click.Command, words: tuple[str, ...] = ("conveyor",)) -> Iterator[tuple[str, str]]:
    """Each command from ``command`` down as (its words, its help text), in the order of ``--help``."""
    context = click.Context(command, info_name=" ".join(words), terminal_width=WIDTH, max_content_width=WIDTH)
    yield " ".join(words), command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from walk(below, (*words, name))


def render_commands() -> str:
    """The reference as Markdown: a heading and the help text of every command."""
    from conveyor.cli import conveyor

    return "\n\n".join(f"## {words}\n\n```text\n{text.strip()}\n```" for words, text in walk(conveyor))


def insert_commands(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the marker by the reference (Sphinx event ``source-read``)."""
    del app, docname
    if MARKER in source[0]:
        source[0] = source[0].replace(MARKER, render_commands())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the event with Sphinx."""
    app.connect("source-read", insert_commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
