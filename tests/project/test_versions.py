"""Which tags are releases, what commits between them are called, and that the build backend agrees."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from conveyor.domain.words.names import project_name
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.clones import clone_tag
from conveyor.project.settings import read_project
from conveyor.project.trees import version_of_checkout
from conveyor.project.versions import (
    History,
    TagRules,
    forced_version,
    is_release_tag,
    refuse_twins,
    releases_among,
    version_of_release_tag,
    version_of_tree,
)
from project.checkouts import annotated_tag, commit, git, long_rounds, new_project, version_of

if TYPE_CHECKING:
    from pathlib import Path

ALONE = TagRules(project_name("demo"))
FOLDER = TagRules(project_name("demo"), is_alone=False)

RELEASES = (
    "v1.2.3", "1.2.3", "v0.1.0rc1", "1.2.3a4", "1.2.3b1", "10.20.30", "v1.2.3.post1", "0.0.1", "v1.2", "1.2",
    "1.2rc1", "v1.2.post1", "2024.10", "v2024.10rc2", "v1.2.3.4", "1.2.3.4rc1", "1.2.3.4.post1", "2024.01.05",
)  # fmt: skip
"""Those that the globs of generated projects admit."""
OTHER_SPELLINGS = {
    "2024.01.05": "2024.1.5",
    "1.2.3-rc1": "1.2.3rc1",
    "v1.2.3-beta": "1.2.3b0",
    "v1.2.3RC2": "1.2.3rc2",
    "v01.2.3": "1.2.3",
    "demo/v1.2.3": "1.2.3",
    "demo-v1.2.3rc1": "1.2.3rc1",
    "Demo-1.2": "1.2",
}
NO_RELEASES = (
    "v1", "1", "latest", "model-churn-7", "BASELINE_D2024-10-03", "pkg/v1.2.3", "1.2.x", "1.2.3-4", "1!1.2.3",
    "v1.2.3.dev1", "1.2.3+local", "release-1.2.3", "nightly-1.2.3", "vv1.2.3", "v1.2.3.4.5", "demo", "demo-",
    "other-demo-1.2.3", "demo-extra-v1.2.3", "demo/extra/v1.2.3", "V1.2.3",
)  # fmt: skip


@pytest.mark.parametrize("tag", RELEASES)
def test_release_tag_has_the_version_it_spells(tag: str) -> None:
    assert version_of_release_tag(tag, ALONE) == Version(tag)


@pytest.mark.parametrize(("tag", "version"), OTHER_SPELLINGS.items())
def test_other_spellings_are_releases_under_the_canonical_one(tag: str, version: str) -> None:
    assert str(version_of_release_tag(tag, ALONE)) == version


@pytest.mark.parametrize("tag", NO_RELEASES)
def test_other_tags_never_count(tag: str) -> None:
    assert not is_release_tag(tag, ALONE)
    assert not is_release_tag(tag, FOLDER)


@pytest.mark.parametrize("tag", [*RELEASES, "v1.2", "other/v1.2.3"])
def test_tag_in_a_repository_of_several_projects_must_name_its_project(tag: str) -> None:
    with pytest.raises(InvalidVersion, match="does not name the project demo"):
        version_of_release_tag(tag, FOLDER)


@pytest.mark.parametrize("prefix", ["rel-", "rel/v", "", "demo@"])
def test_declared_prefix_is_the_only_one(prefix: str) -> None:
    rules = TagRules(project_name("demo"), prefix, is_alone=False)
    assert version_of_release_tag(f"{prefix}1.2.3", rules) == Version("1.2.3")
    assert not is_release_tag("demo/v1.2.3", rules)
    assert not is_release_tag(f"{prefix}vv1.2.3", rules)
    assert is_release_tag(f"{prefix}v1.2.3", rules) is not prefix.endswith("v")


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("latest", "is not a version"),
        ("v1", "two to four numbers"),
        ("1!1.2.3", "two to four numbers"),
        ("v1.2.3-4", "could mean 1.2.3.post4 or something else"),
        ("v1.2.3-dev4", "development version"),
        ("v1.2.3+gabcdef0", "development version"),
        ("other/v1.2.3", "does not name the project demo"),
    ],
)
def test_refused_tag_gives_the_reason(tag: str, reason: str) -> None:
    with pytest.raises(InvalidVersion, match=reason):
        version_of_release_tag(tag, ALONE)


def test_tags_that_spell_one_version_are_all_named() -> None:
    releases = releases_among(["v1.2", "1.2.0", "v1.2.0rc1", "latest"], ALONE)
    refuse_twins(Version("1.2.0rc1"), releases)
    with pytest.raises(InvalidVersion, match=r'"1\.2\.0" and "v1\.2" both name the version 1\.2'):
        refuse_twins(Version("1.2"), releases)


@pytest.mark.parametrize(
    ("static", "tags", "coming"),
    [
        ("1.2.0", (), "1.2.0"),
        ("1.2.0", ("v1.1.0",), "1.2.0"),
        ("1.2.0", ("v1.2.0",), "1.2.1"),
        ("1.2.0", ("v1.2.0rc1",), "1.2.1"),  # above the candidate, below nothing
        ("1.3.0.dev0", ("v1.2.0",), "1.3.0"),
        ("1.0.0", ("v1.2.0",), "1.2.1"),
        (None, ("v1.2.0.post1",), "1.2.1"),
        (None, ("2024.10",), "2024.11"),
    ],
)
def test_development_version_lies_above_all_that_was_released(
    static: str | None, tags: tuple[str, ...], coming: str
) -> None:
    history = History("a1b2c3d4e", (), tags, 3)
    answer = version_of_tree(history, ALONE, static=Version(static) if static else None, git="git")
    assert str(answer.checked()) == f"{coming}.dev3+ga1b2c3d4e"
    assert all(answer.version > Version(tag) for tag in tags)


def test_tag_that_the_stated_version_contradicts_is_a_fault() -> None:
    for tag, is_right in (("v1.2.0", True), ("v1.2.0rc3", True), ("v1.2.1", False), ("v1.3.0rc1", False)):
        answer = version_of_tree(
            History("a1b2c3d4e", (tag,), (tag,), 0), ALONE, static=Version("1.2.0"), git="git"
        )
        assert (not answer.faults) is is_right, tag


def test_all_faults_are_named_at_once() -> None:
    history = History("a1b2c3d4e", (), (), 3, is_cut_off=True, changed=("a.py",), hidden=("b.py",))
    with pytest.raises(
        ProjectError,
        match=r"(?s)differs from.*a\.py.*not to look.*b\.py.*cut off before.*no tag in its history",
    ):
        version_of_tree(history, FOLDER, static=None, git="git").checked()
    assert version_of_tree(history, FOLDER, static=None, git="git").reasons == (
        "no release is in what is here of its history, so 0.0.1 is to come",
        "3 commits so far, as far as history is here, and a1b2c3d4e is this one",
    )


# --- the same rules in the build backend of a generated project -------------------------------------------


@pytest.fixture(scope="module")
def globs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The ``git describe`` command of a generated project, without what surrounds the tag."""
    root = new_project(tmp_path_factory.mktemp("globs"))
    document = tomllib.loads((root / "pyproject.toml").read_text())
    command = document["tool"]["hatch"]["version"]["raw-options"]["scm"]["git"]["describe_command"]
    assert isinstance(command, list)
    return [word for word in command[1:] if word not in ("--dirty", "--long", "--abbrev=40")]


