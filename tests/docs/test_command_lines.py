"""Commands shown in README, CONTRIBUTING and the documentation exist and take what they are shown with."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from docs.calls import ASSIGNMENT, fault_of_call, shell_commands
from docs.markdown import ROOT, Page, page, pages

if TYPE_CHECKING:
    from collections.abc import Iterator


def _make_targets() -> dict[str, str]:
    """Target → its line of help ("" when it has none), for every target a person may call."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {
        name: line or ""
        for name, line in re.findall(r"^([a-z][a-z-]*):(?!=)[^#\n]*(?:## (.*))?$", text, flags=re.MULTILINE)
    }


def _calls(one: Page, program: str) -> Iterator[list[str]]:
    """The arguments of every call of ``program`` in the page's shell blocks, also inside `$( )`."""
    for line in one.shell_lines():
        for part in [line, *re.findall(r"\$\(([^()]*)\)", line)]:
            for words in shell_commands(re.sub(r"\$\([^()]*\)", "VALUE", part)):
                if words[:1] == [program]:
                    yield words[1:]


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_conveyor_commands_shown_exist(one: Page) -> None:
    faults = [
        f"conveyor {shlex.join(arguments)}: {fault}"
        for arguments in _calls(one, "conveyor")
        if (fault := fault_of_call(arguments))
    ]
    assert faults == []


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_make_targets_shown_exist(one: Page) -> None:
    targets = _make_targets()
    words = [word for arguments in _calls(one, "make") for word in arguments]
    assert [word for word in words if word not in targets and not ASSIGNMENT.fullmatch(word)] == []


def test_readme_shows_the_twoshell_commands() -> None:
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
        "conveyor why",
        "conveyor why tumor 1.0 2.0",
    ],
)
def test_a_wrong_command_line_would_be_noticed(line: str) -> None:
    assert fault_of_call(line.split()[1:]) is not None
