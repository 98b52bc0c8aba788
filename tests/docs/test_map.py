"""The room finder agrees with the house."""

from __future__ import annotations

import ast
import re

from docs.markdown import ROOT, page, repository_files

MAP = "docs/map.md"
GENERATED = {"src/conveyor/_version.py"}


def _named_paths() -> set[str]:
    """The paths the map names: code spans with a slash, and links to files."""
    spans = re.findall(r"`([^`\n]+)`", page(MAP).text)
    return {span for span in spans if re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)*/?", span) and "/" in span}


def test_every_path_in_the_room_finder_exists() -> None:
    missing = sorted(path for path in _named_paths() if not (ROOT / path).exists())
    assert missing == []


def test_every_module_stands_in_the_room_finder_with_what_is_in_it() -> None:
    named = _named_paths()
    missing = []
    for file in repository_files():
        path = file.relative_to(ROOT).as_posix()
        if file.suffix != ".py" or not path.startswith("src/conveyor/") or path in GENERATED:
            continue
        shown = path.removesuffix("__init__.py")  # a folder stands for its __init__.py
        is_in_named_templates = any(name.endswith("templates/") and path.startswith(name) for name in named)
        if shown not in named and not is_in_named_templates:
            docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "?"
            missing.append(f"| `{shown}` | {docstring.splitlines()[0]} |")
    assert missing == [], f"add to {MAP}:\n" + "\n".join(missing)


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
