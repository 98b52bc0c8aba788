from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.names import project_name
from conveyor.errors import InvalidName


@pytest.mark.parametrize(
    ("text", "name"),
    [("demo", "demo"), ("Demo_Pkg", "demo-pkg"), ("a.b--c__d", "a-b-c-d"), ("X", "x"), ("7zip", "7zip")],
)
def test_name_is_normalized(text: str, name: str) -> None:
    assert project_name(text) == name


@pytest.mark.parametrize(
    "text", ["", "-demo", "demo-", "a b", "a/b", "../a", "dämo", "demo\n", "a" * 215, "a\x00b", ".", "_"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        project_name(text)


@given(st.text(max_size=30))
def test_normalizing_again_changes_nothing(text: str) -> None:
    try:
        name = project_name(text)
    except InvalidName:
        return
    assert project_name(name) == name
    assert name.isascii()
    assert "--" not in name