def test_globs_of_generated_projects_admit_the_same_tags(tmp_path: Path, globs: list[str]) -> None:
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    for tag in (*RELEASES, *set(NO_RELEASES) - {"1.2.3-4"}):
        git(tmp_path, "tag", tag)
        try:
            found = git(tmp_path, *globs, "--abbrev=0", "--always")
        finally:
            git(tmp_path, "tag", "-d", tag)
        assert (found == tag) == (tag in RELEASES), tag


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path)


def test_version_has_three_components_before_the_first_tag(project: Path) -> None:
    version = Version(version_of(project))
    assert len(version.release) == 3
    assert version.is_devrelease
    assert version < Version("0.1.0rc1")


def test_commit_after_a_release_is_the_next_version_and_names_itself(project: Path) -> None:
    git(project, "tag", "v1.2.0")
    commit(project)
    last = commit(project)
    version = version_of(project)
    assert version.startswith("1.2.1.dev2+g")
    short = version.removeprefix("1.2.1.dev2+g")
    assert len(short) >= 7
    assert last.startswith(short)


def test_commit_after_a_candidate_sorts_above_the_final(project: Path) -> None:
    git(project, "tag", "v1.2.1rc1")
    commit(project)
    assert Version(version_of(project)) > Version("1.2.1")


