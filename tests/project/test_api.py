"""What is public in a package, read from its sources alone, and what a change of it asks for."""

from __future__ import annotations

from textwrap import dedent

import pytest

from conveyor.domain.words.names import Version
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.api import public_api
from conveyor.project.proposals import (
    check_level,
    check_named,
    differences,
    gravest,
    needed_level,
    next_candidate,
    next_version,
)


def api(text: str = "", **modules: str) -> dict[str, object]:
    """The API of a package ``demo`` with this ``__init__`` and these modules."""
    sources = {"demo/__init__.py": dedent(text).encode()}
    sources |= {f"demo/{name}.py": dedent(content).encode() for name, content in modules.items()}
    return dict(public_api(sources))


def changes(before: str, after: str) -> list[str]:
    """The differences between two modules, as ``level: sentence``."""
    old, new = (public_api({"demo/__init__.py": dedent(text).encode()}) for text in (before, after))
    return [f"{one.level}: {one.said}" for one in differences(old, new)]


def test_names_without_underscore_are_public_unless_they_are_imported_from_elsewhere() -> None:
    found = api(
        """
        import os
        import json as json
        from pathlib import Path
        from .inner import helper, _hidden
        if os.name == "nt":
            def only_there(): ...
        try:
            from fast import speed
        except ImportError:
            def speed(): ...
        VALUE, _PRIVATE = 1, 2
        """,
        inner="def helper(a, b=1): ...\ndef _hidden(): ...",
        _private="def nobody(): ...",
    )
    assert set(found) == {
        "demo", "demo.json", "demo.helper", "demo.only_there", "demo.speed", "demo.VALUE",
        "demo.inner", "demo.inner.helper",
    }  # fmt: skip
    assert found["demo.helper"] == found["demo.inner.helper"]


def test_all_says_what_is_public_however_it_is_put_together() -> None:
    text = '__all__ = ["_a"]\n__all__ += ("b",)\n__all__.extend(["c"])\n__all__.append("d")\ndef z(): ...\n'
    assert set(api(text)) == {"demo", "demo._a", "demo.b", "demo.c", "demo.d"}


def test_star_import_brings_the_public_names_of_the_other_module() -> None:
    found = api("from .inner import *", inner='__all__ = ["one"]\ndef one(x): ...\ndef two(): ...')
    assert "demo.one" in found
    assert "demo.two" not in found


def test_modules_of_tests_are_not_public() -> None:
    sources = {"demo/__init__.py": b"", "demo/tests/test_x.py": b"def f(): ...", "demo/conftest.py": b""}
    assert set(public_api(sources)) == {"demo"}


def test_stub_counts_where_there_is_no_module() -> None:
    sources = {"demo/__init__.py": b"", "demo/fast.pyi": b"def f(x: int) -> int: ..."}
    assert "demo.fast.f" in public_api(sources)


def test_every_file_that_cannot_be_parsed_is_named() -> None:
    with pytest.raises(ProjectError, match=r"demo/a\.py, line 1; demo/b\.py"):
        public_api({"demo/a.py": b"def (", "demo/b.py": b"x = '\n"})


def test_moving_code_and_keeping_its_name_changes_nothing() -> None:
    before = api("def f(a): ...\nclass C:\n    def m(self): ...")
    after = api(
        "from ._moved import f, C", _moved="def f(a): ...\nclass B:\n    def m(self): ...\nclass C(B): ..."
    )
    assert differences(before, after) == ()  # type: ignore[arg-type]


def test_member_moved_to_a_base_in_the_package_is_still_there() -> None:
    before = "class C:\n    def m(self, a): ..."
    after = "class _B:\n    def m(self, a): ...\nclass C(_B): ..."
    assert changes(before, after) == []


PARAMETERS = [
    ("a", "a, b=1", ["minor: parameter b of demo.f() is new"]),
    ("a", "a, *, b", ["major: parameter b of demo.f() is new and must be given"]),
    ("a, b", "a", ["major: parameter b of demo.f() was removed"]),
    ("a, b", "b, a", 2),
    ("a=1", "a", ["major: parameter a of demo.f() must be given now"]),
    ("a", "a=1", []),
    ("a", "*, a", ["major: parameter a of demo.f() can no longer be given by position"]),
    ("*, a", "a", []),
    ("a", "a, /", ["major: parameter a of demo.f() can no longer be given by name"]),
    ("a, /", "b, /", []),
    ("a, b, /", "a, /", ["major: demo.f() no longer takes 2 arguments by position"]),
    ("*args", "", ["major: demo.f() no longer takes any number of arguments"]),
    ("**more", "", ["major: demo.f() no longer takes any keyword"]),
    ("*, a", "**more", ["minor: demo.f() takes further arguments as **more"]),
    ("a: int = 1", "a: str = 2", []),
]


