from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from conveyor.domain.words.names import canonical_version, equal_spellings, is_final, parse_version
from conveyor.errors import InvalidVersion


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("1.0-RC1", "1.0rc1"), ("v1.2.1", "1.2.1"), ("1.0+G1_a", "1.0+g1.a"), ("01.2", "1.2"), ("1!2", "1!2")],
)
def test_version_gets_its_canonical_spelling(text: str, canonical: str) -> None:
    assert canonical_version(text) == canonical


@pytest.mark.parametrize("text", ["", "one", "1.0-", "1.0 beta final", "../1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidVersion):
        parse_version(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.0", True), ("1.0.post1", True), ("1.0rc1", False), ("1.0.dev1", False), ("1.0+g1", False)],
)
def test_final_is_neither_pre_release_nor_local(text: str, expected: bool) -> None:
    assert is_final(Version(text)) is expected


def test_equal_spellings_name_every_number_of_zeros() -> None:
    assert equal_spellings(Version("2!1.0rc1+g1"))[:3] == ("2!1rc1+g1", "2!1.0rc1+g1", "2!1.0.0rc1+g1")


@given(
    st.integers(0, 3),
    st.lists(st.integers(0, 20), min_size=1, max_size=6),
    st.sampled_from(["", "rc1", ".dev2", "+a.1"]),
)
def test_equal_spellings_are_equal_canonical_and_include_the_version(
    epoch: int, numbers: list[int], end: str
) -> None:
    version = Version(f"{epoch}!{'.'.join(map(str, numbers))}{end}")
    spellings = equal_spellings(version)
    assert str(version) in spellings
    assert all(Version(spelling) == version and str(Version(spelling)) == spelling for spelling in spellings)
