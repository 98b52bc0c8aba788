"""What README shows is what the product does."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET

from docs.markdown import ROOT, page

STORY = ROOT / "src/conveyor/cli/demo/story.py"
SVG = "{http://www.w3.org/2000/svg}"


def _station_titles() -> list[re.Pattern[str]]:
    """The titles of the demo's stations, in the order they are written; formatted parts match anything."""
    tree = ast.parse(STORY.read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "station"
    ]
    calls.sort(key=lambda node: node.lineno)
    return [_pattern(call.args[1]) for call in calls]


def _pattern(title: ast.expr) -> re.Pattern[str]:
    parts = title.values if isinstance(title, ast.JoinedStr) else [title]
    return re.compile(
        "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)
    )


def test_demo_excerpt_shows_every_station_in_order() -> None:
    shown = re.findall(r"^ *\d+\. (.+)$", _excerpt("demo"), flags=re.MULTILINE)
    titles = _station_titles()
    assert len(shown) == len(titles)
    assert [title.pattern for title, line in zip(titles, shown, strict=True) if not title.match(line)] == []


def test_test_excerpt_reports_success() -> None:
    assert re.search(r"\d+ passed", _excerpt("test"))


def test_picture_is_well_formed_describes_itself_and_has_dark_colours() -> None:
    path = ROOT / "docs" / "images" / "way.svg"
    root = ET.parse(path).getroot()  # noqa: S314 - a file of ours
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")
    assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")


def test_readme_is_read_in_two_minutes() -> None:
    prose = re.sub(r"```.*?```|<!--.*?-->|\]\([^)]*\)", " ", page("README.md").text, flags=re.DOTALL)
    assert len(re.findall(r"\w+", prose)) <= 700


def _excerpt(name: str) -> str:
    """The text block after the marker of that excerpt."""
    found = re.search(rf"<!-- {name} excerpt[^>]*-->\s*```text\n(.*?)```", page("README.md").text, re.DOTALL)
    assert found, f"README.md has no excerpt of make {name}"
    return found[1]
