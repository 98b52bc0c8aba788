"""Declared data of a checkout: brought, refused, declared; and training that reads what nothing declares."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from conveyor.cli import conveyor
from conveyor.errors import InvalidInput, ProjectError, StepFailed
from conveyor.project.data import bring, cached_file, datasets, declare
from conveyor.project.environment import Environment, make_environment
from conveyor.project.foreign import Surroundings
from conveyor.project.settings import read_project
from conveyor.project.train import train, watched
from project.checkouts import commit, git, small_model
from upstreams import Served, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.project.settings import Project
    from upstreams import RunningUpstream

ROWS = b"1,2\n3,4\n"
DIGEST = hashlib.sha256(ROWS).hexdigest()
NAMED = '[project]\nname = "demo"\nversion = "1.0"\n'
SOURCE = {"PYTHONPATH": "src"}


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningUpstream]:
    with running_upstream(tls_folder=tmp_path / "tls") as upstream:
        monkeypatch.setenv("SSL_CERT_FILE", str(upstream.cert))
        upstream.paths["/rows.csv"] = Served(ROWS, headers={"ETag": '"1"'})
        yield upstream


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp("environment") / "venv")


def project_with(folder: Path, *data: str) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text("\n".join([NAMED, *data]))
    return read_project(folder)


def table(name: str, sha256: str = DIGEST, **more: str) -> str:
    lines = [f'{key} = "{value}"' for key, value in more.items()]
    return "\n".join([f"[tool.conveyor.data.{name}]", f'sha256 = "{sha256}"', *lines, ""])


def test_data_is_downloaded_once_and_then_comes_from_the_cache(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    cache, declared = tmp_path / "cache", table("rows", url=f"{upstream.root}/rows.csv")
    for name in ("one", "two"):
        project = project_with(tmp_path / name, declared)
        assert [one.name for one in bring(project, cache)] == ["rows"]
        assert (project.root / "data/rows").read_bytes() == ROWS
        assert bring(project, cache) == ()
    assert upstream.asked("/rows.csv") == 1


def test_other_bytes_than_declared_are_refused_and_not_kept(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    project = project_with(tmp_path / "project", table("rows", "0" * 64, url=f"{upstream.root}/rows.csv"))
    with pytest.raises(ProjectError, match=f"/rows.csv has SHA-256 {DIGEST}, but data.rows declares 0000"):
        bring(project, tmp_path / "cache")
    assert not (project.root / "data").exists()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_all_faults_of_data_are_told_at_once_and_no_file_is_replaced(tmp_path: Path) -> None:
    project = project_with(
        tmp_path / "project",
        table("mine", path="mine.csv", url="https://localhost/mine.csv"),
        table("gone", path="gone.csv"),
    )
    (project.root / "mine.csv").write_bytes(b"my work")
    with pytest.raises(ProjectError) as refused:
        bring(project, tmp_path / "cache")
    assert f"mine.csv has another SHA-256 than {DIGEST}" in refused.value.message
    assert "gone.csv is not here, and nothing says where it comes from" in refused.value.message
    assert (project.root / "mine.csv").read_bytes() == b"my work"
    assert [one.state for one in datasets(project, tmp_path / "cache")] == ["changed", "missing"]
    with pytest.raises(InvalidInput, match="declares no data called other"):
        bring(project, tmp_path / "cache", names=["other"])


def test_data_is_not_written_through_a_committed_link_out_of_the_project(tmp_path: Path) -> None:
    """A link that is not committed is the user's own, as to a larger disk."""
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    outside.mkdir()
    cached_file(cache, DIGEST).parent.mkdir(parents=True)
    cached_file(cache, DIGEST).write_bytes(ROWS)
    project = project_with(tmp_path / "project", table("rows", path="data/sub/rows.csv"))
    (project.root / "data").symlink_to(outside)
    git(project.root, "init", "-q")
    git(project.root, "add", "--all")
    with pytest.raises(ProjectError, match=r"data/sub/rows\.csv leads out of the project"):
        bring(project, cache)
    with pytest.raises(ProjectError, match="leads out of the project"):
        declare(project, "more", cache, path="data/more.csv", url="https://localhost/more.csv")
    assert not list(outside.iterdir())
    git(project.root, "rm", "-q", "--cached", "data")
    bring(project, cache)
    assert (outside / "sub/rows.csv").read_bytes() == ROWS


def test_declaration_that_would_not_be_valid_writes_nothing(tmp_path: Path) -> None:
    project = project_with(tmp_path / "project")
    (project.root / "rows.csv").write_bytes(ROWS)
    before = (project.root / "pyproject.toml").read_bytes()
    with pytest.raises(InvalidInput, match="licence of rows cannot be written"):
        declare(project, "rows", tmp_path / "cache", path="rows.csv", licence="a\nb")
    with pytest.raises(ProjectError, match="not an address"):
        declare(project, "rows", tmp_path / "cache", path="rows.csv", url="http://localhost/rows.csv")
    assert (project.root / "pyproject.toml").read_bytes() == before
    assert sorted(path.name for path in project.root.iterdir()) == ["pyproject.toml", "rows.csv"]


def test_file_is_declared_and_declared_again_with_its_new_digest(tmp_path: Path) -> None:
    project = project_with(tmp_path / "project", "[tool.other]\nkey = 1  # kept\n")
    (project.root / "rows.csv").write_bytes(ROWS)
    declare(project, "rows", tmp_path / "cache", path="rows.csv", licence="CC0-1.0")
    first = (project.root / "pyproject.toml").read_text()
    assert "key = 1  # kept" in first
    (project.root / "rows.csv").write_bytes(ROWS * 2)
    declared = declare(read_project(project.root), "rows", tmp_path / "cache")
    assert (declared.path, declared.licence) == ("rows.csv", "CC0-1.0")
    assert declared.sha256 == hashlib.sha256(ROWS * 2).hexdigest()
    written = (project.root / "pyproject.toml").read_text()
    assert written == first.replace(DIGEST, declared.sha256)


