from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.words.ranges import etag_matches, parse_ranges


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-9", [(0, 10)]),
        ("bytes=90-", [(90, 100)]),
        ("bytes=90-1000", [(90, 100)]),
        ("bytes=-10", [(90, 100)]),
        ("bytes=-1000", [(0, 100)]),
        ("Bytes = 1-2 , -5", [(1, 3), (95, 100)]),
        ("bytes=5-5,3-3", [(5, 6), (3, 4)]),
        ("bytes=100-", []),
        ("bytes=-0", []),
        ("bytes=100-200,0-0", [(0, 1)]),
    ],
)
def test_ranges_within_a_file_of_hundred_bytes(header: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_ranges(header, 100) == ranges


@pytest.mark.parametrize(
    "header",
    [
        *(
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "lines=0-1",
            "bytes=0-1;2",
            "bytes=--1",
        ),
        *("bytes=0-99,0-99", "bytes=" + ",".join(["0-0"] * 17), "bytes=" + "9" * 30 + "-", "bytes=\u0661-2"),
    ],
)
def test_header_that_makes_no_sense_or_asks_for_too_much_is_ignored(header: str) -> None:
    assert parse_ranges(header, 100) is None


@given(st.text(alphabet="bytes=0123456789-, ", max_size=60), st.integers(0, 10**6))
def test_ranges_lie_within_the_file_and_never_exceed_it(header: str, size: int) -> None:
    ranges = parse_ranges(header, size) or []
    assert all(0 <= start < end <= size for start, end in ranges)
    assert sum(end - start for start, end in ranges) <= size


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
        ("", False),
    ],
)
def test_known_etag(header: str, matches: bool) -> None:
    assert etag_matches(header, '"a"') is matches
    assert etag_matches(header, '"a"', is_strong=True) is (matches and "W/" not in header)
