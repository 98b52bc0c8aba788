"""What a checkout is called in every awkward state, and which project of it a tag means."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from conveyor.cli.version import command
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.build import build_distributions, build_tag
from conveyor.project.foreign import clean_environment_variables
from conveyor.project.settings import read_project
from conveyor.project.trees import project_of_tag, version_of_checkout
from project.checkouts import annotated_tag, commit, git

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCM = """\
[build-system]
requires = ["setuptools", "setuptools-scm"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
dynamic = ["version"]

[tool.setuptools_scm]
"""


def make_repository(folder: Path, *places: str) -> Path:
    """A repository whose first commit holds a project ``demo`` at the top, or one in each of the folders."""
    folder.mkdir(parents=True)
    for place in places or (".",):
        (folder / place).mkdir(parents=True, exist_ok=True)
        name = place.rpartition("/")[2] if places else "demo"
        (folder / place / "pyproject.toml").write_text(SCM.format(name=name))
        (folder / place / "src" / name).mkdir(parents=True)
        (folder / place / "src" / name / "__init__.py").write_text("")
        (folder / place / ".gitignore").write_text("*.egg-info/\n/dist/\n")
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


def light(*tags: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        for tag in tags:
            git(root, "tag", tag)
        return root

    return make


def annotated(*tags: str) -> Callable[[Path], Path]:
    """Annotated tags, each a second younger than the one before."""

    def make(root: Path) -> Path:
        for number, tag in enumerate(tags):
            annotated_tag(root, tag, date=1_700_000_000 + number)
        return root

    return make


def annotated_and_light(one: str, other: str) -> Callable[[Path], Path]:
    return lambda root: light(other)(annotated(one)(root))


def edited(root: Path) -> Path:
    annotated("1.2.1rc1", "1.2.1")(root)
    (root / "src/demo/__init__.py").write_text("edited = True\n")
    return root


def untracked(root: Path) -> Path:
    annotated("1.2.1rc1", "1.2.1")(root)
    (root / "src/demo/new.py").write_text("")
    return root


def detached(root: Path) -> Path:
    annotated("1.2.1rc1", "1.2.1")(root)
    git(root, "checkout", "-q", "1.2.1rc1")
    return root


def depth_one(root: Path) -> Path:
    git(root.parent, "clone", "-q", "--depth=1", f"file://{root}", "clone")
    return root.parent / "clone"


def depth_one_of_a_tag(root: Path) -> Path:
    light("1.2.1rc1", "1.2.1")(root)
    git(root.parent, "clone", "-q", "--depth=1", "--branch=1.2.1rc1", f"file://{root}", "clone")
    return root.parent / "clone"


def one_tag(root: Path) -> Path:
    light("1.2.1rc1", "1.2.1")(root)
    clone = root.parent / "clone"
    git(root.parent, "init", "-q", "clone")
    git(clone, "fetch", "-q", "--no-tags", "--depth=1", str(root), "refs/tags/1.2.1rc1:refs/tags/1.2.1rc1")
    git(clone, "checkout", "-q", "1.2.1rc1")
    return clone


def squashed(root: Path) -> Path:
    git(root, "tag", "-d", "1.2")
    git(root, "tag", "1.2")  # on the last commit
    git(root, "checkout", "-q", "-b", "feature")
    commit(root, {"src/demo/feature.py": ""})
    git(root, "tag", "1.3rc1")
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--squash", "feature")
    commit(root)
    return root


def merged_maintenance(root: Path) -> Path:
    git(root, "tag", "2.0")
    git(root, "checkout", "-q", "-b", "maintenance", "1.2")
    commit(root)
    git(root, "tag", "1.2.1")
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--no-edit", "maintenance")
    return root


def archived(root: Path) -> Path:
    target = root.parent / "archive"
    target.mkdir()
    with tempfile.TemporaryFile() as file:
        subprocess.run(["git", "archive", "HEAD"], cwd=root, stdout=file, check=True)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            archive.extractall(target, filter="data")
    return target


def archived_with_names(root: Path) -> Path:
    lines = "node: $Format:%H$\nref-names: $Format:%D$\ndescribe-name: $Format:%(describe:tags=true)$\n"
    commit(root, {".git_archival.txt": lines, ".gitattributes": ".git_archival.txt export-subst\n"})
    light("1.2.2rc1", "1.2.2")(root)
    return archived(root)


def archived_inside_another(root: Path) -> Path:
    outer = root.parent / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    shutil.copytree(archived(root), outer / "vendored")
    commit(outer)
    git(outer, "tag", "9.9")
    return outer / "vendored"


CASES: dict[str, tuple[Callable[[Path], Path], str | None, str]] = {
    # name: (state, tag asked for, what we build or why we do not); before each: tag 1.2 and two commits
    "1 no tags": (lambda root: (git(root, "tag", "-d", "1.2"), root)[1], None, "0.0.1.dev3+g"),
    "2 two commits after 1.2": (lambda root: root, None, "1.3.dev2+g"),
    "3 light rc1, light final": (light("1.2.1rc1", "1.2.1"), None, "1.2.1"),
    "4 annotated rc1, later annotated final": (annotated("1.2.1rc1", "1.2.1"), None, "1.2.1"),
    "5 detached at 1.2.1rc1, both there": (detached, "1.2.1rc1", "1.2.1rc1"),
    "6 annotated final, later annotated rc1": (annotated("1.2.1", "1.2.1rc1"), None, "1.2.1"),
    "7 annotated rc1, light final": (annotated_and_light("1.2.1rc1", "1.2.1"), None, "1.2.1"),
    "8 light rc1, annotated final": (annotated_and_light("1.2.1", "1.2.1rc1"), None, "1.2.1"),
    "9 light 1.2.1, light 1.2.2": (light("1.2.1", "1.2.2"), None, "1.2.2"),
    "10 tracked edit": (edited, None, "differs from its commit"),
    "11 untracked file": (untracked, None, "differs from its commit"),
    "12 depth-1 clone, 2 after the tag": (depth_one, None, "history is cut off"),
    "13 depth-1 clone of 1.2.1rc1": (depth_one_of_a_tag, "1.2.1rc1", "1.2.1rc1"),
    "14 fetch of that one tag": (one_tag, None, "1.2.1rc1"),
    "15 squash merge, rc left on the branch": (squashed, None, "1.3.dev1+g"),
    "16 2.0 merges maintenance 1.2.1": (merged_maintenance, None, "2.1.dev2+g"),
    "17 source archive": (archived, None, "not in a git repository"),
    "18 archive that names its tags": (archived_with_names, None, "which of the commit's tags was meant"),
    "19 archive committed in another repository": (
        archived_inside_another,
        None,
        "no tag in its history names it",
    ),
    "20 v1.2.3, moving v1, latest": (light("v1.2.3", "v1", "latest"), None, "1.2.3"),
    "21 1.2.3, annotated BASELINE": (annotated("1.2.3", "BASELINE_D2024-10-03"), None, "1.2.3"),
    "22 1.2.3, annotated experiment tag": (annotated("1.2.3", "model-churn-7"), None, "1.2.3"),
}


@pytest.mark.parametrize("name", CASES)
def test_tree_is_called_what_was_released_or_nothing(tmp_path: Path, name: str) -> None:
    state, asked, expected = CASES[name]
    root = make_repository(tmp_path / "demo")
    git(root, "tag", "1.2")
    commit(root)
    commit(root)
    tree = state(root)
    try:
        project = read_project(tree)
        found = version_of_checkout(project).checked() if asked is None else project_of_tag(tree, asked)[1]
        ours = str(found)
    except ProjectError as error:
        ours = f"{error.message}\nhint: {error.hint}"
    peer = subprocess.run(
        [sys.executable, "-m", "setuptools_scm"], cwd=tree, capture_output=True, text=True, check=False,
        env=clean_environment_variables(),
    )  # fmt: skip
    theirs = peer.stdout.strip() or (peer.stderr.strip().splitlines() or ["nothing"])[-1]
    print(f"{name}\n  we: {ours.splitlines()[0]}\n  setuptools-scm: {theirs}")  # noqa: T201
    if expected.endswith("+g"):
        assert ours == f"{expected}{git(tree, 'rev-parse', 'HEAD')[:9]}"
    elif expected[0].isdigit():
        assert ours == expected
    else:
        assert expected in ours
        assert "\nhint: None" not in ours


def test_command_prints_the_version_alone_and_explains_on_standard_error(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "demo")
    for tag in ("v1.2.0-rc1", "latest", "model-churn-7"):
        git(root, "tag", tag)
    done = CliRunner().invoke(command, ["--explain", "--project", str(root)])
    assert (done.exit_code, done.stdout) == (0, "1.2.0rc1\n")
    assert 'the commit carries the release tag "v1.2.0-rc1"' in done.stderr
    assert "1.2.0rc1 is its canonical spelling" in done.stderr
    assert 'does not count: tag "model-churn-7"' in done.stderr
    (root / "new.txt").write_text("")
    done = CliRunner().invoke(command, ["--project", str(root)])
    assert (done.exit_code != 0, done.stdout) == (True, "")


def test_unpacked_sdist_says_what_it_is(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "demo")
    shutil.rmtree(root / ".git")
    (root / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: demo\nVersion: 1.2.0\n\n")
    with pytest.raises(ProjectError, match=r"the unpacked sdist of demo 1\.2\.0"):
        version_of_checkout(read_project(root))


def test_shallow_clone_that_reaches_the_last_release_counts_right(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "demo")
    for _ in range(5):
        commit(root)
    git(root, "tag", "v1.0.0")
    last = commit(root)
    git(tmp_path, "clone", "-q", "--depth=3", f"file://{root}", "clone")
    assert str(version_of_checkout(read_project(tmp_path / "clone")).checked()) == f"1.0.1.dev1+g{last[:9]}"


def test_two_tags_of_one_version_stop_every_build_of_it(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "demo")
    light("v1.2", "v1.2.0")(root)
    answer = version_of_checkout(read_project(root))
    assert '"v1.2" on the same commit names 1.2, too' in answer.reasons
    with pytest.raises(InvalidVersion, match=r'"v1\.2" and "v1\.2\.0" both name'):
        answer.checked()
    with pytest.raises(InvalidVersion, match=r'"v1\.2" and "v1\.2\.0" both name'):
        build_tag(root, "v1.2", tmp_path / "out")


# --- several projects in one repository --------------------------------------------------------------------


def test_project_in_a_folder_is_built_by_its_own_tag_alone(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "many", "packages/one", "packages/two")
    light("one/v1.2.0", "two-v3.0rc1", "v9.9")(root)
    built = build_tag(root, "one/v1.2.0", tmp_path / "out")
    assert (built.project.name, str(built.version)) == ("one", "1.2.0")
    inside = build_tag(root / "packages/two", "two-v3.0rc1")
    assert inside.wheel == root / "packages/two/dist/two-3.0rc1-py3-none-any.whl"
    with pytest.raises(InvalidVersion, match="does not name the project two"):
        build_tag(root / "packages/two", "v9.9")
    with pytest.raises(InvalidVersion, match="a release of no project here") as caught:
        build_tag(root, "three/v1.0", tmp_path / "out")
    assert "one/v1.2.0" in (caught.value.hint or "")


def test_commit_of_a_project_in_a_folder_counts_from_its_own_release(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "many", "packages/one", "packages/two")
    light("one/v1.2.0", "two/v9.9")(root)
    last = commit(root, {"packages/two/README.md": "changed"})
    (root / "packages/two/edited.txt").write_text("")  # no change of project one
    built = build_distributions(root / "packages/one", tmp_path / "out")
    assert str(built.version) == f"1.2.1.dev1+g{last[:9]}"
    with pytest.raises(ProjectError, match=r"edited\.txt"):
        version_of_checkout(read_project(root / "packages/two")).checked()


def test_prefix_that_is_the_name_of_another_project_is_refused(tmp_path: Path) -> None:
    """Else a tag that was signed for that other project would sign this one too."""
    root = make_repository(tmp_path / "many", "mine", "other")
    with (root / "mine/pyproject.toml").open("a") as file:
        file.write('[tool.conveyor]\ntag_prefix = "other-v"\n')
    commit(root)
    git(root, "tag", "other-v1.2.0")
    for folder in (root, root / "mine"):
        with pytest.raises(ProjectError, match="could mean the projects in mine and other"):
            project_of_tag(folder, "other-v1.2.0")


def test_declared_prefix_names_the_project(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "many", "python")
    with (root / "python/pyproject.toml").open("a") as file:
        file.write('[tool.conveyor]\ntag_prefix = "py-"\n')
    commit(root)
    light("py-2024.10.1", "1.0.0")(root)
    project, version = project_of_tag(root, "py-2024.10.1")
    assert (project.name, str(version)) == ("python", "2024.10.1")
    assert str(version_of_checkout(project).checked()) == "2024.10.1"