@pytest.mark.parametrize("tag", ["2024.10", "v1.2.3.4rc1"])
def test_release_of_two_or_four_numbers_is_that_of_the_backend_and_commits_after_it_sort_above(
    project: Path, tag: str
) -> None:
    git(project, "tag", tag)
    assert version_of(project) == str(version_of_checkout(read_project(project)).checked()) == tag.strip("v")
    commit(project)
    released = Version(tag.partition("rc")[0])
    ours = version_of_checkout(read_project(project)).checked()
    assert min(ours, Version(version_of(project))) > released


@pytest.mark.parametrize("stray", ["v1", "latest", "model-churn-7", "BASELINE_D2024-10-03"])
def test_moving_and_experiment_tags_never_count(project: Path, stray: str) -> None:
    git(project, "tag", "v1.2.3")
    annotated_tag(project, stray, date=4_000_000_000)
    assert version_of(project) == "1.2.3"


def test_edited_file_is_seen_in_the_version(project: Path) -> None:
    git(project, "tag", "v1.2.3")
    (project / "README.md").write_text("edited\n")
    assert version_of(project).startswith("1.2.4.dev0+g")


def test_shallow_clone_without_a_tag_is_an_error_instead_of_a_wrong_version(
    project: Path, tmp_path: Path
) -> None:
    git(project, "tag", "v1.2.3")
    commit(project)
    commit(project)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{project}", "shallow")
    assert "shallow" in version_of(tmp_path / "shallow")


@pytest.mark.parametrize("asked", ["v1.2.1rc1", "v1.2.1"])
@pytest.mark.parametrize(
    "order", ["candidate newer", *long_rounds("light, light", "final newer", "annotated candidate")]
)
def test_clone_of_one_tag_has_its_version_whatever_stands_beside_it(
    project: Path, tmp_path: Path, asked: str, order: str
) -> None:
    """Both tags on one commit, in every order that git describe would take for something else."""
    dates = {"candidate newer": (2, 1), "final newer": (1, 2), "annotated candidate": (1, None)}
    candidate, final = dates.get(order, (None, None))
    for tag, date in (("v1.2.1rc1", candidate), ("v1.2.1", final)):
        if date is None:
            git(project, "tag", tag)
        else:
            annotated_tag(project, tag, date=1_700_000_000 + date)
    clone_tag(project, asked, tmp_path / "clone")
    assert version_of(tmp_path / "clone") == str(version_of_release_tag(asked, ALONE))


def test_override_of_this_project_wins_and_that_of_another_does_not(project: Path, tmp_path: Path) -> None:
    git(project, "tag", "v1.2.3")
    own = forced_version(read_project(project), Version("9.9.9"))
    assert sorted(own) == [
        "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DEMO",
        "VCS_VERSIONING_PRETEND_VERSION_FOR_DEMO",
    ]
    assert version_of(project, own) == "9.9.9"
    other = new_project(tmp_path / "beside", "other-one")
    assert version_of(project, forced_version(read_project(other), Version("9.9.9"))) == "1.2.3"


def test_computed_version_is_that_of_the_backend_in_a_plain_history(project: Path) -> None:
    for tag in ("v0.9.0", None, "v1.0.0rc1"):
        if tag is not None:
            git(project, "tag", tag)
        else:
            commit(project)
        assert str(version_of_checkout(read_project(project)).checked()) == version_of(project)
