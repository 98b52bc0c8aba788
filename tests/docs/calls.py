"""Calls of ``conveyor`` as somebody wrote them, held against the command line."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click

from conveyor.cli import conveyor

if TYPE_CHECKING:
    from collections.abc import Iterator

ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
SEPARATORS = ("|", "||", "&", "&&", ";")


def shell_commands(line: str) -> Iterator[list[str]]:
    """The words of each command in a shell line, assignments, redirections and comments removed."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    is_file = False  # what follows a redirection
    for word in lexer:
        if word in SEPARATORS:
            yield words
            words = []
        elif set(word) <= {"<", ">"}:
            is_file = True
        elif is_file:
            is_file = False
        elif words or not ASSIGNMENT.fullmatch(word):
            words.append(word)
    yield words


def fault_of_call(arguments: list[str]) -> str | None:
    """Why ``conveyor ARGUMENTS`` is not a call the command line takes; ``None`` when it is one."""
    command: click.Command = conveyor
    context = click.Context(command, info_name="conveyor", help_option_names=["-h", "--help"])
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        below = command.get_command(context, name)
        if below is None:
            return f"no command {name}"
        command, context = below, click.Context(below, info_name=name, parent=context)
    if rest in (["--help"], ["-h"]) or (command is conveyor and rest in (["--version"], ["-V"])):
        return None
    if isinstance(command, click.Group):
        return "a group, not a command"
    try:
        values, extra, _ = command.make_parser(context).parse_args(rest)
    except click.UsageError as error:
        return error.format_message()
    if extra:
        return f"takes no {extra}"
    # What was not given is absent or click's own marker, never a text or a tuple of texts.
    given = {name for name, value in values.items() if isinstance(value, str | tuple)}
    missing = [one.name for one in command.params if one.required and one.name not in given]
    return f"needs {missing}" if missing else None
