"""Commands that our own messages tell people to call exist."""

from __future__ import annotations

import ast
import re

import click

from conveyor.cli import COMMANDS, conveyor
from docs.markdown import ROOT, repository_files

# At the start of a text, or after punctuation: elsewhere "conveyor" may be the noun.
CALL = re.compile(r"(?:^|[:;,`(]\s*|\b(?:see|with|call|run):? )conveyor ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)")


def _texts() -> list[tuple[str, str]]:
    """Every string constant of the code that speaks of the command, docstrings excluded."""
    found = []
    for file in repository_files():
        if file.suffix != ".py" or not file.is_relative_to(ROOT / "src") or "templates" in file.parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            (f"{file.relative_to(ROOT)}:{node.lineno}", node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ]
    return found


def _is_command(words: list[str]) -> bool:
    """Whether the words begin with a command of ours; of a group, with one of its commands."""
    if words[0] not in COMMANDS:
        return False
    command = conveyor.get_command(click.Context(conveyor), words[0])
    if not isinstance(command, click.Group):
        return True
    return len(words) > 1 and command.get_command(click.Context(command), words[1]) is not None


def test_commands_named_in_messages_exist() -> None:
    wrong = [
        f"{place}: conveyor {call}"
        for place, text in _texts()
        for call in CALL.findall(text)
        if not _is_command(call.split())
    ]
    assert wrong == []
