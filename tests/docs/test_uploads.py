"""The page on uploads says what the code does, and names tests that there are."""

from __future__ import annotations

import ast
import re
from typing import get_args

from conveyor.domain.distributions.archives import GIBIBYTE, MEBIBYTE, ArchiveLimits
from conveyor.domain.distributions.metadata import (
    LONGEST_VALUE,
    METADATA_LIMIT_BYTES,
    MOST_HEADERS,
    NEWEST_METADATA_VERSION,
)
from conveyor.errors import Rule
from conveyor.operations.store.rendering import CPU_SECONDS
from conveyor.server.uploads.forms import FIELDS_LIMIT_BYTES, MOST_PARTS
from docs.markdown import ROOT, page
from domain.public_rules import PUBLIC_RULES

PAGE = "docs/reference/uploads.md"
STRICTER, LOOSER = "Stricter than the public index", "Looser than the public index"


def test_limits_on_the_page_are_those_of_the_code() -> None:
    limits, text = ArchiveLimits(), page(PAGE).text
    assert f"at most {limits.members:,} members" in text
    unpacked = f"{limits.expanded_bytes // GIBIBYTE} GiB or, above {limits.ratio_free_bytes // MEBIBYTE} MiB"
    assert f"not over {unpacked}, {limits.ratio} times its own size" in text
    assert f"up to version {NEWEST_METADATA_VERSION}" in text
    assert f"at most {FIELDS_LIMIT_BYTES // MEBIBYTE} MiB and {MOST_PARTS:,} parts" in text
    sizes = f"{METADATA_LIMIT_BYTES // MEBIBYTE} MiB, {MOST_HEADERS:,} lines, {LONGEST_VALUE:,} characters"
    assert f"at most {sizes} of a value" in text
    assert f"within {CPU_SECONDS:g} s of the processor's time" in text


def _named_tests() -> set[tuple[str, str]]:
    """(file below ``tests``, function) of every test that the page names."""
    return set(re.findall(r"`([\w/]+\.py)::(\w+)`", page(PAGE).text))


def test_every_test_that_the_page_names_exists() -> None:
    missing = []
    for file, name in sorted(_named_tests()):
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        if name not in {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }:
            missing.append(f"{file}::{name}")
    assert missing == []


def test_every_rule_on_the_page_names_a_test() -> None:
    rows = [row for row in page(PAGE).rows() if len(row) == 3 and not re.fullmatch("`[a-z-]+`", row[1])]
    assert len(rows) > 50
    assert [row for row in rows if "::test_" not in row[2]] == []


def test_rules_on_the_page_are_those_that_answers_name() -> None:
    text = _section("Rules by name")
    listed = re.findall(r'^\| <a id="([a-z-]+)"></a>`([a-z-]+)` \|', text, flags=re.MULTILINE)
    assert [name for _, name in listed] == list(get_args(Rule))
    assert all(anchor == name for anchor, name in listed)


def test_what_is_stricter_than_the_public_index_is_on_the_page_with_its_reason() -> None:
    listed = re.findall(r"^\| (.+?) \| `([a-z-]+)` \| .{9,} \|$", _section(STRICTER), re.MULTILINE)
    stricter = [row for row in PUBLIC_RULES if row.is_accepted_there and row.rules_here]
    assert listed == [(row.name, rule) for row in stricter for rule in row.rules_here]


def test_what_is_looser_than_the_public_index_is_on_the_page() -> None:
    listed = re.findall(r"^\| (.+?) \| .{9,} \|$", _section(LOOSER), re.MULTILINE)
    looser = [row.name for row in PUBLIC_RULES if not row.is_accepted_there and not row.rules_here]
    assert listed == looser


def _section(heading: str) -> str:
    """The text below a heading of the page, up to the next one."""
    return page(PAGE).text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
