"""Building, and the wheel contract: what is built is what was declared, or an error names the file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.build import build_distributions, build_tag
from conveyor.project.clones import clone_tag
from conveyor.project.contract import check_archives
from conveyor.project.foreign import Surroundings
from conveyor.project.rooms import build_room
from conveyor.project.settings import read_project
from project.checkouts import annotated_tag, commit, git, long_rounds, new_project, small_model

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = bytes(range(64))


def train(root: Path, content: bytes = WEIGHTS) -> None:
    (root / "src/small/model").mkdir(exist_ok=True)
    (root / "src/small/model/weights.bin").write_bytes(content)


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_development_build_names_its_commit(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    git(root, "tag", "v1.2.0")
    last = commit(root)
    built = build_distributions(root, tmp_path / "out")
    assert str(built.version).startswith(f"1.2.1.dev1+g{last[:7]}")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"demo-{built.version}-py3-none-any.whl",
        f"demo-{built.version}.tar.gz",
    ]
    assert check_archives(read_project(root), built.sdist, built.wheel)[0] == built.version


def test_same_commit_gives_the_same_bytes_with_its_time_and_readable_modes(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    (root / "src/demo/private.py").write_text("")
    (root / "src/demo/private.py").chmod(0o600)
    commit(root, date=1_700_000_000)
    git(root, "tag", "v1.0.0")
    built = build_distributions(root, tmp_path / "first")
    again = build_tag(root, "v1.0.0", tmp_path / "second")
    assert sha256(built.sdist) == sha256(again.sdist)
    assert sha256(built.wheel) == sha256(again.wheel)
    with tarfile.open(built.sdist) as archive:
        assert {member.mtime for member in archive} == {1_700_000_000}
        assert {member.mode for member in archive if member.isfile()} == {0o644}
    with zipfile.ZipFile(built.wheel) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(2023, 11, 14, 22, 13, 20)}


@pytest.mark.parametrize("tag", ["v1.2.1rc1", "v1.2.1"])
def test_tag_is_built_whatever_stands_beside_it(tmp_path: Path, tag: str) -> None:
    """The candidate is annotated and the final is not: git describe takes the candidate for both."""
    root = small_model(tmp_path)
    train(root)
    annotated_tag(root, "v1.2.1rc1", date=1_700_000_000)
    git(root, "tag", "v1.2.1")
    git(root, "tag", "v1")
    built = build_tag(root, tag, tmp_path / "out")
    assert f"v{built.version}" == tag
    with zipfile.ZipFile(built.wheel) as wheel:
        assert wheel.read("small/model/weights.bin") == WEIGHTS


def test_tag_that_is_no_release_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    git(root, "tag", "latest")
    with pytest.raises(InvalidVersion, match="latest"):
        build_tag(root, "latest", tmp_path / "out")


def test_missing_tag_is_named_even_when_a_branch_has_its_name(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    git(root, "branch", "v1.0.0")
    with pytest.raises(ProjectError, match=r'there is no tag "v1\.0\.0"'):
        build_tag(root, "v1.0.0", tmp_path / "out")


def test_model_of_another_commit_is_not_taken_for_a_tag(tmp_path: Path) -> None:
    root = small_model(tmp_path)
    train(root)
    git(root, "tag", "v1.0.0")
    commit(root)
    with pytest.raises(ProjectError, match="another commit is checked out"):
        build_tag(root, "v1.0.0", tmp_path / "out")


def test_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"is missing: src/small/model/weights\.bin") as caught:
        build_distributions(small_model(tmp_path), tmp_path / "out")
    assert "conveyor train" in (caught.value.hint or "")


def test_model_is_inside_with_the_bytes_that_were_trained(tmp_path: Path) -> None:
    root = small_model(tmp_path)
    train(root)
    built = build_distributions(root, tmp_path / "out")
    with zipfile.ZipFile(built.wheel) as wheel:
        assert wheel.read("small/model/weights.bin") == WEIGHTS
        members = wheel.namelist()
    assert not [member for member in members if "test" in member or "notebook" in member]
    train(root, b"trained again")
    with pytest.raises(ProjectError) as caught:
        check_archives(read_project(root), built.sdist, built.wheel)
    of_sdist, of_wheel = caught.value.message.split(f"\n{built.wheel.name} ")
    assert "is inside with other bytes" in of_wheel
    assert "with other bytes" in of_sdist


def test_changes_are_refused_and_named(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    (root / "README.md").write_text("edited")
    (root / "src/demo/new.py").write_text("")
    with pytest.raises(ProjectError) as caught:
        build_distributions(root, tmp_path / "out")
    assert "README.md" in caught.value.message
    assert "src/demo/new.py" in caught.value.message


@pytest.mark.parametrize("folder", ["dist", *long_rounds("wheels")])
def test_second_build_is_not_refused_for_what_the_first_one_left(tmp_path: Path, folder: str) -> None:
    root = new_project(tmp_path)
    (root / ".gitignore").write_text("__pycache__/\n")
    commit(root)
    first = build_distributions(root, root / folder)
    second = build_distributions(root, root / folder)
    assert sha256(second.wheel) == sha256(first.wheel)
    with tarfile.open(second.sdist) as archive:
        assert not [name for name in archive.getnames() if f"/{folder}/" in name]
    (root / folder / "other-1.0.tar.gz").touch()
    with pytest.raises(ProjectError, match=r"other-1\.0\.tar\.gz"):
        build_distributions(root, root / folder)


def test_blind_shallow_clone_is_refused(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    git(root, "tag", "v1.0.0")
    commit(root)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{root}", "shallow")
    with pytest.raises(ProjectError, match="cut off") as caught:
        build_distributions(tmp_path / "shallow", tmp_path / "out")
    assert "--unshallow" in (caught.value.hint or "")


def test_shallow_clone_of_a_tag_builds(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    git(root, "tag", "v1.0.0")
    clone_tag(root, "v1.0.0", tmp_path / "clone")
    built = build_distributions(tmp_path / "clone", tmp_path / "out", version=Version("1.0.0"))
    assert built.version == Version("1.0.0")


def test_development_version_never_sorts_below_a_release_it_contains(tmp_path: Path) -> None:
    """The nearest tag is a maintenance release, merged into a line that was released as 2.0.0."""
    root = new_project(tmp_path)
    git(root, "tag", "v1.0.0")
    git(root, "checkout", "-q", "-b", "maintenance")
    for _ in range(9):
        commit(root)
    git(root, "tag", "v1.0.1")
    git(root, "checkout", "-q", "main")
    commit(root)
    git(root, "tag", "v2.0.0")
    commit(root)
    git(root, "merge", "-q", "--no-edit", "maintenance")
    assert str(build_distributions(root, tmp_path / "out").version).startswith("2.0.1.dev11+g")


def test_wheel_of_another_version_than_the_tag_is_refused(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    git(root, "tag", "v1.0.0")
    built = build_distributions(root, tmp_path / "out")
    with pytest.raises(ProjectError, match=r"it has version 1\.0\.0, the tag is 1\.0\.1"):
        check_archives(read_project(root), built.sdist, built.wheel, version=Version("1.0.1"), is_of_tag=True)
    with pytest.raises(ProjectError, match=r"it has version 1\.0\.0, it was to be 1\.0\.1\.dev3"):
        check_archives(read_project(root), built.sdist, built.wheel, version=Version("1.0.1.dev3"))


def test_backend_that_ignores_the_version_is_caught(tmp_path: Path) -> None:
    """Hatchling calls the project's own code for the version, and that knows no variable."""
    root = new_project(tmp_path)
    text = (root / "pyproject.toml").read_text()
    start, end = text.index("[tool.hatch.version]"), text.index("[tool.hatch.build.targets.sdist]")
    table = '[tool.hatch.version]\nsource = "code"\npath = "number.py"\n\n'
    (root / "pyproject.toml").write_text(text[:start] + table + text[end:])
    (root / "number.py").write_text("__version__ = str(1) + '.0.0'\n")
    commit(root)
    with pytest.raises(ProjectError, match=r"to be built as 2\.0\.0, but hatchling built 1\.0\.0") as caught:
        build_distributions(root, tmp_path / "out", version=Version("2.0.0"))
    assert "[tool.hatch.version]" in (caught.value.hint or "")
    assert list((tmp_path / "out").iterdir()) == []


