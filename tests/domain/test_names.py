from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.words.names import is_standard_library, project_name, skeleton, version_or_none
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


@pytest.mark.parametrize(
    ("one", "other"),
    [("demo", "dem0"), ("my-lib", "my1ib"), ("my_lib", "mylib"), ("Illi", "1l11"), ("a.b", "ab")],
)
def test_names_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(project_name(one)) == skeleton(project_name(other))


@pytest.mark.parametrize(("one", "other"), [("demo", "demos"), ("risk-a", "risk-b"), ("cat", "act")])
def test_names_that_differ_in_a_letter_have_two_skeletons(one: str, other: str) -> None:
    assert skeleton(project_name(one)) != skeleton(project_name(other))


@pytest.mark.parametrize(
    ("name", "is_known"), [("json", True), ("concurrent", True), ("future", True), ("numpy", False)]
)
def test_modules_of_python_are_known(name: str, is_known: bool) -> None:
    assert is_standard_library(project_name(name)) is is_known


def test_version_is_read_in_every_spelling() -> None:
    assert version_or_none("v1.0-RC.1") == version_or_none("1.0rc1") != version_or_none("1.0")


@pytest.mark.parametrize("text", ["", "latest", "1.0-", "9" * 5000])
def test_what_is_not_a_version_is_none(text: str) -> None:
    assert version_or_none(text) is None
