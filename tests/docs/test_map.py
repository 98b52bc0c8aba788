"""The room finder agrees with the code."""

from __future__ import annotations

import ast
import re
import runpy

from docs.markdown import ROOT, page, repository_files

MAP = "docs/map.md"
GENERATOR = runpy.run_path(str(ROOT / "docs" / "_ext" / "room_finder.py"))


def _named_paths() -> set[str]:
    """The paths the map names: code spans with a slash, and links to files."""
    by_hand = page(MAP).text.partition(GENERATOR["MARKER"])[0]
    spans = re.findall(r"`([^`\n]+)`", by_hand)
    return {span for span in spans if re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)*/?", span) and "/" in span}


def test_every_path_in_the_room_finder_exists() -> None:
    missing = sorted(path for path in _named_paths() if not (ROOT / path).exists())
    assert missing == []


def test_module_tables_are_those_that_the_docstrings_give() -> None:
    _, marker, shown = page(MAP).text.partition(GENERATOR["MARKER"])
    assert marker + shown == GENERATOR["render"](), "call make map"


def test_every_module_says_in_its_docstring_what_is_in_it() -> None:
    silent = [
        file.relative_to(ROOT).as_posix()
        for file in repository_files()
        if file.suffix == ".py"
        and file.is_relative_to(ROOT / "src")
        and "templates" not in file.parts
        and file.name != "_version.py"
        and not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert silent == []
