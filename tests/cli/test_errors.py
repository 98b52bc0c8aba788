"""What a person at a terminal is told when a command cannot do its work."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conveyor.cli import run
from conveyor.cli.pipeline.jobs import state_folder
from conveyor.cli.store.place import Place
from conveyor.errors import MissingTool, StorageFailed
from conveyor.operations.store.facts import last_address, reachable, remember_address
from running_stores import serve_environment


def test_everything_that_is_missing_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "promote"]) == 2
    said = capsys.readouterr().err
    assert said.endswith("Error: Missing argument 'NAME', argument 'VERSION', option '--to'.\n")
    assert run(["store", "promote", "demo", "--to", "stable"]) == 2
    assert capsys.readouterr().err.endswith("Error: Missing argument 'VERSION'.\n")


def test_what_a_variable_gives_is_not_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONVEYOR_WORKER_CREDENTIALS", str(tmp_path / "worker.toml"))
    (tmp_path / "worker.toml").touch()
    assert run(["pipeline", "test"]) == 2
    assert capsys.readouterr().err.endswith("Error: Missing argument 'PROJECT', argument 'VERSION'.\n")


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("sqlalchemy", "sqlalchemy", "server"),
        ("argon2", "argon2-cffi", "server"),
        ("granian", "granian", "server"),
        ("psycopg", "psycopg", "postgres"),
    ],
)
def test_extra_that_is_not_installed_is_named(module: str, package: str, extra: str, tmp_path: Path) -> None:
    without_it = (
        "import sys; sys.modules[sys.argv.pop(1)] = None; "
        "from conveyor.__main__ import main; sys.exit(main())"
    )
    command = ["store", "serve", "--port", "0", "--data", str(tmp_path / "x")]
    database = {"CONVEYOR_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/x"}
    called = subprocess.run(
        [sys.executable, "-c", without_it, module, *command],
        capture_output=True,
        text=True,
        env=serve_environment(**database if module == "psycopg" else {}),
    )
    assert called.returncode == MissingTool.exit_code
    assert called.stderr.splitlines() == [
        f"MissingTool: this command needs {package}, which is not installed",
        f'hint: pip install "conveyor[{extra}]"',
    ]


def test_folder_that_cannot_be_made_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert run(["new", "demo", "--path", str(tmp_path / "demo")]) == 0
    capsys.readouterr()
    assert run(["build", "--project", str(tmp_path / "demo"), "--out", str(tmp_path / "file" / "dist")]) > 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert str(tmp_path / "file") in lines[0]
    assert lines[1].startswith("hint: ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command", [["--version"], ["--help"], ["store", "--help"], ["new", "demo", "--path", "demo"]]
)
def test_output_that_cannot_be_written_is_one_clear_error(
    command: list[str], unbuffered: str, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        called = subprocess.run(
            [sys.executable, "-m", "conveyor", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=serve_environment(PYTHONUNBUFFERED=unbuffered, GIT_CONFIG_GLOBAL=os.devnull),
        )
    assert called.returncode == StorageFailed.exit_code
    assert called.stderr.splitlines()[-2:] == [
        "StorageFailed: the output or a temporary file cannot be written: No space left on device",
        "hint: check the disks that standard output and temporary files go to, then try again",
    ]
    assert "Traceback" not in called.stderr


def test_next_step_of_a_new_project_works_when_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "with space" / "demo"
    assert run(["new", "demo", "--path", str(folder)]) == 0
    step = capsys.readouterr().err.splitlines()[-1]
    assert shlex.split(step)[:4] == ["next:", "cd", str(folder), "&&"]


@pytest.mark.parametrize(
    ("variable", "option", "said"),
    [
        ("hunter2\nhunter3", (), "CONVEYOR_TOKEN is not a token: "),
        ("hunter2", ("--token", "hunter2\nhunter3"), "--token is not a token: "),
        ("\r", (), "CONVEYOR_TOKEN is empty"),
        ("", (), "CONVEYOR_TOKEN is empty"),
        ("hunter2", ("--token", ""), "--token is empty"),
    ],
)
def test_token_that_can_be_none_is_told_by_its_place_and_not_repeated(
    variable: str,
    option: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONVEYOR_TOKEN", variable)
    assert run(["store", "index", "list", "--url", "http://127.0.0.1:9", *option]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"InvalidInput: {said}")
    assert "hunter" not in captured.out + captured.err


def test_pipeline_is_not_started_with_a_token_that_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_TOKEN", "hunter2\nhunter3")
    assert run(["pipeline", "trigger", "--store", "http://127.0.0.1:9", "--ref", "main"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("InvalidInput: CONVEYOR_TOKEN is not a token: ")
    assert "hunter" not in said


@pytest.mark.parametrize(
    "hint",
    [
        "see conveyor store index list",
        "make it first: conveyor store user add ada",
        "conveyor why demo 1.0 --to stable",
    ],
)
def test_command_at_the_end_of_a_hint_is_told_the_store(hint: str) -> None:
    assert Place(None, "http://127.0.0.1:1", None).completed(hint) == f"{hint} --url http://127.0.0.1:1"
    assert Place(Path("my store"), None, None).completed(hint) == f"{hint} --data 'my store'"


def test_folder_in_a_hint_is_named_where_it_is_known() -> None:
    hint = "conveyor store fsck --repair --data DIR"
    assert (
        Place(Path("my store"), None, None).completed(hint)
        == "conveyor store fsck --repair --data 'my store'"
    )
    assert Place(None, "http://127.0.0.1:1", None).completed(hint) == hint


@pytest.mark.parametrize(
    "hint",
    [
        None,
        "choose another name",
        "make one: conveyor store serve --data store",
        "see conveyor store user add --help",
    ],
)
def test_other_hints_stay_as_they_are(hint: str | None) -> None:
    assert Place(None, "http://127.0.0.1:1", None).completed(hint) == hint
    assert Place(Path("my store"), None, None).completed(hint) == hint


def test_address_is_remembered_as_this_machine_reaches_it(tmp_path: Path) -> None:
    assert last_address(tmp_path) is None
    remember_address(tmp_path, "http://0.0.0.0:8080/")
    assert last_address(tmp_path) == "http://127.0.0.1:8080/"
    assert reachable("http://[::]:8080/") == "http://[::1]:8080/"
    remember_address(tmp_path, "http://[::1]:9/")
    assert last_address(tmp_path) == "http://[::1]:9/"
    assert [path.name for path in tmp_path.iterdir()] == ["served-at"]
    remember_address(tmp_path / "nowhere", "http://127.0.0.1:1/")


def test_state_folder_is_named_as_uv_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With "..", the wheel that a run had just built was taken for a file from elsewhere, and refused."""
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    assert state_folder(Path("../state")) == tmp_path.resolve() / "state"