def test_declaration_in_another_form_is_left_to_people(tmp_path: Path) -> None:
    inline = f'[tool.conveyor]\ndata = {{rows = {{path = "rows.csv", sha256 = "{DIGEST}"}}}}\n'
    project = project_with(tmp_path / "project", inline)
    (project.root / "rows.csv").write_bytes(b"new")
    before = (project.root / "pyproject.toml").read_text()
    with pytest.raises(ProjectError, match="declares it in another form") as refused:
        declare(project, "rows", tmp_path / "cache")
    assert hashlib.sha256(b"new").hexdigest() in str(refused.value.hint)
    with pytest.raises(InvalidInput, match="is not a name for data"):
        declare(project, "a b", tmp_path / "cache")
    with pytest.raises(ProjectError, match="begins with https:// or s3://"):
        declare(project_with(tmp_path / "ftp"), "x", tmp_path / "cache", path="pyproject.toml", url="ftp://x")
    assert (project.root / "pyproject.toml").read_text() == before


def test_commands_add_fetch_and_status(
    upstream: RunningUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    project = project_with(tmp_path / "project")

    def call(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(
            conveyor, ["data", *words, "--project", str(project.root)], standalone_mode=False
        )
        return done.return_value or 0, done.stdout

    added = call("add", "rows", "--path", "in/rows.csv", "--url", f"{upstream.root}/rows.csv")
    assert added == (0, f"{DIGEST}  in/rows.csv\n")
    declared = tomllib.loads((project.root / "pyproject.toml").read_text())["tool"]["conveyor"]["data"]
    assert declared == {"rows": {"path": "in/rows.csv", "url": f"{upstream.root}/rows.csv", "sha256": DIGEST}}
    assert call("status") == (0, "here     rows  in/rows.csv\n")
    (project.root / "in/rows.csv").unlink()
    assert call("status") == (8, "missing  rows  in/rows.csv (in the cache)\n")
    assert call("fetch") == (0, f"{DIGEST}  in/rows.csv\n")
    assert upstream.asked("/rows.csv") == 1
    assert cached_file(tmp_path / "xdg" / "conveyor" / "data", DIGEST).is_file()
    git(project.root, "init", "-q")
    (project.root / ".gitignore").write_text("*.secret\n")
    (project.root / "own.secret").write_bytes(b"mine")
    words = ["data", "add", "own", "--path", "own.secret", "--project", str(project.root)]
    told = CliRunner().invoke(conveyor, words, standalone_mode=False)
    assert "note: git ignores own.secret and it has no address" in told.stderr


READS = """\
import os
from pathlib import Path

folder = Path(__file__).parent / "model"
folder.mkdir(exist_ok=True)
Path("scratch.tmp").write_text("own")
Path("scratch.tmp").read_text()
rows = Path("data/rows.csv").read_bytes()
(folder / "weights.bin").write_bytes(rows)
print("region", os.environ.get("REGION"), "secret", os.environ.get("SECRET"))
"""


def model_that_reads(folder: Path) -> Path:
    root = small_model(folder, training=READS)
    with (root / ".gitignore").open("a") as ignored:
        ignored.write("/data/\n*.tmp\n")
    commit(root)
    return root


def test_training_that_reads_an_ignored_file_is_told_to_declare_it(
    tmp_path: Path, environment: Environment
) -> None:
    root = model_that_reads(tmp_path)
    said = r"training read data/rows\.csv, which git ignores and nothing declares"
    with pytest.raises(StepFailed, match=f"{said}, and failed with exit code 1"):
        train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))
    (root / "data").mkdir()
    (root / "data/rows.csv").write_bytes(ROWS)
    with pytest.raises(StepFailed, match=said) as refused:
        train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))
    assert "data add" in str(refused.value.hint)
    assert "rows --path data/rows.csv" in str(refused.value.hint)
    declare(read_project(root), "rows", tmp_path / "cache", path="data/rows.csv")
    result = train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))
    assert [one.sha256 for one in result.payload] == [DIGEST]


def test_training_sees_the_variables_that_it_declares_and_no_others(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = model_that_reads(tmp_path)
    (root / "data").mkdir()
    (root / "data/rows.csv").write_bytes(ROWS)
    declare(read_project(root), "rows", tmp_path / "cache", path="data/rows.csv")
    written = (root / "pyproject.toml").read_text()
    command = '["python", "-m", "small.training"]'
    (root / "pyproject.toml").write_text(
        written.replace(f"train = {command}", f'train = {{command = {command}, env = ["REGION"]}}')
    )
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("SECRET", "hidden")
    lines: list[str] = []
    train(read_project(root), Environment(environment.path, Surroundings(SOURCE, on_line=lines.append)))
    assert lines == ["region north secret None"]


@pytest.mark.parametrize(
    ("command", "is_watched"),
    [
        (("python", "-m", "small.training"), True),
        (("python", "-u", "-X", "utf8", "train.py", "--fast"), True),
        (("python", "-c", "pass"), False),
        (("make", "model"), False),
    ],
)
def test_python_that_runs_a_module_or_a_script_is_watched(
    tmp_path: Path, command: tuple[str, ...], is_watched: bool
) -> None:
    words = watched(command, tmp_path / "notes", tmp_path)
    assert (len(words) == len(command) + 3) == is_watched
    assert [word for word in words if word in command] == list(command)
