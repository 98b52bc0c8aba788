"""Published projects of every build backend are built from git: the same files as their authors' wheels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ConveyorError
from conveyor.project.archives import matches
from conveyor.project.build import build_tag
from flows.built_projects import BuiltProject, built_projects, checkout_of, contents_of, members_of

if TYPE_CHECKING:
    from pathlib import Path

    from figures import Figures

PROJECTS = built_projects()
QUICK = [one for one in PROJECTS if one.is_in_make_test]
BUILDERS = 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("one", QUICK, ids=[one.project for one in QUICK])
def test_published_project_has_the_files_of_its_published_wheel(one: BuiltProject, tmp_path: Path) -> None:
    assert _differences(one, contents_of([one]), tmp_path) == []


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_all_published_projects_have_the_files_of_their_published_wheels(
    tmp_path: Path, figures: Figures
) -> None:
    contents = contents_of(PROJECTS)
    with ThreadPoolExecutor(BUILDERS) as builders:
        found = list(builders.map(lambda one: _differences(one, contents, tmp_path / one.project), PROJECTS))
    assert {one.project: said for one, said in zip(PROJECTS, found, strict=True) if said} == {}
    figures("published projects built", count=len(PROJECTS), backends=len({one.backend for one in PROJECTS}))


def test_the_table_covers_every_backend_and_explains_every_difference() -> None:
    assert len(PROJECTS) >= 40
    assert len(QUICK) == 12
    backends = {one.backend.split()[0] for one in PROJECTS}
    assert backends >= {
        *("setuptools", "setuptools-scm", "setup.py", "hatchling", "flit", "poetry-core", "pdm-backend"),
        *("uv_build", "scikit-build-core", "meson-python"),
    }
    assert [one.project for one in PROJECTS if (one.allow or one.more or one.fewer) and not one.why] == []
    assert [one.project for one in PROJECTS if one.why and not (one.allow or one.more or one.fewer)] == []


def _differences(one: BuiltProject, contents: dict[str, bytes], folder: Path) -> list[str]:
    """What differs from the published wheel without an explanation, and explanations of nothing."""
    root = checkout_of(one, contents[one.sdist.filename], folder / "checkout")
    try:
        built = build_tag(root, f"v{one.version}", folder / "out")
    except ConveyorError as error:
        return [str(error)]
    published = folder / one.wheel.filename
    published.write_bytes(contents[published.name])
    ours, theirs = members_of(built.wheel), members_of(published)
    return [
        *_unexplained("only in ours", ours - theirs, one.more),
        *_unexplained("only in the published one", theirs - ours, one.fewer),
        *(note for note in built.notes if "excepts nothing" in note),
    ]


def _unexplained(what: str, members: set[str], patterns: frozenset[str]) -> list[str]:
    said = [
        f"{member} is {what}"
        for member in sorted(members)
        if not any(matches(f"/{pattern}", member) for pattern in patterns)
    ]
    return said + [
        f"nothing is {what} that {pattern} names"
        for pattern in sorted(patterns)
        if not any(matches(f"/{pattern}", member) for member in members)
    ]