@pytest.mark.parametrize(("before", "after", "expected"), PARAMETERS)
def test_parameters_are_judged_as_callers_meet_them(
    before: str, after: str, expected: list[str] | int
) -> None:
    found = changes(f"def f({before}): ...", f"def f({after}): ...")
    if isinstance(expected, int):
        assert len(found) == expected
        assert all(one.endswith("has another position") for one in found)
    else:
        assert found == expected


CLASSES = [
    ("class C: ...", "class C:\n    x = 1", ["minor: attribute demo.C.x is new"]),
    ("class C:\n    def m(self): ...", "class C: ...", ["major: method demo.C.m was removed"]),
    ("class C:\n    def m(self): ...", "class C:\n    async def m(self): ...",
     ["major: demo.C.m was a method and is a coroutine method"]),
    ("class C:\n    x = 1", "class C:\n    @property\n    def x(self): ...", []),
    ("class C:\n    def __init__(self):\n        self.x = 1", "class C:\n    def __init__(self): ...",
     ["major: attribute demo.C.x was removed"]),
    ("class C(Exception): ...", "class C: ...", ["major: class demo.C no longer derives from Exception"]),
    ("@dataclass\nclass C:\n    a: int", "@dataclass\nclass C:\n    a: int\n    b: int",
     ["major: parameter b of demo.C() is new and must be given", "minor: attribute demo.C.b is new"]),
    ("@dataclass\nclass C:\n    a: int", "@dataclass\nclass C:\n    a: int\n    b: int = field(default=1)",
     ["minor: attribute demo.C.b is new", "minor: parameter b of demo.C() is new"]),
    ("class C: ...", "", ["major: class demo.C was removed"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), CLASSES)
def test_classes_are_judged_by_members_constructor_and_bases(
    before: str, after: str, expected: list[str]
) -> None:
    assert sorted(changes(before, after)) == sorted(expected)


def test_commands_and_extras_are_names_too() -> None:
    found = differences(public_api({}, commands=["demo"], extras=["fast"]), public_api({}))
    assert [one.said for one in found] == ["command demo was removed", "extra fast was removed"]
    assert gravest(found) == "major"


def test_below_1_0_an_incompatible_change_asks_for_a_minor_release() -> None:
    lost = differences(api("def f(): ..."), api())  # type: ignore[arg-type]
    new = differences(api(), api("def f(): ..."))  # type: ignore[arg-type]
    assert [needed_level(one, last=Version("1.2.3")) for one in (lost, new, ())] == [
        "major",
        "minor",
        "patch",
    ]
    assert [needed_level(one, last=Version("0.2.3")) for one in (lost, new, ())] == [
        "minor",
        "patch",
        "patch",
    ]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("1.2.3", ["1.2.4", "1.3.0", "2.0.0"]),
        ("1.2", ["1.2.1", "1.3", "2.0"]),
        ("0.9.9", ["0.9.10", "0.10.0", "1.0.0"]),
        ("1.2.3.post1", ["1.2.4", "1.3.0", "2.0.0"]),
        ("1.2.3.4", ["1.2.4.0", "1.3.0.0", "2.0.0.0"]),
    ],
)
def test_next_version_has_as_many_numbers(last: str, expected: list[str]) -> None:
    assert [str(next_version(Version(last), level)) for level in ("patch", "minor", "major")] == expected


def test_versions_that_are_dates_follow_no_word() -> None:
    with pytest.raises(InvalidVersion, match="dates") as caught:
        next_version(Version("2026.11.0"), "minor")
    assert "--as" in str(caught.value.hint)


def test_next_candidate_follows_the_known_ones_of_its_final() -> None:
    known = [Version(text) for text in ("1.2.0rc1", "1.2.0rc9", "1.3.0rc12", "1.2.0b3", "1.1.0")]
    assert str(next_candidate(Version("1.2.0"), known)) == "1.2.0rc10"
    assert str(next_candidate(Version("1.1.1"), known)) == "1.1.1rc1"


def test_word_that_asks_for_less_than_the_api_needs_is_an_error_that_names_the_differences() -> None:
    found = differences(api("def f(): ...\ndef g(): ..."), api("def h(): ..."))  # type: ignore[arg-type]
    with pytest.raises(ProjectError) as caught:
        check_level("minor", found, last=Version("1.0.0"))
    assert "1.1.0 would be a minor release" in caught.value.message
    assert "function demo.f was removed" in caught.value.message
    assert "demo.h" not in caught.value.message
    assert "conveyor release major" in str(caught.value.hint)
    check_level("major", found, last=Version("1.0.0"))
    with pytest.raises(ProjectError, match=r"1\.9\.0 is too low"):
        check_named(Version("1.9.0"), found, last=Version("1.0.0"))
    check_named(Version("2026.12.0"), found, last=Version("2026.11.0"))
