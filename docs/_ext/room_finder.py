"""Writes the module tables of the room finder, `docs/map.md`, from the docstrings of the modules.

    make map

Every package becomes a heading, in the order in which imports may go; every module a row with the first line
of its docstring. What stands above the marker is written by hand and left alone.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "conveyor"
PAGE = ROOT / "docs" / "map.md"
MARKER = "<!-- The rest is written by `make map`, from the docstrings of the modules. -->"
LAYERS = (
    "cli", "server", "pipeline", "operations", "project", "client", "catalog", "blobs", "upstream", "domain",
)  # fmt: skip
"""From the top down: a layer imports from those after it."""

NO_MODULES = ("_version.py", "templates", "__pycache__")
"""Generated, or not a module of ours."""


def render() -> str:
    """The tables, as Markdown."""
    parts = [MARKER, *_table(PACKAGE, "## The package")]
    for layer in LAYERS:
        for folder in _packages(PACKAGE / layer):
            heading = "##" if folder.parent == PACKAGE else "###"
            parts += _table(folder, f"{heading} `{_path(folder)}`")
    return "\n".join(parts) + "\n"


def _table(folder: Path, heading: str) -> Iterator[str]:
    yield f"\n{heading}\n\n{_about(folder / '__init__.py')}\n"
    rows = [
        f"| `{_path(file)}` | {_about(file).removesuffix('.')} |"
        for file in sorted(folder.glob("*.py"))
        if file.name not in ("__init__.py", *NO_MODULES)
    ]
    if rows:
        yield "\n".join(["| path | what is in it |", "|---|---|", *rows])


def _packages(folder: Path) -> Iterator[Path]:
    """The folder and every package below it."""
    yield folder
    for below in sorted(folder.iterdir()):
        if below.is_dir() and below.name not in NO_MODULES:
            yield from _packages(below)


def _path(place: Path) -> str:
    return place.relative_to(ROOT).as_posix() + ("/" if place.is_dir() else "")


def _about(module: Path) -> str:
    """The first paragraph of a package's docstring, the first line of a module's."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    paragraph = docstring.partition("\n\n")[0]
    text = paragraph if module.name == "__init__.py" else paragraph.partition("\n")[0]
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def main() -> None:
    """Rewrite the page."""
    by_hand = PAGE.read_text(encoding="utf-8").partition(MARKER)[0]
    PAGE.write_text(by_hand + render(), encoding="utf-8")


if __name__ == "__main__":
    main()
