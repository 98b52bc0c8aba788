"""Links between the pages of this repository lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs.markdown import ROOT, Page, pages


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_links_inside_the_repository_resolve(one: Page) -> None:
    faults = []
    for link in one.links():
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (one.path.parent / path).resolve() if path else one.path
        if not target.is_relative_to(ROOT) or not target.exists():
            faults.append(f"{link}: there is no such file")
        elif anchor and anchor not in Page(target).anchors():
            faults.append(f"{link}: {target.name} has no such heading")
    assert not faults


ROOMS = (ROOT, ROOT / "src" / "conveyor", ROOT / "tests")
"""Where a path in a sentence may begin: `server/web/front.py` is short for the one below `src/conveyor`."""


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_modules_named_in_sentences_exist(one: Page) -> None:
    named = [Path(path) for path in re.findall(r"`(\w[\w.-]*(?:/[\w.-]+)+\.py)`", one.text)]
    of_this_repository = [path for path in named if any((room / path.parts[0]).is_dir() for room in ROOMS)]
    assert [
        str(path) for path in of_this_repository if not any((room / path).is_file() for room in ROOMS)
    ] == []


def test_every_page_below_docs_is_reachable_from_the_index() -> None:
    by_path = {one.path: one for one in pages()}
    start = ROOT / "docs" / "index.md"
    seen, waiting = {start}, [start]
    while waiting:
        one = by_path[waiting.pop()]
        targets = [link.partition("#")[0] for link in one.links()]
        targets += [line.strip() for line in one.text.splitlines() if line.strip().endswith(".md")]
        for target in targets:
            path = (one.path.parent / target).resolve()
            if path in by_path and path not in seen:
                seen.add(path)
                waiting.append(path)
    inside = {path for path in by_path if path.is_relative_to(ROOT / "docs")}
    assert sorted(path.relative_to(ROOT).as_posix() for path in inside - seen) == []
