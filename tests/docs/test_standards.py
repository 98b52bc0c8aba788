"""The table of standards names tests that there are, and every standard that the store promises."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from docs.markdown import ROOT, page

TABLE = "docs/reference/standards.md"
PROMISED = {"503", "592", "629", "658", "691", "700", "714", "740", "792", "833"}
"""Of the simple API; see ``conveyor.domain.indexes.simple_api``."""


@cache
def functions_in(file: str) -> frozenset[str]:
    """The names of the test functions in a file below ``tests/``."""
    module = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("row", list(page(TABLE).rows()), ids=lambda row: row[-2][:60])
def test_every_row_is_proven_by_tests_that_there_are(row: tuple[str, ...]) -> None:
    named = re.findall(r"`([^`]+)`", row[-1])
    assert named, "no test is named"
    for one in named:
        file, _, name = one.partition("::")
        assert name in functions_in(file), one


def test_every_promised_standard_is_in_the_table() -> None:
    named = {number for row in page(TABLE).rows() for number in re.findall(r"\d{3}", row[0]) if len(row) == 3}
    assert named == PROMISED