def test_version_is_forced_on_hatch_vcs_that_does_not_know_its_project(tmp_path: Path) -> None:
    """Without ``dist_name`` hatch-vcs ignores the variable that names the project."""
    root = new_project(tmp_path)
    replace_in(root / "pyproject.toml", 'dist_name = "demo"\n', "")
    commit(root)
    git(root, "tag", "v1.0.0")
    assert build_distributions(root, tmp_path / "out", version=Version("2.0.0")).version == Version("2.0.0")


def test_model_that_the_backend_drops_is_named(tmp_path: Path) -> None:
    root = small_model(tmp_path)
    replace_in(root / "pyproject.toml", 'artifacts = ["/src/small/model/weights.bin"]', "artifacts = []")
    commit(root)
    train(root)
    with pytest.raises(ProjectError, match=r"the model src/small/model/weights\.bin is not inside"):
        build_distributions(root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_tracked_file_that_an_ignore_line_takes_out_is_named(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    (root / "src/demo/models").mkdir()
    (root / "src/demo/models/__init__.py").write_text("")
    commit(root)
    with (root / ".gitignore").open("a") as ignored:
        ignored.write("models/\n")
    commit(root)
    with pytest.raises(ProjectError, match=r"the tracked file src/demo/models/__init__\.py is not inside"):
        build_distributions(root, tmp_path / "out")


def test_ignored_file_that_the_backend_ships_is_named(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    table = '[tool.hatch.build]\nartifacts = ["/src/demo/secret.txt"]\n\n[tool.hatch.build.targets.sdist]'
    replace_in(root / "pyproject.toml", "[tool.hatch.build.targets.sdist]", table)
    with (root / ".gitignore").open("a") as ignored:
        ignored.write("/src/demo/secret.txt\n")
    commit(root)
    (root / "src/demo/secret.txt").write_text("key")
    with pytest.raises(ProjectError, match=r"src/demo/secret\.txt is inside, but git does not track it"):
        build_distributions(root, tmp_path / "out")


def test_raw_data_in_the_sdist_is_named(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    replace_in(root / "pyproject.toml", '["src", "tests", "docs"]', '["src", "tests", "docs", "notebooks"]')
    commit(root)
    with pytest.raises(ProjectError, match=r"notebooks/explore\.ipynb is inside"):
        build_distributions(root, tmp_path / "out")


def test_failing_backend_is_told_with_its_words(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    replace_in(root / "pyproject.toml", "packages = [", "packages = 3 #")
    commit(root)
    with pytest.raises(ProjectError, match="must be an array"):
        build_distributions(root, tmp_path / "out")


def test_build_requirements_come_from_the_given_index_only(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    nobody = Surroundings({"UV_HTTP_RETRIES": "0"}, "http://127.0.0.1:9/simple/")
    with pytest.raises(ProjectError, match=r"127\.0\.0\.1:9"):
        build_distributions(root, tmp_path / "out", around=nobody)


def test_checkout_without_git_is_a_clear_error(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    shutil.rmtree(root / ".git")
    with pytest.raises(ProjectError, match="not in a git repository"):
        build_distributions(root, tmp_path / "out")


OF_A_BACKEND = """\
[build-system]
requires = ["{requires}"]
build-backend = "{backend}"

[project]
name = "demo"
version = "1.0.0"

[tool.conveyor]
kind = "model"
payload = ["src/demo/model.bin"]
train = ["python", "-m", "demo"]
"""


@pytest.mark.parametrize(
    ("requires", "backend", "place", "lines"),
    [
        (
            "hatchling",
            "hatchling.build",
            "artifacts and exclude under [tool.hatch.build] in pyproject.toml",
            '[tool.hatch.build]\nartifacts = ["/src/demo/model.bin"]\nexclude = ["/data"]\n',
        ),
        pytest.param(
            "setuptools",
            "setuptools.build_meta",
            "include, exclude and prune in MANIFEST.in, beside pyproject.toml",
            "include src/demo/model.bin\n",
            marks=pytest.mark.torture,
        ),
    ],
)
def test_broken_contract_leads_to_the_settings_of_the_projects_own_backend(
    tmp_path: Path, requires: str, backend: str, place: str, lines: str
) -> None:
    root = tmp_path / "demo"
    files = {
        "pyproject.toml": OF_A_BACKEND.format(requires=requires, backend=backend),
        "src/demo/__init__.py": "",
        "data/raw.csv": "1",
        ".gitignore": "/src/demo/model.bin\n",
    }
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    git(root, "init", "-q")
    commit(root)
    (root / "src/demo/model.bin").write_bytes(b"model")
    with pytest.raises(ProjectError, match=r"the model src/demo/model\.bin is not inside") as caught:
        build_distributions(root, root / "dist")
    assert (caught.value.hint or "").startswith(f"see {place}; ")
    assert (caught.value.hint or "").endswith("; then commit, and build again")
    git(root, "tag", "v1.0.0")
    with pytest.raises(ProjectError) as of_tag:  # the tag stays at the commit that breaks the contract
        build_tag(root, "v1.0.0", tmp_path / "out")
    assert (of_tag.value.hint or "").endswith("; then commit, tag that commit, and build again")
    named = root / ("MANIFEST.in" if "MANIFEST.in" in place else "pyproject.toml")
    named.write_text((named.read_text() if named.exists() else "") + lines)
    shutil.rmtree(root / "src/demo.egg-info", ignore_errors=True)
    commit(root)
    for _ in range(2):  # setuptools leaves notes of its own in the checkout
        assert str(build_distributions(root, root / "dist").version).startswith("1.0.1.dev1+g")


def test_commands_in_hints_work_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_model(tmp_path / "with space")
    git(root, "tag", "v1.0.0")
    commit(root)
    with pytest.raises(ProjectError) as missing:
        build_distributions(root, tmp_path / "out")
    assert missing.value.hint == f"train it: conveyor train --project '{root}'"
    with pytest.raises(ProjectError) as elsewhere:
        build_tag(root, "v1.0.0", tmp_path / "out")
    assert elsewhere.value.hint == (
        f"train it there: git -C '{root}' checkout v1.0.0 && conveyor train --project '{root}'"
    )
    monkeypatch.chdir(root)
    with pytest.raises(ProjectError) as inside:
        build_distributions(root, tmp_path / "out")
    assert inside.value.hint == "train it: conveyor train"


BACKEND = """\
from pathlib import Path

from hatchling.build import *
from hatchling.build import build_sdist as _build_sdist

def build_sdist(*arguments):
    begun, done = Path({begun!r}), Path({done!r})
    if not begun.exists():
        begun.touch()
        while not done.exists():
            Path("left.txt").touch()
        Path("left.txt").unlink(missing_ok=True)
    return _build_sdist(*arguments)
"""


def test_what_a_killed_build_left_running_keeps_its_room_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, done, temporary = (tmp_path / name for name in ("begun", "done", "tmp"))
    temporary.mkdir()
    root = new_project(tmp_path)
    replace_in(root / "pyproject.toml", '"hatchling.build"', '"backend"\nbackend-path = ["tests"]')
    commit(root, {"tests/backend.py": BACKEND.format(begun=str(begun), done=str(done))})
    git(root, "tag", "v1.0.0")
    command = [sys.executable, "-m", "conveyor", "build", "--tag", "v1.0.0", "--project", str(root)]
    variables = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=variables) as killed:
        while not begun.exists():
            assert killed.poll() is None
            time.sleep(0.05)
        killed.kill()
    (room,) = (path for path in temporary.glob("conveyor-build-*") if (path / "environment").is_dir())
    held = os.open(room, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not (root / "dist").exists() or list((root / "dist").iterdir()) == []
    os.close(held)
    key = f"demo {git(root, 'rev-parse', 'HEAD')}"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(ProjectError, match=rf"have kept {room} for 0 s: process \d+ \(python") as kept:
        build_room(key, wait_seconds=0).__enter__()
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as again:
        assert again.stderr is not None
        assert "  waiting for another build of the same: process " in again.stderr.readline()
        done.touch()
        assert again.wait() == 0, again.stderr.read()
    assert str(kept.value.hint).endswith(tuple("0123456789"))
    assert len(list((root / "dist").iterdir())) == 2
    assert list(temporary.glob("conveyor-build-*")) == []
