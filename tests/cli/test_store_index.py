from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conveyor.cli import run
from conveyor.domain.indexes.definitions import DEFAULT_INDEXES
from conveyor.operations.care.backups import back_up
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.indexes.definitions import get_index
from makers import make_settings, make_store
from releases_made import ADMIN

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> str:
    initialise_store(make_settings(tmp_path / "store"))
    return str(tmp_path / "store")


def test_list_shows_each_index_with_its_bases_and_gates(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["store", "index", "list", "--data", data]) == 0
    headings, *lines = capsys.readouterr().out.splitlines()
    assert headings.split() == ["NAME", "KIND", "MODE", "BASES", "GATES", "PRIVATE", "PYTHONS", "ISOLATION"]
    assert [line.split()[0] for line in lines] == ["pypi", "stable", "testing", "unstable"]
    assert lines[1].split()[1:] == [
        "local",
        "promotion-only",
        "pypi",
        "tests,qa-signature,final-version",
        "no",
        "-",
        "required",
    ]


def test_list_as_json_is_for_scripts(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "index", "list", "--json", "--data", data]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [index["name"] for index in found] == [index.name for index in DEFAULT_INDEXES]
    assert found[3]["bases"] == ["testing", "stable", "pypi"]


def test_created_index_is_there(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "risk/stable",
        "--mode",
        "promotion-only",
        "--base",
        "stable",
        "--base",
        "pypi",
        "--gate",
        "tests",
    ]
    assert run(["store", "index", "create", *arguments, "--private", "--data", data]) == 0
    assert capsys.readouterr().out == 'index "risk/stable" made\n'
    made = get_index(make_store(tmp_path / "store"), ADMIN, "risk/stable")
    assert (made.bases, made.gates, made.is_private) == (("stable", "pypi"), ("tests",), True)


def test_pythons_of_an_index_are_set_and_taken_back(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    change = ["store", "index", "set", "testing", "--data", data]
    assert run([*change, "--python", "3.12", "--python", "pypy3.9"]) == 0
    assert capsys.readouterr().out == 'what enters "testing" is tested on Python 3.12, pypy3.9 too\n'
    assert run(["store", "index", "list", "--data", data]) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[-2:] == ["3.12,pypy3.9", "any"]
    assert run([*change, "--isolation", "required"]) == 0
    told = 'what enters "testing" is tested on Python 3.12, pypy3.9 too, in a jail\n'
    assert capsys.readouterr().out == told
    assert run([*change, "--isolation", "any"]) == 0
    capsys.readouterr()
    assert run([*change, "--python", "3.x", "--python", "cpython-3.12"]) == 2
    said = capsys.readouterr().err
    assert said.count("is not a Python such as 3.12, 3.12.4 or pypy3.9") == 2
    assert run(change) == 0
    assert capsys.readouterr().out == 'what enters "testing" is tested on the Pythons of its project\n'


def test_refusal_is_one_clear_error(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "index", "create", "stable", "--mode", "uploads", "--data", data]) == 6
    assert capsys.readouterr().err.startswith('Conflict: there is already an index "stable"')


def test_command_on_a_folder_without_a_store_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["store", "index", "list", "--data", str(tmp_path)]) == 5
    assert capsys.readouterr().err.splitlines() == [
        f"NotFound: there is no store at {tmp_path}",
        f"hint: make one: conveyor store serve --data {tmp_path}",
    ]
    assert list(tmp_path.iterdir()) == []


def test_command_on_a_backup_says_what_to_do_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back_up(make_store(tmp_path / "store"), tmp_path / "backup", threads=1)
    assert run(["store", "fsck", "--data", str(tmp_path / "backup")]) == 6
    assert capsys.readouterr().err.splitlines() == [
        f"Conflict: {tmp_path}/backup is a backup, not a store",
        f"hint: make a store of it elsewhere: conveyor store restore {tmp_path}/backup --data NEW",
    ]


def test_command_on_a_folder_of_something_else_does_not_advise_to_make_a_store_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert run(["store", "index", "list", "--data", str(tmp_path)]) == 6
    assert capsys.readouterr().err.splitlines() == [
        f"Conflict: there is no store at {tmp_path}, but something else: thesis.tex",
        "hint: give the folder of a store; a new one is made by: conveyor store serve --data NEW",
    ]


@pytest.mark.parametrize("where", [[], ["--data", ".", "--url", "http://127.0.0.1:9"]])
def test_store_must_be_named_once(where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "index", "list", *where]) == 2
    assert "either --data DIR or --url URL" in capsys.readouterr().err
