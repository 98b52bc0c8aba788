"""Commands shown in README, CONTRIBUTING and the documentation exist and take what they are shown with."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import click
import pytest

from conveyor.cli import conveyor
from docs.markdown import ROOT, Page, page, pages

if TYPE_CHECKING:
    from collections.abc import Iterator

ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
SEPARATORS = ("|", "||", "&", "&&", ";")


def _make_targets() -> dict[str, str]:
    """Target → its line of help ("" when it has none), for every target a person may call."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {
        name: line or ""
        for name, line in re.findall(r"^([a-z][a-z-]*):(?!=)[^#\n]*(?:## (.*))?$", text, flags=re.MULTILINE)
    }


def _commands(line: str) -> Iterator[list[str]]:
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


def _calls(one: Page, program: str) -> Iterator[list[str]]:
    """The arguments of every call of ``program`` in the page's shell blocks, also inside `$( )`."""
    for line in one.shell_lines():
        for part in [line, *re.findall(r"\$\(([^()]*)\)", line)]:
            for words in _commands(re.sub(r"\$\([^()]*\)", "VALUE", part)):
                if words[:1] == [program]:
                    yield words[1:]


def _fault(arguments: list[str]) -> str | None:
    """Why ``conveyor ARGUMENTS`` is not a call the command line takes; ``None`` when it is one."""
    command: click.Command = conveyor
    context = click.Context(command, info_name="conveyor")
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


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_conveyor_commands_shown_exist(one: Page) -> None:
    faults = [
        f"conveyor {shlex.join(arguments)}: {fault}"
        for arguments in _calls(one, "conveyor")
        if (fault := _fault(arguments))
    ]
    assert faults == []


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_make_targets_shown_exist(one: Page) -> None:
    targets = _make_targets()
    words = [word for arguments in _calls(one, "make") for word in arguments]
    assert [word for word in words if word not in targets and not ASSIGNMENT.fullmatch(word)] == []


def test_readme_shows_the_two_commands() -> None:
    calls = [arguments[:1] for arguments in _calls(page("README.md"), "make")]
    assert ["demo"] in calls
    assert ["test"] in calls


def test_make_help_lists_every_target() -> None:
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^ +make ([a-z-]+)", printed, flags=re.MULTILINE))
    prerequisites = {
        name for name in _make_targets() if name.endswith("-packages")
    }  # of others, not to be called
    assert set(_make_targets()) - listed <= prerequisites


@pytest.mark.parametrize(
    "line",
    [
        "conveyor nonsense",
        "conveyor --nonsense",
        "conveyor store",
        "conveyor store serve --nonsense",
        "conveyor store serve",
        "conveyor why tumor",
        "conveyor why tumor 1.0 2.0",
    ],
)
def test_a_wrong_command_line_would_be_noticed(line: str) -> None:
    assert _fault(line.split()[1:]) is not None
