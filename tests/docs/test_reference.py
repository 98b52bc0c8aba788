"""The reference pages say what the code says."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING, get_args

import click
import pytest

from conveyor import errors
from conveyor.cli import COMMANDS, conveyor
from conveyor.domain.releases.evidence import PREDICATE_TYPES, EvidenceKind
from docs.markdown import ROOT, page, repository_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _error_classes(base: type[errors.ConveyorError]) -> Iterator[type[errors.ConveyorError]]:
    yield base
    for below in base.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _error_classes(below)


def _raised() -> set[tuple[str, str, str]]:
    """(class, HTTP status, exit code) of every error, as text."""
    classes = _error_classes(errors.ConveyorError)
    return {(one.__name__, str(one.http_status), str(one.exit_code)) for one in classes}


def test_error_page_lists_every_error_with_its_status_and_exit_code() -> None:
    written = {
        (row[0].strip("`"), row[1], row[2])
        for row in page("docs/reference/errors.md").rows()
        if len(row) == 4
    }
    assert written == _raised()


def test_error_tree_drawn_in_the_module_agrees_with_its_classes() -> None:
    drawn = set(re.findall(r"[├└]── (\w+) +(\d+) +(\d+)", errors.__doc__ or ""))
    assert drawn == {one for one in _raised() if one[0] != "ConveyorError"}


def test_every_environment_variable_of_ours_stands_in_the_configuration_page() -> None:
    read_by_code = {
        name
        for file in repository_files()
        if file.suffix == ".py" and file.is_relative_to(ROOT / "src")
        for name in re.findall(r"\bCONVEYOR_[A-Z_]+\b", file.read_text(encoding="utf-8"))
    }
    written = set(re.findall(r"\bCONVEYOR_[A-Z_]+\b", page("docs/reference/configuration.md").text))
    assert written == read_by_code


@pytest.mark.parametrize("name", ["commands", "http-api", "project-settings", "evidence-and-gates"])
def test_help_and_tables_of_a_page_are_those_of_the_code(name: str) -> None:
    builder = runpy.run_path(str(ROOT / "docs" / "_ext" / "command_reference.py"))
    shown = page(f"docs/reference/{name}.md").text
    assert builder["END"] in shown
    assert builder["filled"](shown) == shown, "call make map"


def test_tables_name_every_endpoint_and_the_fields_of_their_records() -> None:
    from conveyor.server.api.routes import ENDPOINTS

    text = page("docs/reference/http-api.md").text
    for endpoint in ENDPOINTS:
        assert f"| {endpoint.method} | `{endpoint.path}` | {endpoint.right or '-'} |" in text
    for record, field in (("NewToken", "expires_at"), ("Run", "steps"), ("DsseEnvelope", "payloadType")):
        fields = text.partition(f"### {record}\n")[2].partition("### ")[0]
        assert f"| `{field}` |" in fields
    assert "| `next_step` |" in page("docs/reference/evidence-and-gates.md").text


def test_every_kind_of_evidence_and_its_predicate_type_is_described() -> None:
    text = page("docs/reference/evidence-and-gates.md").text
    for kind in get_args(EvidenceKind):
        assert f"## {kind}" in text
    for predicate_type in PREDICATE_TYPES:
        assert f"`{predicate_type}`" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_a_help_text(name: str) -> None:
    silent = []
    first = conveyor.get_command(click.Context(conveyor), name)
    waiting: list[tuple[tuple[str, ...], click.Command | None]] = [(("conveyor", name), first)]
    while waiting:
        words, command = waiting.pop()
        assert command is not None, words
        if not command.help:
            silent.append(" ".join(words))
        silent += [
            f"{' '.join(words)} {option.opts[0]}"
            for option in command.params
            if isinstance(option, click.Option) and not option.help and not option.hidden
        ]
        if isinstance(command, click.Group):
            context = click.Context(command)
            waiting += [
                ((*words, one), command.get_command(context, one)) for one in command.list_commands(context)
            ]
    assert silent == []


@pytest.mark.slow
def test_documentation_builds_without_warnings_and_holds_every_help_text(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d",
         f"{tmp_path}/doctrees", str(ROOT / "docs"), f"{tmp_path}/html"],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    built = (tmp_path / "html" / "reference" / "commands.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"Usage: conveyor {name}" in built
